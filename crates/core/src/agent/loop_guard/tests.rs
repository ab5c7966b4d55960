use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{
    Agent, Image, Part, RawJson, Run, StopReason, Tool, ToolError, ToolOutput, ToolSpec,
    testing::fixtures::look_up,
    testing::{ScriptedModel, Turn},
    tool_fn,
};

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Lookup {
    word: String,
}

#[tokio::test]
async fn a_call_may_be_repeated_while_its_results_change() {
    let poll = |news: bool| {
        tool_fn("lookup", "", move |_: Lookup, run: Run| async move {
            Ok(ToolOutput::text(if news { run.count("polls").to_string() } else { "nothing".to_owned() }))
        })
    };
    let look = tool_fn("lookup", "", |_: Lookup, run: Run| async move {
        let data = Image::Base64 { media_type: "image/png".into(), data: format!("{:04}", run.count("looks")) };
        Ok(ToolOutput { content: vec![Part::text("The screen:"), Part::Image(data)], ..ToolOutput::default() })
    });
    let fails = tool_fn("lookup", "", |_: Lookup, run: Run| async move {
        Err(ToolError::new(format!("{} tests fail", run.count("failures"))))
    });
    let script = || (0..9).map(|turn| look_up(&format!("c{turn}"), "a")).chain([Turn::text("Done.")]);
    let run = async |tool: crate::FunctionTool| {
        let agent = Agent::new("clerk", ScriptedModel::new(script())).tool(tool);
        agent.run("Go on.").await.unwrap().stop
    };
    assert_eq!(run(poll(true).polling()).await, StopReason::Finished);
    assert_eq!(run(poll(false).polling()).await, StopReason::LoopDetected);
    assert_eq!(run(poll(true)).await, StopReason::Finished);
    assert_eq!(run(poll(false)).await, StopReason::LoopDetected);
    assert_eq!(run(look).await, StopReason::Finished, "an image is a result, too");
    // A tool that only fails is switched off.
    assert_eq!(run(fails).await, StopReason::UnknownToolLimit);
}

#[tokio::test]
async fn an_agent_may_run_its_tests_after_each_edit() {
    let step = |turn: u32| match turn % 2 {
        0 => Turn::call(&format!("c{turn}"), "edit", json!({"word": format!("version {turn}")})),
        _ => Turn::call(&format!("c{turn}"), "test", json!({"word": "all"})),
    };
    let edit = tool_fn("edit", "", |_: Lookup, run: Run| async move {
        run.count("edits");
        Ok(ToolOutput::text("saved"))
    });
    let test = tool_fn("test", "", |_: Lookup, run: Run| async move {
        Ok(ToolOutput::text(format!("{} of 12 tests pass", run.count("tests"))))
    });
    let model = ScriptedModel::new((0..20).map(step).chain([Turn::text("All pass.")]));
    let outcome = Agent::new("coder", model).tool(edit).tool(test).run("Make the tests pass.").await.unwrap();
    assert_eq!((outcome.stop, outcome.text.as_str()), (StopReason::Finished, "All pass."));
}

#[tokio::test]
async fn different_arguments_are_different_calls_whatever_the_schema_looks_like() {
    let one_field = r#"{"type":"object","properties":{"word":{"type":"string"}}}"#;
    let schemas = [
        r#"{"type":"object"}"#,
        r#"{"type":"object","additionalProperties":{"type":"string"}}"#,
        r#"{"type":"object","properties":{"kind":{}},"additionalProperties":true}"#,
        r#"{"type":"object","properties":{"kind":{}},"patternProperties":{"^w":{}}}"#,
        r#"{"type":"object","properties":{"kind":{}},"unevaluatedProperties":{"type":"string"}}"#,
        r#"{"oneOf":[{"properties":{"word":{}},"required":["word"]},{"required":["other"]}]}"#,
        r#"{"type":"object","properties":{"kind":{}},"oneOf":[{"properties":{"word":{}}}]}"#,
        r#"{"type":"object","properties":{"kind":{}},"anyOf":[{"properties":{"word":{}}}]}"#,
        r#"{"type":"object","properties":{"kind":{}},"allOf":[{"properties":{"word":{}}}]}"#,
        r#"{"type":"object","properties":{"kind":{}},"if":{},"then":{"properties":{"word":{}}}}"#,
        r#"{"type":"object","properties":{"kind":{}},"dependentSchemas":{"kind":{"properties":{"word":{}}}}}"#,
        r##"{"$ref":"#/$defs/args","$defs":{"args":{"type":"object","properties":{"word":{}}}}}"##,
        r##"{"properties":{"kind":{}},"$ref":"#/$defs/args","$defs":{"args":{"properties":{"word":{}}}}}"##,
        "true",
        one_field,
    ];
    for schema in schemas {
        let call =
            |turn: u32| Turn::call(&format!("c{turn}"), "lookup", json!({"kind": "a", "word": turn.to_string()}));
        let model = ScriptedModel::new((0..7).map(call).chain([Turn::text("Done.")]));
        let spec = ToolSpec::new("lookup", "", RawJson::parse(schema.to_owned()).unwrap());
        let outcome = Agent::new("clerk", model).tool(Answers(spec)).run("Go on.").await.unwrap();
        assert_eq!(outcome.stop, StopReason::Finished, "{schema}");
    }
}

/// A tool with any schema that always gives the same answer.
#[derive(Debug)]
struct Answers(ToolSpec);

#[async_trait::async_trait]
impl Tool for Answers {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: serde_json::Value, _: &Run) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput::text("ok"))
    }
}
