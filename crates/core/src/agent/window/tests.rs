use serde_json::json;

use super::*;
use crate::{
    Agent, ToolOutput,
    testing::{Recorder, ScriptedModel, Turn},
    tool_fn,
};

/// An agent that fetches `pages` long pages, one a turn, and is shown at most `max_tokens`.
async fn fetch(pages: usize, window: ContextWindow) -> (ScriptedModel, Recorder) {
    let fetch = |page| Turn::call(&format!("c{page}"), "fetch", json!({ "page": page }));
    let model = ScriptedModel::new((0..pages).map(fetch).chain([Turn::text("Read.")]));
    let tool = tool_fn("fetch", "", |_: serde_json::Map<String, serde_json::Value>, run: Run| async move {
        Ok(ToolOutput::text(format!("{} {}", run.count("pages"), "x".repeat(4_000))))
    });
    let recorder = Recorder::new();
    let agent = Agent::new("reader", model.clone()).instructions("Read.").tool(tool).window(window);
    let outcome = agent.observer(Arc::new(recorder.clone())).run("Read all pages.").await.unwrap();
    assert_eq!(outcome.transcript.len(), 2 * pages + 2, "hidden messages stay in the transcript");
    (model, recorder)
}

#[tokio::test]
async fn old_messages_are_hidden_before_the_call_and_the_task_stays() {
    let window = ContextWindow::default().max_tokens(5_000);
    let (model, recorder) = fetch(20, window).await;
    for request in model.requests() {
        assert!(request.estimated_input_tokens() <= 5_000, "{}", request.estimated_input_tokens());
        assert_eq!(request.transcript.visible().next().unwrap().text(), "Read all pages.");
    }
    let trims = recorder.count(|event| matches!(event, Event::Trimmed { .. }));
    assert!((5..=9).contains(&trims), "many messages are hidden at a time, not in {trims} of 20 turns");
}

#[tokio::test]
async fn a_request_that_fits_is_not_changed() {
    let (model, recorder) = fetch(3, ContextWindow::default()).await;
    assert_eq!(recorder.count(|event| matches!(event, Event::Trimmed { .. })), 0);
    assert_eq!(model.requests().pop().unwrap().transcript.visible().count(), 7);
}

#[tokio::test]
async fn a_summary_replaces_the_hidden_messages() {
    let writer = ScriptedModel::named("writer", (0..9).map(|index| Turn::text(&format!("summary {index}"))));
    let window = ContextWindow::default().max_tokens(5_000).summarizer(writer.clone());
    let (model, _) = fetch(8, window).await;
    let shown: Vec<_> = model.requests().pop().unwrap().transcript.visible().take(2).cloned().collect();
    assert_eq!(shown[0].text(), "Read all pages.");
    assert!(shown[1].text().starts_with("[Summary of earlier messages]\nsummary "), "{}", shown[1].text());
    let requests = writer.requests();
    assert!(requests[0].transcript.messages()[0].text().contains("[calls fetch {\"page\":0}]"));
    let second = requests[1].transcript.messages()[0].text().into_owned();
    assert!(second.contains("summary 0"), "the next summary covers an earlier one");
}

#[test]
fn the_middle_of_a_long_conversation_is_not_summarized() {
    assert_eq!(without_middle("short", 5), "short");
    assert_eq!(without_middle("0123456789", 4), "01\n[… left out …]\n89");
    assert_eq!(without_middle("ä€ö", 4), "ä\n[… left out …]\nö");
}
