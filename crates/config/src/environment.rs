//! Environment variables that override the file, and variables that only look like them.

use std::env;

use brigade_edge::suggestion;
use serde_json::Value;

use super::LoadedConfig;

/// `BRIGADE__SERVER__LISTEN` sets `server.listen`.
pub(super) const ENV_PREFIX: &str = "BRIGADE__";

/// Variables of Brigade that are not a part of the configuration.
const OTHERS: [&str; 1] = ["BRIGADE_CONFIG"];

/// Kubernetes sets variables such as `BRIGADE_SERVICE_PORT` and `BRIGADE_PORT_8080_TCP` for a service of the name
/// `brigade`.
const KUBERNETES: [&str; 3] = ["SERVICE_", "PORT_", "PORT"];

/// The variables of the process, for [`LoadedConfig::parse`]. Variables of other programs that are not text are left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        // A variable of ours is not left out, because its value must be reported as wrong.
        if name.starts_with(ENV_PREFIX) {
            Some((name, value.to_string_lossy().into_owned()))
        } else {
            Some((name, value.into_string().ok()?))
        }
    })
}

/// A warning if a variable was probably meant to override the file: it has another prefix than [`ENV_PREFIX`], or a
/// single underscore between keys. `text` is the file, which may read the variable as a secret.
pub(super) fn ignored(name: &str, text: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let rest = upper.strip_prefix("BRIGADE_")?.trim_start_matches('_');
    let is_foreign = KUBERNETES.iter().any(|part| rest.starts_with(part));
    if is_foreign || OTHERS.contains(&name) || text.contains(name) {
        return None;
    }
    let known = known_variables();
    let flat = |variable: &str| variable.replace('_', "");
    let same = known.iter().find(|variable| flat(variable) == flat(rest) || variable.rsplit("__").next() == Some(rest));
    let hint = match same {
        Some(variable) => format!("; did you mean `{ENV_PREFIX}{variable}`?"),
        None => suggestion(rest, known.iter().map(String::as_str))
            .strip_prefix("; did you mean `")
            .map(|variable| format!("; did you mean `{ENV_PREFIX}{variable}"))?,
    };
    Some(format!("the environment variable `{name}` has no effect{hint}"))
}

/// The variables of the sections that every configuration has, without their prefix.
fn known_variables() -> Vec<String> {
    let schema = LoadedConfig::schema().to_value();
    let fields = |node: &Value| -> Vec<(String, Value)> {
        let fields = node.get("properties").and_then(Value::as_object).into_iter().flatten();
        fields.map(|(name, field)| (name.to_uppercase(), field.clone())).collect()
    };
    let section = |(name, field): (String, Value)| -> Vec<String> {
        let reference = field.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        match reference.and_then(|pointer| schema.pointer(pointer)) {
            Some(section) => fields(section).into_iter().map(|(key, _)| format!("{name}__{key}")).collect(),
            None => vec![name],
        }
    };
    fields(&schema).into_iter().flat_map(section).collect()
}
