//! Parses the arguments of tool calls, and computes the digests by which the loop guard recognises a repeated call.

use serde_json::Value;

use crate::{run::counts::digest, tool::schema::Schema};

/// Parses arguments of at most `max_bytes`. The error is written for the model. `serde_json` refuses documents that nest
/// deeper than 128 levels.
pub(crate) fn parse(text: &str, max_bytes: usize) -> Result<Value, String> {
    if text.len() > max_bytes {
        let size = text.len();
        return Err(format!(
            "The arguments have {size} bytes, {max_bytes} are allowed. The tool was not run. Send less."
        ));
    }
    serde_json::from_str(text)
        .map_err(|error| format!("The arguments are not valid JSON: {error}. The tool was not run."))
}

/// Identifies a call by the tool and the arguments that it may read, in any order. A field that no tool reads, such as a
/// counter, does not make it a different call.
pub(crate) fn signature(tool: &str, input: &Value, schema: &Schema) -> u64 {
    let input = match input {
        Value::Object(fields) => {
            let read = fields.iter().filter(|(name, _)| schema.may_read(name));
            read.map(digest).fold(0, u64::wrapping_add)
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
    fn arguments_that_are_too_long_too_deep_or_malformed_are_refused() {
        let refusal = |text: &str| parse(text, 40_000).unwrap_err();
        assert!(refusal(&"[".repeat(10_000)).contains("recursion limit exceeded"));
        assert!(refusal(&format!("\"{}\"", "x".repeat(40_000))).contains("40002 bytes"));
        assert!(refusal("{\"a\": NaN}").contains("not valid JSON"));
        assert_eq!(parse(r#"{"a": "[[[{\"[["}"#, 40_000), Ok(json!({"a": "[[[{\"[["})));
    }

    #[test]
    fn a_field_that_the_schema_does_not_name_does_not_change_the_signature() {
        let schema = RawJson::parse(r#"{"type":"object","properties":{"q":{},"n":{}}}"#.into()).unwrap();
        let schema = Schema::compile(&schema).unwrap();
        let of = |value: Value| signature("search", &value, &schema);
        assert_eq!(of(json!({"q": 1, "n": 2, "try": 1})), of(json!({"try": 2, "n": 2, "q": 1})));
        assert_ne!(of(json!({"q": 1})), of(json!({"q": 2})));
    }
}
