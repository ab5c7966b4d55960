//! The traits of the crate, implemented with nothing but its own exports.

use brigade_core::{
    Agent, ChatModel, ChatReply, ChatRequest, Message, ModelError, ModelId, Part, RawJson, Run, Settings, Tool,
    ToolError, ToolOutput, ToolSpec, async_trait,
};
use serde_json::{Value, json};

#[derive(Debug)]
struct Echo(ModelId);

#[async_trait]
impl ChatModel for Echo {
    fn id(&self) -> &ModelId {
        &self.0
    }

    fn settings(&self) -> &Settings {
        Settings::none()
    }

    async fn chat(&self, request: &ChatRequest, _: &Run) -> Result<ChatReply, ModelError> {
        let last = request.transcript.messages().last().map(|message| message.text().into_owned());
        Ok(ChatReply::new(Message::assistant(last.unwrap_or_default())))
    }
}

#[derive(Debug)]
struct Clock(ToolSpec);

#[async_trait]
impl Tool for Clock {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: Value, _: &Run) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput::text("noon"))
    }
}

#[tokio::test]
async fn a_model_and_a_tool_are_implemented_with_the_exports_of_this_crate_alone() {
    let clock =
        Clock(ToolSpec::new("clock", "Tells the time.", RawJson::parse(r#"{"type":"object"}"#.to_owned()).unwrap()));
    assert_eq!(clock.call(json!({}), &Run::new()).await.unwrap().content, [Part::text("noon")]);
    let outcome = Agent::new("echo", Echo(ModelId::new("test", "echo"))).tool(clock).run("Hello.").await.unwrap();
    assert_eq!(outcome.text, "Hello.");
}
