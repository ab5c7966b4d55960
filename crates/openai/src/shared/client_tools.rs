//! The tools that a client brings along and runs itself.

use brigade_core::{Effect, RawJson, Schema, ToolChoice, ToolSpec};
use serde_json::{Map, Value, json};

use super::field_error::FieldError;

/// The tools that a client brings along and runs itself.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ClientTools {
    /// The tools.
    pub specs: Vec<ToolSpec>,
    /// Whether and which tools the model may call.
    pub choice: ToolChoice,
    /// The types of other tools, which only the servers of the vendor have.
    pub ignored: Vec<String>,
}

/// A call of a client's tool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionCall {
    /// The id under which the client sends the result.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as JSON.
    pub arguments: String,
}

/// More than that, models choose badly, and each request costs the tokens of all.
const MAX_TOOLS: usize = 128;

/// The descriptions and schemas of all tools together: 64,000 tokens.
const MAX_BYTES: usize = 256 << 10;

impl FunctionCall {
    /// A call with this id.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into(), arguments: arguments.into() }
    }
}

/// Reads tools. In `tools[n]`, the fields of a function are in `nested`, or else beside its type.
pub(crate) fn read(
    tools: Option<&[Value]>,
    choice: Option<&Value>,
    nested: Option<&str>,
) -> Result<ClientTools, FieldError> {
    let mut read = ClientTools::default();
    let tools = tools.unwrap_or_default();
    if tools.len() > MAX_TOOLS {
        let message = format!("there are {} tools; send at most {MAX_TOOLS}", tools.len());
        return Err(FieldError::invalid("tools", message));
    }
    let mut params = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let param = format!("tools[{index}]");
        let fields = tool.as_object().ok_or_else(|| FieldError::invalid(&param, "a tool must be an object"))?;
        match fields.get("type").and_then(Value::as_str) {
            Some("function") => {
                read.specs.push(function(fields, nested, &param)?);
                params.push(param);
            }
            Some(other) if read.ignored.iter().any(|known| known == other) => {}
            Some(other) => read.ignored.push(other.to_owned()),
            None => return Err(FieldError::invalid(&param, "a tool needs the field `type`; write \"function\"")),
        }
    }
    check_size(&read.specs)?;
    // Last, because it takes much longer than anything else here.
    for (spec, param) in read.specs.iter().zip(&params) {
        let nested = nested.map(|nested| format!(".{nested}")).unwrap_or_default();
        let invalid = |error: String| FieldError::invalid(format!("{param}{nested}.parameters"), error);
        Schema::compile(&spec.input_schema).map_err(|error| invalid(error.to_string()))?;
    }
    read.choice = tool_choice(choice, nested, &read)?;
    Ok(read)
}

fn check_size(specs: &[ToolSpec]) -> Result<(), FieldError> {
    let size = |spec: &ToolSpec| spec.name.len() + spec.description.len() + spec.input_schema.get().len();
    let bytes: usize = specs.iter().map(size).sum();
    if bytes > MAX_BYTES {
        let message = format!("the tools have {bytes} bytes; send at most {MAX_BYTES}");
        return Err(FieldError::invalid("tools", message));
    }
    let is_repeated = |(index, spec): (usize, &ToolSpec)| specs.iter().take(index).any(|other| other.name == spec.name);
    if let Some(index) =
        (0..specs.len()).find(|index| specs.get(*index).is_some_and(|spec| is_repeated((*index, spec))))
    {
        return Err(FieldError::invalid(format!("tools[{index}]"), "another tool has the same name; rename one"));
    }
    Ok(())
}

fn function(fields: &Map<String, Value>, nested: Option<&str>, param: &str) -> Result<ToolSpec, FieldError> {
    let (fields, param) = match nested {
        Some(nested) => {
            let inner = fields.get(nested).and_then(Value::as_object);
            let message = format!("a function needs an object in `{nested}`");
            (inner.ok_or_else(|| FieldError::invalid(param, message))?, format!("{param}.{nested}"))
        }
        None => (fields, param.to_owned()),
    };
    let name = fields.get("name").and_then(Value::as_str).unwrap_or_default();
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    if !(1..=64).contains(&name.len()) || !name.chars().all(is_plain) {
        let message = "the name of a tool must have 1 to 64 of A-Z, a-z, 0-9, _ and -";
        return Err(FieldError::invalid(format!("{param}.name"), message));
    }
    let description = fields.get("description").and_then(Value::as_str).unwrap_or_default();
    let schema = match fields.get("parameters") {
        // A tool without parameters.
        None | Some(Value::Null) => json!({ "type": "object", "properties": {} }),
        Some(Value::Object(schema)) if schema.is_empty() => json!({ "type": "object", "properties": {} }),
        Some(schema) => schema.clone(),
    };
    let invalid = |error: String| FieldError::invalid(format!("{param}.parameters"), error);
    let schema = RawJson::of(&schema).map_err(|error| invalid(error.to_string()))?;
    let strict = fields.get("strict").and_then(Value::as_bool) == Some(true);
    // The call has no effect here: the client runs the tool, or does not.
    Ok(ToolSpec::new(name, description, schema).strict(strict).effect(Effect::Repeatable))
}

fn tool_choice(choice: Option<&Value>, nested: Option<&str>, tools: &ClientTools) -> Result<ToolChoice, FieldError> {
    let named = |choice: &Map<String, Value>| {
        let fields = nested.map_or(Some(choice), |nested| choice.get(nested).and_then(Value::as_object));
        let name = fields.and_then(|fields| fields.get("name")).and_then(Value::as_str)?;
        tools.specs.iter().any(|spec| *spec.name == *name).then(|| ToolChoice::Named(name.to_owned()))
    };
    let found = match choice {
        None | Some(Value::Null) => Some(ToolChoice::Auto),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => Some(ToolChoice::Auto),
            "none" => Some(ToolChoice::None),
            "required" if !tools.specs.is_empty() => Some(ToolChoice::Required),
            _ => None,
        },
        Some(Value::Object(choice)) => named(choice),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_)) => None,
    };
    let message = "use \"auto\", \"none\", \"required\", or the name of a function in `tools`";
    found.ok_or_else(|| FieldError::unsupported("tool_choice", message))
}

/// The error for tools of an agent that takes none.
pub(crate) fn refused(field: &str, agent: &str) -> FieldError {
    let message = format!(
        "the agent `{agent}` uses the tools that the server configures; remove the tools from the request, or set \
         `client_tools = \"accept\"` in `agents.{agent}`"
    );
    FieldError::unsupported(field, message)
}
