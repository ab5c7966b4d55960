//! The contract of every model, client or wrapper.

use std::{sync::Arc, time::Duration};

use super::Recorder;
use crate::{ChatModel, ChatRequest, Event, Role, Run};

/// Checks the contract of a [`ChatModel`], client or wrapper, with four calls. The model must answer each with some text.
///
/// # Panics
///
/// If the model breaks a rule, with that rule.
#[expect(clippy::panic, reason = "a broken rule must fail the calling test")]
pub async fn model_contract(model: &dyn ChatModel) {
    let request = ChatRequest::new("Say hello.");
    let ask = async |run: &Run| match model.chat(&request, run).await {
        Ok(reply) => reply,
        Err(error) => panic!("the model must answer: {error}"),
    };

    let silent = Recorder::new();
    let run = Run::builder().observer(Arc::new(silent.clone())).build();
    let whole = ask(&run).await;
    let id = model.id().clone();
    assert_eq!(whole.message.role(), Role::Assistant, "a reply has the assistant's role");
    assert!(!whole.message.text().is_empty(), "the model must answer with text");
    assert_eq!(whole.message.tool_calls().count(), 0, "no tools were offered");
    assert!(!whole.model.is_empty(), "the reply names the model that answered");
    let deltas = silent.count(|event| matches!(event, Event::Delta(_)));
    assert_eq!(deltas, 0, "deltas are only emitted if the run wants them");

    let listener = Recorder::new();
    let run = Run::builder().observer(Arc::new(listener.clone())).deltas(true).build();
    let streamed = ask(&run).await;
    assert_eq!(listener.text(), streamed.message.text(), "the deltas make up the text of the reply");
    assert_eq!(streamed.finish_reason, whole.finish_reason, "a streamed reply has the same finish reason");
    if let Some(usage) = whole.usage {
        let cached = usage.cache_read_tokens.unwrap_or(0) + usage.cache_write_tokens.unwrap_or(0);
        assert!(cached <= usage.input_tokens, "cached tokens are a part of the input");
        assert!(usage.reasoning_tokens.unwrap_or(0) <= usage.output_tokens, "reasoning is a part of the output");
    }

    let run = Run::new();
    let dropped = tokio::time::timeout(Duration::ZERO, model.chat(&request, &run)).await;
    drop(dropped);
    assert_eq!(run.ledger().outstanding(), 0, "a dropped call leaves no reservation behind");
    ask(&Run::new()).await;
    assert_eq!(*model.id(), id, "the id of a model never changes");
}
