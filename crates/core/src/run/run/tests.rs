use futures::FutureExt;

use super::*;
use crate::{Budget, Scope};

const SECOND: Duration = Duration::from_secs(1);

/// Records events with the agent of their run.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<(String, Event)>>);

impl Observer for Recorder {
    fn on_event(&self, run: &Run, event: &Event) {
        unpoisoned(&self.0).push((run.agent().to_string(), event.clone()));
    }
}

fn child(run: &Run, name: &str) -> Run {
    run.child(name, Budget::unlimited()).unwrap()
}

fn text(text: &str) -> Delta {
    Delta::Text(text.to_owned())
}

#[test]
fn a_child_shares_the_request_and_has_an_id_of_its_own() {
    let scope = Scope::default().user("ada");
    let run = Run::builder().shared("given".to_owned()).scope(scope.clone()).build();
    let desk = child(&run, "desk");
    let writer = child(&desk, "writer");
    assert_eq!(writer.trace(), run.trace());
    assert_eq!(writer.scope(), &scope);
    assert_ne!(writer.id(), desk.id());
    assert_eq!((writer.parent(), run.parent()), (Some(desk.id()), None));
    assert_eq!((&**desk.agent(), desk.depth()), ("desk", 1));
    assert_eq!((&**writer.agent(), writer.agent_name(), writer.depth()), ("desk/writer", "writer", 2));
    assert_eq!(*writer.shared::<String>(), "given");
    *unpoisoned(&writer.shared::<Mutex<u32>>()) += 1;
    assert_eq!(*unpoisoned(&run.shared::<Mutex<u32>>()), 1, "a default is created once");
    writer.degrade(Degradation::new("critic", "slow"));
    assert_eq!(run.degraded().len(), 1);
    assert_eq!((writer.count("things"), run.count("things"), run.count("others")), (1, 2, 1));
}

#[test]
fn a_run_may_make_a_hundred_model_calls_by_default() {
    let limit = |budget| Run::builder().budget(budget).build().ledger().budget().model_calls.map(|cap| cap.limit);
    assert_eq!(limit(Budget::unlimited()), Some(100));
    assert_eq!(limit(Budget::unlimited().model_calls(7)), Some(7));
    let desk = child(&Run::new(), "desk");
    assert_eq!(desk.ledger().budget().model_calls, None, "all agents share the run's");
}

#[tokio::test(start_paused = true)]
async fn a_child_may_only_shorten_the_deadline() {
    let run = Run::builder().budget(Budget::unlimited().wall(10 * SECOND)).build();
    assert_eq!(run.time_left(), Some(10 * SECOND));
    assert_eq!(child(&run, "a").time_left(), Some(10 * SECOND));
    assert_eq!(run.child("a", Budget::unlimited().wall(3 * SECOND)).unwrap().time_left(), Some(3 * SECOND));
    assert_eq!(run.child("a", Budget::unlimited().wall(30 * SECOND)).unwrap().time_left(), Some(10 * SECOND));
    assert_eq!(run.within(30 * SECOND).time_left(), Some(10 * SECOND));
    assert_eq!(run.within(SECOND).time_left(), Some(SECOND));
    assert_eq!(Run::new().time_left(), None);
    let given = Run::builder().deadline(Instant::now() + SECOND).budget(Budget::unlimited().wall(10 * SECOND)).build();
    assert_eq!(given.time_left(), Some(SECOND), "the earlier of two deadlines counts");
}

#[test]
fn delegation_beyond_the_maximum_depth_is_refused() {
    let run = Run::builder().max_depth(2).build();
    let deepest = child(&child(&run, "a"), "b");
    let refused = deepest.child("c", Budget::unlimited()).unwrap_err();
    assert_eq!(refused, DepthExceeded { agent: "a/b/c".into(), limit: 2 });
}

#[test]
fn cancelling_a_run_cancels_only_the_runs_below_it() {
    let run = Run::new();
    let (desk, other) = (child(&run, "desk"), child(&run, "other"));
    let writer = child(&desk, "writer");
    desk.cancel();
    assert_eq!(writer.check(), Err(Interruption::Cancelled));
    assert!(writer.cancelled().now_or_never().is_some());
    assert_eq!(other.check(), Ok(()));
    assert_eq!(run.check(), Ok(()));
    run.cancel();
    assert!(other.is_cancelled());
}

