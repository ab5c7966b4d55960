//! The contract of [`Memory`].

use std::sync::Arc;

use brigade_core::{
    Arguments, Image, Memory, Message, Part, ProviderData, RawJson, Role, TextPart, ToolCall, ToolResult, Transcript,
};
use tokio::task::JoinSet;

use super::ok;

/// Checks that a [`Memory`] keeps its contract. It writes to sessions whose names start with `contract-`, which must be
/// new.
///
/// # Panics
///
/// If a rule is broken; the message names the rule.
pub async fn memory_contract(memory: Arc<dyn Memory>) {
    let shared = Arc::clone(&memory);
    let memory = &*memory;
    assert!(load(memory, "contract-new").await.is_empty(), "a new session is empty");

    let (greeting, question) = (Message::user("I am Ada."), Message::user("Who am I?"));
    let (welcome, answer) = (Message::assistant("Hello, Ada."), Message::assistant("You are Ada."));
    append(memory, "contract-a", &[greeting.clone(), welcome.clone()]).await;
    append(memory, "contract-b", &[Message::user("I am Bob."), Message::assistant("Hello, Bob.")]).await;
    append(memory, "contract-a", &[]).await;
    append(memory, "contract-a", &[question.clone(), answer.clone()]).await;
    let loaded = load(memory, "contract-a").await;
    assert_eq!(loaded, [greeting, welcome, question, answer], "a session keeps its own messages, in order");

    let everything = every_kind_of_part();
    append(memory, "contract-parts", &everything).await;
    assert_eq!(load(memory, "contract-parts").await, everything, "messages are loaded unchanged");

    calls_keep_their_results(memory).await;
    exchanges_stay_whole(&shared).await;
}

/// A provider accepts the loaded messages, however many are loaded.
async fn calls_keep_their_results(memory: &dyn Memory) {
    for turn in 0..20 {
        append(memory, "contract-calls", &exchange(turn)).await;
    }
    let loaded = load(memory, "contract-calls").await;
    let repaired = Transcript::repaired(loaded.clone());
    assert_eq!(loaded, repaired.messages(), "loaded messages need no repair");
    let last = loaded.last().map(|message| message.text().into_owned());
    assert_eq!(last.as_deref(), Some("answer 19"), "the newest exchange is loaded");
}

/// Exchanges that are appended concurrently are not mixed.
async fn exchanges_stay_whole(memory: &Arc<dyn Memory>) {
    const WRITERS: usize = 16;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let memory = Arc::clone(memory);
        writers.spawn(async move { append(&*memory, "contract-whole", &exchange(writer)).await });
    }
    while let Some(done) = writers.join_next().await {
        ok(done, "a writer must not panic");
    }
    let loaded = load(&**memory, "contract-whole").await;
    let length = exchange(0).len();
    assert_eq!(loaded.len(), WRITERS * length, "every exchange is stored");
    for messages in loaded.chunks(length) {
        let whole = (0..WRITERS).any(|writer| messages == exchange(writer));
        assert!(whole, "exchanges are not mixed: {messages:?}");
    }
}

/// A question that is answered with a tool.
fn exchange(number: usize) -> Vec<Message> {
    let call = ToolCall::new(format!("call-{number}"), "lookup", Arguments::parse(format!("{{\"number\": {number}}}")));
    let result = ToolResult::new(&call, vec![Part::text("found")]);
    vec![
        Message::user(format!("question {number}")),
        Message::new(Role::Assistant, vec![Part::ToolCall(call)]),
        Message::tool(vec![result]),
        Message::assistant(format!("answer {number}")),
    ]
}

fn every_kind_of_part() -> Vec<Message> {
    let data = |json: &str| ProviderData::new("contract", ok(RawJson::parse(json.to_owned()), "this is JSON"));
    let image = Image::Base64 { media_type: "image/png".to_owned(), data: "iVBORw0KGgo=".repeat(20_000) };
    let call = ToolCall::new("c1", "look", Arguments::parse("{ \"spaces\" :  1.0 }".to_owned()))
        .data(Some(data("{\"call\": true}")));
    let content = vec![Part::text("x".repeat(100_000)), Part::Image(image.clone())];
    let result = ToolResult::new(&call, content).is_error(true);
    let thinking = TextPart::new("hm").data(Some(data("{\"signature\":\"a b\"}")));
    let cited = TextPart::new("Ünïcödé \u{0} \" \\ 🙂").data(Some(data("[1,  2]")));
    vec![
        Message::new(
            Role::User,
            vec![Part::text("Look:"), Part::Image(image), Part::Image(Image::Url("http://a".to_owned()))],
        ),
        Message::new(Role::Assistant, vec![Part::Thinking(thinking), Part::Opaque(data("{}")), Part::ToolCall(call)]),
        Message::tool(vec![result]),
        Message::new(Role::Assistant, vec![Part::Text(cited)]),
    ]
}

async fn append(memory: &dyn Memory, session: &str, messages: &[Message]) {
    ok(memory.append(session, messages).await, "an exchange must be stored");
}

async fn load(memory: &dyn Memory, session: &str) -> Vec<Message> {
    ok(memory.load(session).await, "a session must load")
}
