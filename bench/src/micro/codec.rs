//! Encoding of requests and decoding of responses.

use std::fmt::Write;

use anyhow::Result;
use brigade_core::{
    Arguments, ChatRequest, Message, Part as MessagePart, Role, Run, Settings, ToolCall, ToolResult, ToolSet,
    Transcript,
};
use brigade_providers::{OpenAi, OpenAiChatModel};
use bytes::Bytes;

use crate::micro::micro::{Part, Repeat};
use crate::workload::{CLERK, LOOKUP, look_up};

const MESSAGES: usize = 200;
const EVENTS: usize = 2_000;

pub(crate) fn measure(repeat: Repeat) -> Result<Vec<Part>> {
    let model = OpenAi::builder().api_key("none").build()?.model("gpt-5-mini");
    let mut parts = encode(&model, repeat.fewer(100))?;
    parts.push(decode(&model, repeat.fewer(1_000))?);
    Ok(parts)
}

/// Encodes a question after a long conversation: for the first time, and again.
fn encode(model: &OpenAiChatModel, repeat: Repeat) -> Result<Vec<Part>> {
    let fresh = || history(MESSAGES).unwrap_or_default();
    let first = repeat
        .fewer(5)
        .time_with(|| question(fresh()), |question| model.encode(&question, false).map(|body| body.len()));
    let question = question(history(MESSAGES)?);
    let bytes = model.encode(&question, false)?.len();
    let second = repeat.time(|| model.encode(&question, false).map(|body| body.len()));
    let copy = model.encode(&question, false)?;
    let copied = repeat.time(|| copy.clone());
    #[expect(clippy::cast_precision_loss, reason = "a size far below 2^53")]
    let kibibytes = bytes as f64 / 1_024.0;
    Ok(vec![
        Part::new("a question with a history of 200 messages", kibibytes, "KiB"),
        Part::new("  encoded for the first time", first, "µs"),
        Part::new("  encoded again", second, "µs"),
        Part::new("  its bytes copied, for comparison", copied, "µs"),
    ])
}

/// Decodes a long streamed answer.
fn decode(model: &OpenAiChatModel, repeat: Repeat) -> Result<Part> {
    let stream = Bytes::from(stream(EVENTS)?);
    let response = http::Response::builder().header("content-type", "text/event-stream").body(stream.clone())?;
    let run = Run::new().with_deltas(true);
    model.decode(&response, &run)?;
    let micros = repeat.time(|| model.decode(&response, &run).is_ok());
    #[expect(clippy::cast_precision_loss, reason = "a size far below 2^53")]
    let megabytes_per_second = stream.len() as f64 / micros;
    Ok(Part::new("a stream of 2,000 events decoded", megabytes_per_second, "MB/s"))
}

fn question(transcript: Transcript) -> ChatRequest {
    ChatRequest::default()
        .instructions(Some(Message::system(CLERK.instructions)))
        .transcript(transcript)
        .tools(ToolSet::default())
        .settings(Settings::default())
}

fn history(messages: usize) -> Result<Transcript> {
    let mut transcript = Transcript::new();
    transcript.push_task(Message::user("Check the subjects of the spring survey."))?;
    for number in 0..messages.saturating_sub(2) / 2 {
        let arguments = Arguments::parse(format!(r#"{{"topic":"subject {number} of the spring survey"}}"#));
        let call = ToolCall::new(format!("call_{number:024}"), LOOKUP, arguments);
        transcript.push(Message::new(Role::Assistant, vec![MessagePart::ToolCall(call.clone())]))?;
        let content = vec![MessagePart::text(look_up("subject"))];
        transcript.answer_calls(vec![ToolResult::new(&call, content)])?;
    }
    transcript.push(Message::assistant("Done."))?;
    Ok(transcript)
}

fn stream(events: usize) -> Result<String> {
    let head = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5-mini","#;
    let mut text = String::new();
    for number in 0..events.saturating_sub(2) {
        let delta = format_args!(r#"{{"index":0,"delta":{{"content":" word{number}"}},"finish_reason":null}}"#);
        write!(text, "{head}\"choices\":[{delta}]}}\n\n")?;
    }
    write!(text, "{head}\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n")?;
    write!(text, "{head}\"choices\":[],\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":2000}}}}\n\n")?;
    Ok(text + "data: [DONE]\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conversation_and_the_stream_have_the_stated_length() {
        assert_eq!(history(MESSAGES).unwrap().len(), MESSAGES);
        assert_eq!(stream(EVENTS).unwrap().matches("data: {").count(), EVENTS);
    }
}
