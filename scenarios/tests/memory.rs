//! Endless input does not fill the memory: R17 and R31. In a process of its own, where every allocation is counted.
#![cfg(test)]

use std::{
    alloc::System,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use brigade_core::{
    Agent, ChatModel, ChatRequest, Event, ModelErrorKind, Observer, Run, ToolLimits, ToolOutput, tool_fn,
};
use brigade_providers::{Anthropic, OpenAi, OpenAiResponses};
use brigade_rehearsal::{Script, Simulator};
use cap::Cap;
use serde_json::Value;

/// An allocation beyond the limit ends the process.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Lets one test run at a time, so that none counts the allocations of another one.
static TURN: Mutex<()> = Mutex::new(());

/// The most memory for one stream…
const STREAM_BYTES: usize = 16 << 20;
/// …in addition to that of any connection.
const CONNECTION_BYTES: usize = 1 << 20;
/// What the HTTP client may buffer for an open connection.
const CONNECTION_BUFFERS: usize = 64 << 10;

/// A provider that sends a line without end until its client disconnects.
fn endless_line() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = BufReader::new(stream.try_clone().unwrap());
        let head = request.lines().take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()));
        assert!(head.count() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {").unwrap();
        let piece = vec![b'x'; 64 << 10];
        while stream.write_all(&piece).is_ok() {}
    });
    address
}

#[test]
fn an_endless_line_is_rejected_before_it_fills_the_memory() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for dialect in 0..3 {
        let base = format!("http://{}/v1", endless_line());
        let model: Arc<dyn ChatModel> = match dialect {
            0 => Arc::new(OpenAi::builder().base_url(base).api_key("none").build().unwrap().model("m")),
            1 => Arc::new(OpenAiResponses::builder().base_url(base).api_key("none").build().unwrap().model("m")),
            _ => Arc::new(Anthropic::builder().base_url(base).api_key("none").build().unwrap().model("m")),
        };
        let run = Run::builder().deltas(true).build();
        MEMORY.set_limit(MEMORY.allocated() + STREAM_BYTES + CONNECTION_BYTES).unwrap();
        let error = runtime.block_on(model.chat(&ChatRequest::new("Hello?"), &run)).unwrap_err();
        MEMORY.set_limit(usize::MAX).unwrap();
        assert!(error.kind() == ModelErrorKind::Broken && error.to_string().contains("is longer than"), "{error}");
    }
}

/// Records the memory in use at the start of the second turn.
#[derive(Debug, Default)]
struct AtSecondTurn(AtomicUsize);

impl Observer for AtSecondTurn {
    fn on_event(&self, _: &Run, event: &Event) {
        if let Event::TurnStarted { turn: 2, .. } = event {
            self.0.store(MEMORY.allocated(), Ordering::Relaxed);
        }
    }
}

#[test]
fn a_large_tool_result_uses_at_most_twice_the_memory_of_what_is_kept() {
    const SCRIPT: &str = r#"
[[rule]]
when   = { turn = 0 }
answer = { tool_calls = [{ name = "flood", arguments = '{}' }] }
[[rule]]
answer = { text = "Enough." }
"#;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let simulator = Simulator::builder().script(Script::from_toml(SCRIPT).unwrap()).build();
        let provider = simulator.serve_locally().await.unwrap();
        let client = OpenAi::builder().base_url(format!("{}/v1", provider.base_url())).api_key("none").build().unwrap();
        let flood = tool_fn("flood", "", |_: serde_json::Map<String, Value>, _| async {
            Ok(ToolOutput::text("x".repeat(50 << 20)))
        });
        let agent = Agent::new("asker", client.model("gpt-5-mini")).tool(flood);
        // The first run makes the allocations that happen only once.
        agent.run("Once.").await.unwrap();
        let held = Arc::new(AtSecondTurn::default());
        let run = Run::builder().observer(Arc::clone(&held) as _).build();
        let before = MEMORY.allocated();
        let outcome = agent.run_in(&run, "Again.").await.unwrap();
        let held = held.0.load(Ordering::Relaxed).saturating_sub(before);
        let kept = ToolLimits::default().output_bytes;
        assert_eq!(outcome.text, "Enough.");
        assert!(
            (kept..=2 * kept + CONNECTION_BUFFERS).contains(&held),
            "{held} bytes are in use for {kept} kept bytes"
        );
    });
}
