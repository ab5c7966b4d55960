//! What a model wrote as arguments, read with care.

use serde_json::Value;

use crate::{run::counts::digest, tool::schema::Schema};

/// Bounds on the arguments that a model may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgumentLimits {
    /// The most bytes. No useful call needs a megabyte, and each byte was paid for as output.
    pub bytes: usize,
    /// How deep arrays and objects may nest. A reader that recurses must be protected before it reads.
    pub nesting: usize,
}

impl Default for ArgumentLimits {
    fn default() -> Self {
        Self { bytes: 1024 * 1024, nesting: 128 }
    }
}

/// Reads arguments; what is too large or too deep is refused before it is parsed.
pub(crate) fn parse(text: &str, limits: &ArgumentLimits) -> Result<Value, String> {
    if text.len() > limits.bytes {
        return Err(format!(
            "The arguments have {} bytes, {} are allowed. The tool was not run. Send less.",
            text.len(),
            limits.bytes
        ));
    }
    // Nothing nests deeper than it has brackets, and these are found faster than followed.
    let brackets = memchr::memchr2_iter(b'[', b'{', text.as_bytes()).take(limits.nesting.saturating_add(1));
    if brackets.count() > limits.nesting && nesting(text) > limits.nesting {
        return Err(format!("The arguments nest deeper than {} levels. The tool was not run.", limits.nesting));
    }
    serde_json::from_str(text).map_err(|error| format!("The arguments are no JSON: {error}. The tool was not run."))
}

/// How deep arrays and objects nest, found without recursion.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Identifies a call by the tool and the exact text of its arguments.
pub(crate) fn exact_signature(tool: &str, text: &str) -> u64 {
    digest((tool, text))
}

/// Identifies a call by the tool and by those arguments that its schema names: a cosmetic counter in a field that no
/// tool reads does not make the same call another one. The order of fields does not count.
pub(crate) fn signature(tool: &str, input: &Value, schema: &Schema) -> u64 {
    let input = match input {
        Value::Object(fields) => {
            let named = fields.iter().filter(|(name, _)| schema.names_property(name));
            named.map(digest).fold(0, u64::wrapping_add)
        }
        other => digest(other),
    };
    digest((tool, input))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::RawJson;

    #[test]
    fn arguments_are_bounded_before_they_are_parsed() {
        let limits = ArgumentLimits { bytes: 40_000, nesting: 128 };
        assert!(parse(&"[".repeat(10_000), &limits).unwrap_err().contains("nest deeper"));
        assert!(parse(&format!("\"{}\"", "x".repeat(40_000)), &limits).unwrap_err().contains("40002 bytes"));
        assert_eq!(
            parse(r#"{"a": "[[[{\"[["}"#, &ArgumentLimits { nesting: 1, ..limits }),
            Ok(json!({"a": "[[[{\"[["}))
        );
        assert!(parse("{\"a\": NaN}", &limits).unwrap_err().contains("no JSON"));
    }

    #[test]
    fn a_field_that_no_tool_reads_does_not_change_the_signature() {
        let schema = RawJson::parse(r#"{"type":"object","properties":{"q":{},"n":{}}}"#.into()).unwrap();
        let schema = Schema::compile(&schema).unwrap();
        let of = |value: Value| signature("search", &value, &schema);
        assert_eq!(of(json!({"q": 1, "n": 2, "try": 1})), of(json!({"try": 2, "n": 2, "q": 1})));
        assert_ne!(of(json!({"q": 1})), of(json!({"q": 2})));
    }
}