#[test]
fn a_token_from_outside_cancels_the_run() {
    let token = CancellationToken::new();
    let run = Run::builder().cancellation(token.clone()).build();
    token.cancel();
    assert_eq!(child(&run, "late").check(), Err(Interruption::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn work_ends_when_it_is_done_cancelled_or_out_of_time() {
    let run = Run::builder().deadline(Instant::now() + 10 * SECOND).build();
    let began = Instant::now();
    let quick = async {
        tokio::time::sleep(SECOND).await;
        "done"
    };
    assert_eq!(run.until_stopped(quick).await, Ok("done"));

    let writer = child(&run, "writer");
    let cancel = async {
        tokio::time::sleep(SECOND).await;
        writer.cancel();
    };
    let endless = std::future::pending::<()>();
    let (stopped, ()) = tokio::join!(writer.until_stopped(endless), cancel);
    assert_eq!((stopped, began.elapsed()), (Err(Interruption::Cancelled), 2 * SECOND));

    assert_eq!(run.until_stopped(std::future::pending::<()>()).await, Err(Interruption::Deadline));
    assert_eq!(began.elapsed(), 10 * SECOND);
    assert_eq!(run.check(), Err(Interruption::Deadline));
    assert_eq!(run.time_left(), Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn work_that_is_ready_at_the_deadline_counts() {
    let run = Run::builder().deadline(Instant::now()).build();
    assert_eq!(run.until_stopped(std::future::ready("paid for")).await, Ok("paid for"));
}

#[tokio::test(start_paused = true)]
async fn stopped_work_is_dropped() {
    let run = Run::builder().deadline(Instant::now() + SECOND).build();
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    let work = async move {
        std::future::pending::<()>().await;
        drop(holds);
    };
    assert_eq!(run.until_stopped(work).await, Err(Interruption::Deadline));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn observers_receive_events_of_the_run_and_of_child_runs() {
    let recorder = Arc::new(Recorder::default());
    let run = Run::builder().observer(Arc::clone(&recorder) as Arc<dyn Observer>).build();
    run.emit(&Event::RunStarted);
    child(&run, "writer").emit(&Event::ReplyRestarted);
    let expected = [(String::new(), Event::RunStarted), ("writer".to_owned(), Event::ReplyRestarted)];
    assert_eq!(*unpoisoned(&recorder.0), expected);
}

#[test]
fn an_added_observer_receives_only_events_of_the_derived_run() {
    let recorder = Arc::new(Recorder::default());
    let run = Run::new();
    run.observed_by(Arc::clone(&recorder) as Arc<dyn Observer>).emit(&Event::RunStarted);
    run.emit(&Event::ReplyRestarted);
    assert_eq!(*unpoisoned(&recorder.0), [(String::new(), Event::RunStarted)]);
}

#[test]
fn deltas_are_built_only_for_runs_that_want_them() {
    let recorder = Arc::new(Recorder::default());
    let run = Run::builder().observer(Arc::clone(&recorder) as Arc<dyn Observer>).build();
    run.emit_delta(|| unreachable!("the run wants no deltas"));
    Run::builder().deltas(true).build().emit_delta(|| unreachable!("the run has no observer"));
    let streaming = run.with_deltas(true);
    streaming.emit_delta(|| text("Hel"));
    assert!(!child(&streaming, "worker").wants_deltas(), "the reply of a worker is not part of the answer");
    assert_eq!(*unpoisoned(&recorder.0), [(String::new(), Event::Delta(text("Hel")))]);
}

#[tokio::test(start_paused = true)]
async fn a_derived_run_is_the_same_run_apart_from_the_change() {
    let recorder = Arc::new(Recorder::default());
    let top = Run::builder()
        .observer(Arc::clone(&recorder) as Arc<dyn Observer>)
        .deadline(Instant::now() + 10 * SECOND)
        .deltas(true)
        .build();
    let run = child(&top, "desk").with_deltas(true).wrapping_up();
    let derived = run.for_agent("writer").within(20 * SECOND).observed_by(Arc::new(Recorder::default()));
    assert_eq!((derived.id(), derived.trace(), derived.depth()), (run.id(), run.trace(), run.depth()));
    assert_eq!(derived.deadline(), run.deadline());
    assert_eq!(derived.agent(), run.agent(), "it already has a name");
    assert!(derived.is_wrapping_up() && derived.wants_deltas());
    assert!(!child(&derived, "helper").is_wrapping_up(), "a last answer does not delegate");
    assert_eq!(derived.ledger().name(), run.ledger().name());
    derived.emit(&Event::RunStarted);
    assert_eq!(unpoisoned(&recorder.0).len(), 1);
    run.cancel();
    assert!(derived.is_cancelled());
}

#[test]
fn the_first_agent_names_the_run() {
    let run = Run::new().for_agent("desk");
    assert_eq!((&**run.agent(), run.depth()), ("desk", 0));
    assert_eq!(&**child(&run, "writer").for_agent("writer").agent(), "desk/writer");
}

#[derive(Debug)]
struct Panicking;

impl Observer for Panicking {
    fn on_event(&self, _: &Run, _: &Event) {
        panic!("an observer with a bug");
    }
}

#[test]
fn a_panic_in_an_observer_affects_neither_the_run_nor_other_observers() {
    let recorder = Arc::new(Recorder::default());
    let run = Run::builder().observer(Arc::new(Panicking)).observer(Arc::clone(&recorder) as _).deltas(true).build();
    run.emit(&Event::RunStarted);
    run.emit_delta(|| text("hi"));
    assert_eq!(unpoisoned(&recorder.0).len(), 2);
}

#[tokio::test]
async fn a_time_beyond_the_range_of_the_clock_is_not_a_limit() {
    let run = Run::builder().budget(Budget::unlimited().wall(Duration::MAX)).build();
    let child = run.child("desk", Budget::unlimited().wall(Duration::MAX)).unwrap().within(Duration::MAX);
    assert_eq!((run.deadline(), child.deadline()), (None, None));
}
