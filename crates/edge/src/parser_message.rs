//! Words the messages of the TOML and JSON parsers for people who do not know Rust.

/// Names that are less similar than this are not suggested.
const MIN_SIMILARITY: f64 = 0.75;

/// The parsers' names of the values that they expect, and what to write.
const VALUES: [(&str, &str); 13] = [
    ("a boolean", "`true` or `false`"),
    ("a duration", "a duration in quotes, such as \"30s\" or \"5m\""),
    ("a nonzero u32", "a whole number, 1 or more"),
    ("a sequence", "a list"),
    ("f32", "a number"),
    ("i64", "a whole number"),
    ("path string", "a path in quotes"),
    ("socket address", "an address with a port in quotes, such as \"127.0.0.1:8080\""),
    ("string or table", "a string"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number, 0 or more"),
    ("u8", "a whole number from 0 to 255"),
    ("usize", "a whole number, 0 or more"),
];

/// The message of a TOML or JSON parser, without names of Rust's types and without text that may be a secret.
pub fn reword(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let (start, name) = (message.split('`').next().unwrap_or_default().trim(), names.next().unwrap_or_default());
    match start {
        "unknown field" => format!("unknown key `{name}`{}", suggestion(name, names)),
        "unknown variant" => format!("unknown choice `{name}`{}", suggestion(name, names)),
        "missing field" => format!("the key `{name}` is missing; add it"),
        "duplicate field" => format!("the key `{name}` is there twice; remove one"),
        "invalid digit found in string" => "expected a whole number, 0 or more".to_owned(),
        "number too large to fit in target type" => "the number is too large".to_owned(),
        _ if start.starts_with("UUID parsing failed") => "expected the id of a run, as the API returns it".to_owned(),
        // `jiff` has several messages about a day.
        _ if ["failed to parse", "parsed date is", "expected four digit"]
            .iter()
            .any(|text| start.starts_with(text)) =>
        {
            "expected a day in UTC, such as 2026-11-30".to_owned()
        }
        "invalid socket address syntax" => "write an address with a port, such as \"127.0.0.1:8080\"".to_owned(),
        // Words may begin like `inf`, `nan`, `true` or `false`.
        "string values must be quoted, expected literal string"
        | "invalid float, expected"
        | "invalid boolean, expected" => "text must be in quotes".to_owned(),
        _ => reword_value(message).unwrap_or_else(|| message.to_owned()),
    }
}

/// The end of a message about an unknown name: the most similar known name, or all of them.
pub fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let scored = known.iter().map(|&candidate| (strsim::jaro_winkler(name, candidate), candidate));
    match scored.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((score, best)) if score >= MIN_SIMILARITY => format!("; did you mean `{best}`?"),
        Some(_) => {
            format!("; expected one of {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        }
        None => "; none is configured".to_owned(),
    }
}

/// A message such as ``invalid type: integer `5`, expected u32``.
fn reword_value(message: &str) -> Option<String> {
    let known = |name: &str| VALUES.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    if let Some(expected) = message.strip_prefix("wanted ") {
        return known(expected).map(|value| format!("expected {value}"));
    }
    let (found, expected) = message.strip_prefix("invalid ")?.split_once(": ")?.1.rsplit_once(", expected ")?;
    let digits =
        found.trim_start_matches(['i', 'n', 't', 'e', 'g', 'r', 's', ' ', '`', '"']).trim_end_matches(['`', '"']);
    if expected == "a duration" && digits.parse::<u32>().is_ok() {
        return Some(format!("expected a duration with its unit, such as \"{digits}s\"; found `{digits}`"));
    }
    let expected = if expected.starts_with("struct ") { "a map" } else { expected };
    let found = match found.split(' ').next()? {
        // Its content may be a secret.
        "string" if message.starts_with("invalid value") => "other text".to_owned(),
        "string" => "a string".to_owned(),
        "map" => "a map".to_owned(),
        "sequence" => "a list".to_owned(),
        other => found.split('`').nth(1).map_or(other.to_owned(), |literal| format!("`{literal}`")),
    };
    Some(format!("expected {}; found {found}", known(expected).unwrap_or(expected)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_of_a_parser_names_a_type_of_rust() {
        for (message, expected) in [
            ("invalid type: string \"warm\", expected f32", "expected a number; found a string"),
            ("invalid type: integer `5`, expected struct BudgetConfig", "expected a map; found `5`"),
            ("invalid type: integer `5`, expected struct X with 2 elements", "expected a map; found `5`"),
            ("invalid type: map, expected a string", "expected a string; found a map"),
            ("invalid type: sequence, expected a map", "expected a map; found a list"),
            ("invalid type: null, expected a boolean", "expected `true` or `false`; found null"),
            ("invalid type: boolean `true`, expected u64", "expected a whole number, 0 or more; found `true`"),
            ("invalid type: floating point `5.5`, expected usize", "expected a whole number, 0 or more; found `5.5`"),
            ("invalid value: integer `-1`, expected u32", "expected a whole number from 0 to 4294967295; found `-1`"),
            (
                "invalid type: integer `99999999999999999999` as i128, expected u8",
                "expected a whole number from 0 to 255; found `99999999999999999999`",
            ),
            ("invalid value: integer `0`, expected a nonzero u32", "expected a whole number, 1 or more; found `0`"),
            (
                "invalid type: integer `5`, expected a duration",
                "expected a duration with its unit, such as \"5s\"; found `5`",
            ),
            (
                "invalid value: string \"5\", expected a duration",
                "expected a duration with its unit, such as \"5s\"; found `5`",
            ),
            (
                "invalid value: string \"5 parsecs\", expected a duration",
                "expected a duration in quotes, such as \"30s\" or \"5m\"; found other text",
            ),
            ("invalid type: string \"canary, expected `x`\", expected a sequence", "expected a list; found a string"),
            ("wanted string or table", "expected a string"),
            ("string values must be quoted, expected literal string", "text must be in quotes"),
            ("invalid float, expected `nan`", "text must be in quotes"),
            ("invalid boolean, expected `true`", "text must be in quotes"),
            ("invalid digit found in string", "expected a whole number, 0 or more"),
            ("number too large to fit in target type", "the number is too large"),
            ("failed to parse four digit integer as year: x", "expected a day in UTC, such as 2026-11-30"),
            ("parsed date is not valid: parameter 'day' for `2026-02`", "expected a day in UTC, such as 2026-11-30"),
            ("UUID parsing failed: invalid length", "expected the id of a run, as the API returns it"),
            ("missing field `model`", "the key `model` is missing; add it"),
            ("duplicate field `model`", "the key `model` is there twice; remove one"),
            ("unknown field `modle`, expected one of `model`, `tools`", "unknown key `modle`; did you mean `model`?"),
            ("unknown variant `xyz`, expected `run` or `read`", "unknown choice `xyz`; expected one of `run`, `read`"),
            ("`abc` is not a dollar amount", "`abc` is not a dollar amount"),
        ] {
            assert_eq!(reword(message), expected, "{message}");
        }
    }
}
