use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::json;

use super::*;
use crate::{Budget, tool_fn};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Wait {
    seconds: u64,
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: Arguments::parse(arguments.into()), data: None }
}

fn toolbox(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Toolbox {
    let mut toolbox = Toolbox::new();
    tools.into_iter().for_each(|tool| toolbox.add(tool).unwrap());
    toolbox
}

async fn done(toolbox: &Toolbox, calls: &[ToolCall]) -> Vec<(ToolStatus, String)> {
    let calls: Vec<_> = calls.iter().collect();
    let done = toolbox.call_all(&calls, Round { run: &Run::new(), turn: 1, disabled: &[] }).await;
    done.into_iter().map(|call| (call.end, crate::chat::message::texts(&call.result.content))).collect()
}

fn wait() -> Arc<dyn Tool> {
    Arc::new(tool_fn("wait", "", |args: Wait, _| async move {
        tokio::time::sleep(Duration::from_secs(args.seconds)).await;
        Ok(ToolOutput::text(args.seconds.to_string()))
    }))
}

#[tokio::test(start_paused = true)]
async fn results_come_in_call_order_whatever_finishes_first() {
    let calls = [
        call("a", "wait", "{\"seconds\":3}"),
        call("b", "wait", "{\"seconds\":1}"),
        call("c", "wait", "{\"seconds\":2}"),
    ];
    let started = Instant::now();
    let texts: Vec<_> = done(&toolbox([wait()]), &calls).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!((texts, started.elapsed()), (vec!["3".into(), "1".into(), "2".into()], Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_run_at_a_time_than_allowed() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let tool = tool_fn("work", "", |_: serde_json::Map<String, Value>, _| async {
        MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        Ok(ToolOutput::default())
    });
    let toolbox = toolbox([Arc::new(tool) as _]).with_limits(ToolLimits { parallel: 3, ..ToolLimits::default() });
    let calls: Vec<_> = (0..10).map(|index| call(&index.to_string(), "work", &format!("{{\"n\":{index}}}"))).collect();
    done(&toolbox, &calls).await;
    assert_eq!(MOST.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_hangs_and_one_that_panics_become_results_and_harm_no_sibling() {
    let hangs = tool_fn("hangs", "", |_: serde_json::Map<String, Value>, _| pending());
    let panics = tool_fn("panics", "", |_: serde_json::Map<String, Value>, _| async { panic!("secret detail") });
    let toolbox = toolbox([Arc::new(hangs.timeout(Duration::from_secs(7))) as _, Arc::new(panics) as _, wait()]);
    let calls = [call("a", "hangs", "{}"), call("b", "panics", ""), call("c", "wait", "{\"seconds\":1}")];
    let started = Instant::now();
    let done = done(&toolbox, &calls).await;
    assert_eq!(started.elapsed(), Duration::from_secs(7));
    assert_eq!(done[0], (ToolStatus::Timeout, "The tool did not answer within 7s and was stopped.".into()));
    assert_eq!(done[1], (ToolStatus::Panic, "The tool failed with an internal error.".into()));
    assert_eq!(done[2], (ToolStatus::Ok, "1".into()));
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_explained_and_the_tool_is_not_run() {
    let calls =
        [call("a", "wait", "{\"seconds\":\"soon\"}"), call("b", "wait", "{\"seconds\": 1"), call("c", "wait", "")];
    let done = done(&toolbox([wait()]), &calls).await;
    let ends = [ToolStatus::InvalidArguments, ToolStatus::TruncatedArguments, ToolStatus::InvalidArguments];
    assert_eq!(done.iter().map(|(end, _)| *end).collect::<Vec<_>>(), ends);
    assert!(done[0].1.contains("at /seconds: "), "{}", done[0].1);
    assert!(done[1].1.contains("break off or are malformed after 13 bytes"), "{}", done[1].1);
    assert!(done[2].1.contains("\"seconds\" is a required property"), "{}", done[2].1);
}

#[tokio::test]
async fn long_output_is_cut_at_a_character_and_marked() {
    let tool =
        tool_fn("long", "", |_: serde_json::Map<String, Value>, _| async { Ok(ToolOutput::text("ä".repeat(100))) });
    let toolbox = toolbox([Arc::new(tool) as _]).with_limits(ToolLimits { output_bytes: 11, ..ToolLimits::default() });
    let done = done(&toolbox, &[call("a", "long", "{}")]).await;
    assert_eq!(done[0].1, "äääää\n[cut: 11 of 200 bytes shown]");
}

#[tokio::test]
async fn text_in_many_parts_is_cut_as_a_whole() {
    let tool = tool_fn("pages", "", |_: serde_json::Map<String, Value>, _| async {
        let mut pages = ToolOutput::text("12345678");
        pages.content.extend(["90", "ab", "cd"].map(Part::text));
        Ok(pages)
    });
    let limits = ToolLimits { output_bytes: 11, ..ToolLimits::default() };
    let toolbox = toolbox([Arc::new(tool) as Arc<dyn Tool>]).with_limits(limits);
    let done = done(&toolbox, &[call("1", "pages", "{}")]).await;
    assert_eq!(done[0].1, "12345678\n90\na\n[cut: 1 of 2 bytes shown]");
}

#[tokio::test]
async fn a_budget_of_tool_calls_refuses_the_next_one_and_says_so() {
    let run = Run::builder().budget(Budget::unlimited().tool_calls(1)).build();
    let calls = [call("a", "wait", "{\"seconds\":0}"), call("b", "wait", "{\"seconds\":1}")];
    let round = Round { run: &run, turn: 1, disabled: &[] };
    let done = toolbox([wait()]).call_all(&calls.iter().collect::<Vec<_>>(), round).await;
    assert_eq!([done[0].end, done[1].end], [ToolStatus::Ok, ToolStatus::Budget]);
}

#[tokio::test]
async fn the_same_call_twice_in_one_breath_is_run_once_unless_the_tool_is_made_for_it() {
    let counting = |name: &'static str| {
        tool_fn(name, "", |_: serde_json::Map<String, Value>, run: Run| async move {
            Ok(ToolOutput::text(run.count("runs").to_string()))
        })
    };
    let once = Arc::new(counting("once")) as Arc<dyn Tool>;
    let reads = Arc::new(counting("reads").effect(Effect::Repeatable)) as Arc<dyn Tool>;
    let polls = Arc::new(counting("polls").polling()) as Arc<dyn Tool>;
    let toolbox = toolbox([once, reads, polls]);
    let texts = async |name: &str| {
        let calls = [call("a", name, "{}"), call("b", name, "{\"n\":1}"), call("c", name, "{}")];
        let done = toolbox.call_all(&calls.each_ref(), Round { run: &Run::new(), turn: 1, disabled: &[] }).await;
        let result = |call: Done| (call.result.call_id, crate::chat::message::texts(&call.result.content));
        done.into_iter().map(result).collect::<Vec<_>>()
    };
    let told = |third: &str| [("a", "1"), ("b", "2"), ("c", third)].map(|(id, text)| (id.to_owned(), text.to_owned()));
    assert_eq!(texts("once").await, told("1"));
    assert_eq!(texts("reads").await, told("3"));
    assert_eq!(texts("polls").await, told("3"));
}

#[tokio::test]
async fn what_is_cut_off_is_not_kept_in_memory() {
    let text = cut("x".repeat(1 << 20), 16);
    assert!(text.len() < 64 && text.capacity() < 128, "{} of {}", text.len(), text.capacity());
}

#[test]
fn names_that_providers_refuse_are_refused_here() {
    for name in ["", "with space", "ümlaut", &"x".repeat(65)] {
        let tool = tool_fn(name, "", |_: Wait, _| async { Ok(ToolOutput::default()) });
        assert_eq!(Toolbox::new().add(Arc::new(tool)), Err(ToolboxError::Name(name.into())));
    }
}

#[test]
fn the_order_of_tools_is_the_order_of_adding() {
    let tool = |name| Arc::new(tool_fn(name, "", |_: Wait, _| async { Ok(ToolOutput::default()) })) as Arc<dyn Tool>;
    let toolbox = toolbox([tool("b"), tool("a")]);
    let names: Vec<_> = toolbox.specs().specs().iter().map(|spec| &*spec.name).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(json!(names), json!(["b", "a"]));
}
