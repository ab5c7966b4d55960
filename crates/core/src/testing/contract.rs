//! What any model must do, client or wrapper.

use std::{sync::Arc, time::Duration};

use super::Recorder;
use crate::{ChatModel, ChatRequest, Event, Role, Run};

/// Checks what any [`ChatModel`] must do, be it a client or a wrapper: ask it for a plain answer in four ways. The model
/// must answer every question with some text.
///
/// # Panics
///
/// With the rule that was broken.
#[expect(clippy::panic, reason = "a broken rule has to fail the test that called")]
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
    assert_eq!(whole.message.role(), Role::Assistant, "a reply is the model's");
    assert!(!whole.message.text().is_empty(), "the model must answer with text");
    assert_eq!(whole.message.tool_calls().count(), 0, "no tools were offered");
    assert!(!whole.model.is_empty(), "the reply names the model that answered");
    let deltas = silent.count(|event| matches!(event, Event::Delta(_)));
    assert_eq!(deltas, 0, "nobody wanted deltas");

    let listener = Recorder::new();
    let run = Run::builder().observer(Arc::new(listener.clone())).deltas(true).build();
    let streamed = ask(&run).await;
    assert_eq!(listener.text(), streamed.message.text(), "the deltas make up the text of the reply");
    assert_eq!(streamed.finish_reason, whole.finish_reason, "streamed or not, a reply ends for the same reason");
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
    assert_eq!(*model.id(), id, "a model keeps its name");
}
