use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::json;

use super::*;
use crate::{Budget, Part, RawJson, ToolError, ToolSpec, tool::execution::cut, tool_fn};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Wait {
    seconds: u64,
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall::new(id, name, Arguments::parse(arguments.into()))
}

fn toolbox(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Toolbox {
    let mut toolbox = Toolbox::new();
    tools.into_iter().for_each(|tool| toolbox.add(tool).unwrap());
    toolbox
}

async fn run_calls(toolbox: &Toolbox, calls: &[ToolCall]) -> Vec<(ToolStatus, String)> {
    let calls: Vec<_> = calls.iter().collect();
    let outcomes = toolbox.run_calls(&calls, CallContext { run: &Run::new(), turn: 1, disabled: &[] }).await;
    outcomes.into_iter().map(|outcome| (outcome.status, outcome.result.text())).collect()
}

fn wait() -> Arc<dyn Tool> {
    Arc::new(tool_fn("wait", "", |args: Wait, _| async move {
        tokio::time::sleep(Duration::from_secs(args.seconds)).await;
        Ok(ToolOutput::text(args.seconds.to_string()))
    }))
}

#[tokio::test(start_paused = true)]
async fn results_are_in_call_order() {
    let calls = [
        call("a", "wait", "{\"seconds\":3}"),
        call("b", "wait", "{\"seconds\":1}"),
        call("c", "wait", "{\"seconds\":2}"),
    ];
    let started = Instant::now();
    let texts: Vec<_> = run_calls(&toolbox([wait()]), &calls).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!((texts, started.elapsed()), (vec!["3".into(), "1".into(), "2".into()], Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_does_not_hold_up_the_calls_behind_it() {
    let seconds = |index: usize| if index == 0 { 60 } else { 5 };
    let call =
        |index: usize| call(&index.to_string(), "wait", &format!("{{\"seconds\":{},\"n\":{index}}}", seconds(index)));
    let calls: Vec<_> = (0..57).map(call).collect();
    let toolbox = toolbox([wait()]).with_limits(ToolLimits::default().timeout(Duration::from_secs(90)));
    let started = Instant::now();
    let texts: Vec<_> = run_calls(&toolbox, &calls).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(started.elapsed(), Duration::from_mins(1));
    assert_eq!(texts, (0..57).map(|index| seconds(index).to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_than_the_limit_run_at_a_time() {
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
    run_calls(&toolbox, &calls).await;
    assert_eq!(MOST.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_and_a_panicking_tool_become_results_and_do_not_affect_other_calls() {
    let hangs = tool_fn("hangs", "", |_: serde_json::Map<String, Value>, _| pending());
    let panics = tool_fn("panics", "", |_: serde_json::Map<String, Value>, _| async { panic!("secret detail") });
    let toolbox = toolbox([Arc::new(hangs.timeout(Duration::from_secs(7))) as _, Arc::new(panics) as _, wait()]);
    let calls = [call("a", "hangs", "{}"), call("b", "panics", ""), call("c", "wait", "{\"seconds\":1}")];
    let started = Instant::now();
    let outcomes = run_calls(&toolbox, &calls).await;
    assert_eq!(started.elapsed(), Duration::from_secs(7));
    assert_eq!(outcomes[0], (ToolStatus::Timeout, "The tool did not answer within 7s and was stopped.".into()));
    assert_eq!(outcomes[1], (ToolStatus::Panic, "The tool failed with an internal error.".into()));
    assert_eq!(outcomes[2], (ToolStatus::Ok, "1".into()));
}

/// The status and the reason of the event that each call ends with.
async fn reasons(toolbox: &Toolbox, calls: &[ToolCall]) -> Vec<(ToolStatus, Option<String>)> {
    let recorder = crate::testing::Recorder::new();
    let run = Run::builder().observer(Arc::new(recorder.clone())).build();
    toolbox.call_all(&calls.iter().collect::<Vec<_>>(), &run).await;
    let ended = recorder.events().into_iter().filter_map(|(_, event)| match event {
        Event::ToolEnded { outcome, reason, .. } => Some((outcome, reason.as_deref().map(str::to_owned))),
        _ => None,
    });
    ended.collect()
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_failure_is_reported_in_words_that_quote_nothing() {
    const SECRET: &str = "canary-71c2";
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Fail {
        how: String,
        _of: Option<std::collections::BTreeMap<String, u8>>,
    }
    let tool = tool_fn("fail", "", |args: Fail, _| async move {
        let message = format!("{SECRET} is not known");
        match args.how.as_str() {
            "silently" => Err(ToolError::new(message)),
            "fatally" => Err(ToolError::fatal(message).caused_by("the disk is full")),
            "in a chain" => Err(ToolError::new(message).caused_by(
                crate::ModelError::new(crate::ModelErrorKind::Broken, "no answer").caused_by("the line is dead"),
            )),
            "in literal panic" => panic!("a bug"),
            "in panic" => panic!("{message}"),
            "in the type" => Ok(ToolOutput::text("never")),
            _ => pending().await,
        }
    });
    let toolbox = toolbox([Arc::new(tool) as _]);
    let mut seen = Vec::new();
    for arguments in [
        json!({"how": "silently"}),
        json!({"how": "in a chain"}),
        json!({"how": "fatally"}),
        json!({"how": "in literal panic"}),
        json!({"how": "in panic"}),
        json!({"how": "not at all"}),
        json!({"how": [SECRET]}),
        json!({"how": "x", "_of": {SECRET: SECRET}}),
    ] {
        seen.extend(reasons(&toolbox, &[call("a", "fail", &arguments.to_string())]).await);
    }
    seen.extend(reasons(&toolbox, &[call("a", "fail", &format!("{{\"how\": \"{SECRET}"))]).await);
    let refused = |violation: &str| {
        format!("The arguments do not match the schema of `fail`: {violation}. The tool was not run.")
    };
    let expected: [(ToolStatus, Option<&str>); 9] = [
        (ToolStatus::Error, None),
        (ToolStatus::Error, Some("no answer (broken): the line is dead")),
        (ToolStatus::Fatal, Some("the disk is full")),
        (ToolStatus::Panic, Some("a bug")),
        (ToolStatus::Panic, None),
        (ToolStatus::Timeout, Some("The tool did not answer within 30s and was stopped.")),
        (ToolStatus::InvalidArguments, Some(&refused("at /how: value is not of type \"string\""))),
        (ToolStatus::InvalidArguments, Some(&refused("at /_of/*: value is not of type \"integer\""))),
        (ToolStatus::TruncatedArguments, seen[8].1.as_deref()),
    ];
    assert_eq!(seen.iter().map(|(status, reason)| (*status, reason.as_deref())).collect::<Vec<_>>(), expected);
    assert!(!format!("{seen:?}").contains(SECRET) && seen[8].1.is_some(), "{seen:?}");
}

#[tokio::test]
async fn a_call_with_invalid_arguments_is_explained_and_not_run() {
    let calls =
        [call("a", "wait", "{\"seconds\":\"soon\"}"), call("b", "wait", "{\"seconds\": 1"), call("c", "wait", "")];
    let outcomes = run_calls(&toolbox([wait()]), &calls).await;
    let ends = [ToolStatus::InvalidArguments, ToolStatus::TruncatedArguments, ToolStatus::InvalidArguments];
    assert_eq!(outcomes.iter().map(|(status, _)| *status).collect::<Vec<_>>(), ends);
    assert!(outcomes[0].1.contains("at /seconds: "), "{}", outcomes[0].1);
    assert!(outcomes[1].1.contains("break off or are malformed after 13 bytes"), "{}", outcomes[1].1);
    assert!(outcomes[2].1.contains("\"seconds\" is a required property"), "{}", outcomes[2].1);
}

/// A tool that answers with its arguments.
#[derive(Debug)]
struct Repeat(ToolSpec);

#[async_trait::async_trait]
impl Tool for Repeat {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, arguments: Value, _: &Run) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput::text(arguments.to_string()))
    }
}

#[tokio::test]
async fn an_object_in_a_string_is_unwrapped_where_the_schema_wants_an_object() {
    let schema = r#"{"type":"object","required":["where"],"properties":{"where":{"type":"object"},"ids":{"type":"array"},
        "body":{"type":"string"},"either":{"anyOf":[{"type":"object"},{"type":"null"}]}}}"#;
    let spec = ToolSpec::new("find", "", RawJson::parse(schema.into()).unwrap());
    let toolbox = toolbox([Arc::new(Repeat(spec)) as Arc<dyn Tool>]);
    for (arguments, seen) in [
        (r#"{"where":"{\"a\":1}"}"#, r#"{"where":{"a":1}}"#),
        (r#""{\"where\":{\"a\":1}}""#, r#"{"where":{"a":1}}"#),
        (r#""{\"where\":\"{\\\"a\\\":1}\"}""#, r#"{"where":{"a":1}}"#),
        (r#"{"where":{},"ids":"[1]","body":"{}","either":"{}"}"#, r#"{"body":"{}","either":{},"ids":[1],"where":{}}"#),
    ] {
        let outcomes = run_calls(&toolbox, &[call("c", "find", arguments)]).await;
        assert_eq!(outcomes, [(ToolStatus::Ok, seen.to_owned())], "{arguments}");
    }
    for arguments in [r#"{"where":"a"}"#, r#"{"where":"{\"a\":1} or so"}"#, r#"{"where":"1"}"#] {
        let outcomes = run_calls(&toolbox, &[call("c", "find", arguments)]).await;
        assert_eq!(outcomes[0].0, ToolStatus::InvalidArguments, "{arguments}");
    }
}

#[tokio::test]
async fn long_output_is_cut_at_a_character_boundary_with_a_marker() {
    let tool =
        tool_fn("long", "", |_: serde_json::Map<String, Value>, _| async { Ok(ToolOutput::text("ä".repeat(100))) });
    let toolbox = toolbox([Arc::new(tool) as _]).with_limits(ToolLimits { output_bytes: 11, ..ToolLimits::default() });
    let outcomes = run_calls(&toolbox, &[call("a", "long", "{}")]).await;
    assert_eq!(outcomes[0].1, "äääää\n[cut: 11 of 200 bytes shown]");
}

#[tokio::test]
async fn the_output_limit_applies_to_all_parts_together() {
    let tool = tool_fn("pages", "", |_: serde_json::Map<String, Value>, _| async {
        let mut pages = ToolOutput::text("12345678");
        pages.content.extend(["90", "ab", "cd"].map(Part::text));
        Ok(pages)
    });
    let limits = ToolLimits { output_bytes: 11, ..ToolLimits::default() };
    let toolbox = toolbox([Arc::new(tool) as Arc<dyn Tool>]).with_limits(limits);
    let outcomes = run_calls(&toolbox, &[call("1", "pages", "{}")]).await;
    assert_eq!(outcomes[0].1, "12345678\n90\na\n[cut: 1 of 2 bytes shown]");
}

#[tokio::test]
async fn a_call_over_the_budget_of_tool_calls_is_refused() {
    let run = Run::builder().budget(Budget::unlimited().tool_calls(1)).build();
    let calls = [call("a", "wait", "{\"seconds\":0}"), call("b", "wait", "{\"seconds\":1}")];
    let context = CallContext { run: &run, turn: 1, disabled: &[] };
    let outcomes = toolbox([wait()]).run_calls(&calls.each_ref(), context).await;
    assert_eq!([outcomes[0].status, outcomes[1].status], [ToolStatus::Ok, ToolStatus::Budget]);
}

#[tokio::test]
async fn identical_calls_of_one_turn_run_once_unless_the_tool_is_repeatable_or_polling() {
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
        let results = toolbox.call_all(&calls.each_ref(), &Run::new()).await;
        results.into_iter().map(|result| (result.call_id.clone(), result.text())).collect::<Vec<_>>()
    };
    let expected =
        |third: &str| [("a", "1"), ("b", "2"), ("c", third)].map(|(id, text)| (id.to_owned(), text.to_owned()));
    assert_eq!(texts("once").await, expected("1"));
    assert_eq!(texts("reads").await, expected("3"));
    assert_eq!(texts("polls").await, expected("3"));
}

#[tokio::test]
async fn text_that_was_cut_off_is_freed() {
    let text = cut("x".repeat(1 << 20), 16);
    assert!(text.len() < 64 && text.capacity() < 128, "{} of {}", text.len(), text.capacity());
}

#[test]
fn names_that_providers_would_refuse_are_refused() {
    for name in ["", "with space", "ümlaut", &"x".repeat(65)] {
        let tool = tool_fn(name, "", |_: Wait, _| async { Ok(ToolOutput::default()) });
        assert_eq!(Toolbox::new().add(Arc::new(tool)), Err(ToolboxError::Name(name.into())));
    }
}

#[test]
fn tools_keep_the_order_in_which_they_were_added() {
    let tool = |name| Arc::new(tool_fn(name, "", |_: Wait, _| async { Ok(ToolOutput::default()) })) as Arc<dyn Tool>;
    let toolbox = toolbox([tool("b"), tool("a")]);
    let names: Vec<_> = toolbox.specs().specs().iter().map(|spec| &*spec.name).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(json!(names), json!(["b", "a"]));
}

/// A tool that counts how often its description is read.
#[derive(Debug)]
struct Counted(ToolSpec, Arc<AtomicUsize>);

#[async_trait::async_trait]
impl Tool for Counted {
    fn spec(&self) -> &ToolSpec {
        self.1.fetch_add(1, Ordering::Relaxed);
        &self.0
    }

    async fn call(&self, _: Value, _: &Run) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput::text(&*self.0.name))
    }
}

#[tokio::test]
async fn adding_and_calling_tools_takes_work_in_proportion_to_their_number() {
    const TOOLS: usize = 2_000;
    let reads = Arc::new(AtomicUsize::new(0));
    let mut toolbox = Toolbox::new();
    let mut copies = 0;
    for index in 0..TOOLS {
        let spec = ToolSpec::new(format!("tool{index}"), "", RawJson::empty_object());
        let before = toolbox.specs().specs().as_ptr();
        toolbox.add(Arc::new(Counted(spec, Arc::clone(&reads)))).unwrap();
        copies += usize::from(toolbox.specs().specs().as_ptr() != before);
    }
    assert!(reads.load(Ordering::Relaxed) <= 2 * TOOLS, "{reads:?}");
    assert!(copies <= 12, "the list was copied {copies} times, though it doubles when it is full");
    assert_eq!(toolbox.specs().specs().len(), TOOLS);
    let results = run_calls(&toolbox, &[call("a", "tool1999", "{}")]).await;
    assert_eq!(results, [(ToolStatus::Ok, "tool1999".to_owned())]);
    assert!(reads.load(Ordering::Relaxed) <= 2 * TOOLS + 10, "{reads:?}");
}

#[test]
fn a_toolbox_that_is_extended_leaves_its_copy_as_it_was() {
    let tool = |name| Arc::new(tool_fn(name, "", |_: Wait, _| async { Ok(ToolOutput::default()) })) as Arc<dyn Tool>;
    let first = toolbox([tool("a")]);
    let mut second = first.clone();
    second.add(tool("b")).unwrap();
    let names =
        |toolbox: &Toolbox| toolbox.specs().specs().iter().map(|spec| spec.name.to_string()).collect::<Vec<_>>();
    assert_eq!((names(&first), names(&second)), (vec!["a".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
    let encoded = |toolbox: &Toolbox| {
        let mut out = Vec::new();
        let write = |specs: &[ToolSpec], out: &mut Vec<u8>| {
            out.push(u8::try_from(specs.len()).unwrap());
            Ok::<_, std::convert::Infallible>(())
        };
        toolbox.specs().write_encoded(crate::Dialect { name: "test", variant: 0 }, &mut out, write).unwrap();
        out
    };
    assert_eq!((encoded(&second), encoded(&first)), (vec![2], vec![1]));
    second.add(tool("c")).unwrap();
    assert_eq!(encoded(&second), [3]);
}
