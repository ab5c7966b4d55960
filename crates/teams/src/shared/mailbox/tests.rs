use brigade_core::Effect;
use tokio::time::Instant;

use super::*;
use crate::{
    Bus, LocalBus, TeamRunBuilder,
    fixtures::{Records, agent},
};

const SECOND: Duration = Duration::from_secs(1);

async fn next(run: &Run) -> Option<String> {
    run.wait_for_message(SECOND).await.unwrap().map(|envelope| envelope.body)
}

#[tokio::test(start_paused = true)]
async fn messages_wait_for_an_agent_that_has_not_started() {
    let run = Run::new();
    let writer = agent(&run, "writer");
    writer.send_message("critic", "draft 1").await.unwrap();
    writer.send_message("critic", "draft 2").await.unwrap();
    let critic = agent(&run, "critic");
    let first = critic.wait_for_message(SECOND).await.unwrap().unwrap();
    assert_eq!(first, Envelope::new("writer", "draft 1").trace(run.trace()));
    assert_eq!(next(&critic).await.as_deref(), Some("draft 2"));
    assert_eq!(next(&critic).await, None);
    assert_eq!(next(&writer).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_receives_a_message_at_once() {
    let run = Run::new();
    let (writer, critic) = (agent(&run, "writer"), agent(&run, "critic"));
    let began = Instant::now();
    let write = async {
        tokio::time::sleep(SECOND).await;
        writer.send_message("critic", "draft").await
    };
    let (read, written) = tokio::join!(critic.wait_for_message(60 * SECOND), write);
    written.unwrap();
    assert_eq!(read.unwrap().unwrap().body, "draft");
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_after_its_time_or_with_the_run() {
    let run = Run::builder().deadline(Instant::now() + 5 * SECOND).build();
    let began = Instant::now();
    assert_eq!(run.wait_for_message(2 * SECOND).await, Ok(None));
    assert_eq!(began.elapsed(), 2 * SECOND);
    assert_eq!(run.wait_for_message(60 * SECOND).await, Ok(None));
    assert_eq!(began.elapsed(), 5 * SECOND);
    run.cancel();
    assert_eq!(run.wait_for_message(60 * SECOND).await, Ok(None));
    assert_eq!(began.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn requests_that_share_a_bus_and_a_trace_have_separate_mailboxes() {
    let bus: Arc<dyn Bus> = Arc::new(LocalBus::new());
    let one = Run::builder().bus(Arc::clone(&bus)).build();
    let other = Run::builder().bus(bus).trace(one.trace()).build();
    one.send_message("critic", "of one").await.unwrap();
    other.send_message("critic", "of the other").await.unwrap();
    for (run, expected) in [(&one, "of one"), (&other, "of the other")] {
        let critic = agent(run, "critic");
        assert_eq!(next(&critic).await.as_deref(), Some(expected));
        assert_eq!(next(&critic).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn agents_at_any_depth_are_addressed_by_name() {
    let run = Run::new();
    let desk = agent(&run, "desk");
    let helper = agent(&agent(&desk, "writer"), "helper");
    desk.send_message("helper", "from above").await.unwrap();
    helper.send_message("desk", "from below").await.unwrap();
    assert_eq!(next(&helper).await.as_deref(), Some("from above"));
    assert_eq!(next(&desk).await.as_deref(), Some("from below"));
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_refuses_messages_and_keeps_the_old_ones() {
    let run = Run::builder().bus(Arc::new(LocalBus::with_inbox_capacity(1))).build();
    run.send_message("critic", "first").await.unwrap();
    assert!(matches!(run.send_message("critic", "second").await, Err(BusError::InboxFull(_))));
    assert_eq!(next(&agent(&run, "critic")).await.as_deref(), Some("first"));
}

#[tokio::test(start_paused = true)]
async fn mailboxes_close_when_the_run_is_dropped() {
    let bus = Arc::new(LocalBus::new());
    let run = Run::builder().bus(Arc::clone(&bus) as Arc<dyn Bus>).build();
    run.send_message("critic", "hello").await.unwrap();
    let topic = run.shared::<Mailboxes>().topic("critic");
    drop(run);
    let gone = bus.publish(&topic, Envelope::new("ghost", "anybody?")).await;
    assert_eq!(gone, Err(BusError::NoListener(topic)));
}

async fn send_in_step(writer: &Run, step: &str, text: &str) {
    let send = async |run: Run| run.send_message("critic", text).await.unwrap();
    writer.step(step, Effect::Repeatable, &(), send).await.unwrap();
}

async fn read_in_step(reader: &Run, step: &str) -> Option<String> {
    reader.step(step, Effect::Repeatable, &(), async |run| next(&run).await).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_has_the_messages_that_no_completed_step_has_read() {
    let records = Records::default();
    let run = Run::builder().journal(records.journal()).build();
    let (writer, critic) = (agent(&run, "writer"), agent(&run, "critic"));
    for text in ["one", "two", "three"] {
        send_in_step(&writer, text, text).await;
    }
    assert_eq!(read_in_step(&critic, "1").await.as_deref(), Some("one"));

    for _ in 0..2 {
        let again = Run::builder().id(run.id()).journal(records.journal()).build();
        let (writer, critic) = (agent(&again, "writer"), agent(&again, "critic"));
        send_in_step(&writer, "three", "three").await;
        assert_eq!(read_in_step(&critic, "1").await.as_deref(), Some("one"), "it is recorded");
        let unread = [next(&critic).await, next(&critic).await, next(&critic).await];
        assert_eq!(unread.each_ref().map(Option::as_deref), [Some("two"), Some("three"), None]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_read_is_not_received_twice_if_its_sender_was_interrupted() {
    let records = Records::default();
    let run = Run::builder().journal(records.journal()).build();
    let (writer, critic) = (agent(&run, "writer"), agent(&run, "critic"));
    let interrupted = async |run: Run| {
        run.send_message("critic", "one").await.unwrap();
        std::future::pending::<()>().await;
    };
    assert!(futures::FutureExt::now_or_never(writer.step("1", Effect::Repeatable, &(), interrupted)).is_none());
    assert_eq!(read_in_step(&critic, "1").await.as_deref(), Some("one"));

    let again = Run::builder().id(run.id()).journal(records.journal()).build();
    let (writer, critic) = (agent(&again, "writer"), agent(&again, "critic"));
    send_in_step(&writer, "1", "one").await;
    send_in_step(&writer, "2", "two").await;
    assert_eq!(next(&critic).await.as_deref(), Some("two"));
}
