//! Hides what may be a secret where the configuration is printed.

use toml::{Table, Value};

use super::reference::HIDDEN;

/// The table without literal headers, environment variables of programs, and secrets in addresses.
pub(super) fn hidden(table: &Table) -> Table {
    let mut table = table.clone();
    hide(&mut table, &mut Vec::new());
    table
}

fn hide(table: &mut Table, path: &mut Vec<String>) {
    for (key, value) in table.iter_mut() {
        path.push(key.clone());
        match value {
            Value::Table(inner) => hide(inner, path),
            value => hide_value(value, path),
        }
        path.pop();
    }
}

/// Hides the value at a path of keys, if it may be a secret.
pub(super) fn hide_value(value: &mut Value, path: &[String]) {
    let Value::String(text) = value else { return };
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    match keys[..] {
        ["providers", _, "headers", _]
        | ["tools", _, "http", "headers", _]
        | ["tools", _, "command", "environment", _]
        | ["mcp", _, "headers" | "environment", _] => {
            HIDDEN.clone_into(text);
        }
        ["providers", _, "base_url"]
        | ["tools", _, "http", "url"]
        | ["store"]
        | ["mcp", _, "url"]
        | ["approvals", "webhook"] => {
            *text = without_secrets(text);
        }
        _ => {}
    }
}

/// An address without its user, password and the values of its query.
fn without_secrets(address: &str) -> String {
    let (address, query) = address.split_once('?').map_or((address, None), |(address, query)| (address, Some(query)));
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("{HIDDEN}@{host}"));
    let separator = if scheme.is_empty() { "" } else { "://" };
    let query = query.map_or(String::new(), |query| {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            // A template's placeholder is not a secret.
            Some((name, value)) if !value.starts_with('{') && name != "api-version" => format!("{name}={HIDDEN}"),
            _ => pair.to_owned(),
        });
        format!("?{}", pairs.collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}{separator}{host}{path}{query}")
}
