use std::collections::BTreeSet;

use futures::FutureExt;
use tokio::time::Instant;

use super::*;

const TOPIC: &str = "news";

fn message(body: &str) -> Envelope {
    Envelope::new("desk", body)
}

fn one_of(group: &str) -> Subscription {
    Subscription::Group(group.to_owned())
}

async fn publish(bus: &LocalBus, body: &str) -> Result<usize, BusError> {
    bus.publish(TOPIC, message(body)).await
}

/// The messages that wait in an inbox now.
fn waiting(inbox: &mut Inbox) -> Vec<String> {
    std::iter::from_fn(|| inbox.next().now_or_never().flatten()).map(|delivery| delivery.envelope.body).collect()
}

fn listeners(bus: &LocalBus) -> usize {
    bus.topics.lock().values().flatten().map(|group| group.members.len()).sum()
}

#[tokio::test]
async fn every_listener_receives_a_message_and_a_group_receives_it_once() {
    let bus = LocalBus::new();
    let mut one = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    let mut other = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    let mut first = bus.listen(TOPIC, one_of("team")).await.unwrap();
    let mut second = bus.listen(TOPIC, one_of("team")).await.unwrap();
    let mut elsewhere = bus.listen("sports", Subscription::Broadcast).await.unwrap();
    assert_eq!(publish(&bus, "hello").await, Ok(3));
    assert_eq!(waiting(&mut one), ["hello"]);
    assert_eq!(waiting(&mut other), ["hello"]);
    assert_eq!([waiting(&mut first), waiting(&mut second)].concat(), ["hello"]);
    assert!(waiting(&mut elsewhere).is_empty());
}

#[tokio::test]
async fn the_members_of_a_group_take_turns() {
    let bus = LocalBus::new();
    let mut inboxes = Vec::new();
    for _ in 0..3 {
        inboxes.push(bus.listen(TOPIC, one_of("team")).await.unwrap());
    }
    for number in 0..9 {
        publish(&bus, &number.to_string()).await.unwrap();
    }
    let got: BTreeSet<_> = inboxes.iter_mut().map(waiting).collect();
    let turns = [["0", "3", "6"], ["1", "4", "7"], ["2", "5", "8"]];
    assert_eq!(got, turns.iter().map(|turn| turn.map(str::to_owned).to_vec()).collect());
}

#[tokio::test]
async fn a_member_with_a_full_inbox_is_skipped() {
    let bus = LocalBus::with_inbox_capacity(1);
    let mut slow = bus.listen(TOPIC, one_of("team")).await.unwrap();
    let mut fast = bus.listen(TOPIC, one_of("team")).await.unwrap();
    publish(&bus, "1").await.unwrap();
    publish(&bus, "2").await.unwrap();
    let taken = waiting(&mut fast);
    publish(&bus, "3").await.unwrap();
    publish(&bus, "4").await.unwrap_err();
    assert_eq!(waiting(&mut fast), ["3"]);
    assert_eq!([taken, waiting(&mut slow)].concat().len(), 2);
    assert_eq!(bus.dead_letters(), 1);
}

#[tokio::test]
async fn a_message_without_a_listener_is_a_dead_letter() {
    let bus = LocalBus::with_inbox_capacity(2);
    let no_listener = BusError::NoListener(TOPIC.to_owned());
    assert_eq!(publish(&bus, "1").await, Err(no_listener.clone()));
    assert_eq!(bus.request(TOPIC, message("2"), Duration::from_secs(1)).await, Err(no_listener));
    assert_eq!(bus.dead_letters(), 2);
}

#[tokio::test]
async fn a_full_inbox_refuses_messages_and_keeps_the_old_ones() {
    let bus = LocalBus::with_inbox_capacity(2);
    let mut inbox = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    publish(&bus, "1").await.unwrap();
    publish(&bus, "2").await.unwrap();
    let full = BusError::InboxFull(TOPIC.to_owned());
    assert_eq!(publish(&bus, "3").await, Err(full.clone()));
    assert_eq!(bus.request(TOPIC, message("4"), Duration::from_secs(1)).await, Err(full));
    assert_eq!(bus.dead_letters(), 2);
    assert_eq!(waiting(&mut inbox), ["1", "2"]);
}

#[tokio::test]
async fn a_slow_listener_does_not_delay_the_others() {
    let bus = LocalBus::with_inbox_capacity(1);
    let mut slow = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    let mut fast = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    assert_eq!(publish(&bus, "1").await, Ok(2));
    assert_eq!(waiting(&mut fast), ["1"]);
    assert_eq!(publish(&bus, "2").await, Ok(1));
    assert_eq!(waiting(&mut fast), ["2"]);
    assert_eq!(waiting(&mut slow), ["1"]);
    assert_eq!(bus.dead_letters(), 1);
}

#[tokio::test]
async fn one_listener_answers_a_request_and_listeners_take_turns() {
    let bus = LocalBus::new();
    let mut inboxes =
        [bus.listen(TOPIC, Subscription::Broadcast).await.unwrap(), bus.listen(TOPIC, one_of("team")).await.unwrap()];
    let mut answered_by = Vec::new();
    for _ in 0..4 {
        let mut request = bus.request(TOPIC, message("who?"), Duration::from_secs(1));
        assert!(request.as_mut().now_or_never().is_none());
        let next = |inbox: &mut Inbox| inbox.next().now_or_never().flatten();
        let got: Vec<_> = inboxes.iter_mut().map(next).collect();
        for (index, delivery) in got.into_iter().enumerate() {
            if let Some(delivery) = delivery {
                delivery.reply(message("me"));
                answered_by.push(index);
            }
        }
        assert_eq!(request.await.unwrap().body, "me");
    }
    assert_eq!(answered_by.len(), 4);
    assert_eq!(answered_by.iter().filter(|index| **index == 0).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_reply_times_out() {
    let bus = LocalBus::new();
    let mut inbox = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    let within = Duration::from_secs(90);
    let began = Instant::now();
    let answer = bus.request(TOPIC, message("hello?"), within).await;
    assert_eq!(answer, Err(BusError::NoAnswer { topic: TOPIC.to_owned(), within }));
    assert_eq!(began.elapsed(), within);
    let late = inbox.next().await.unwrap();
    late.reply(message("too late"));
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_delivery_is_dropped_fails_at_once() {
    let bus = LocalBus::new();
    let mut inbox = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    let began = Instant::now();
    let request = bus.request(TOPIC, message("hello?"), Duration::from_secs(90));
    let (answer, ()) = tokio::join!(request, async { drop(inbox.next().await) });
    assert!(matches!(answer, Err(BusError::NoAnswer { .. })), "{answer:?}");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_dropped_inbox_is_unsubscribed() {
    let bus = LocalBus::new();
    for _ in 0..3 {
        let one = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
        let _two = bus.listen(TOPIC, one_of("team")).await.unwrap();
        let other = bus.listen(TOPIC, one_of("team")).await.unwrap();
        drop(one);
        drop(other);
        assert_eq!(listeners(&bus), 1);
        assert_eq!(publish(&bus, "still here").await, Ok(1));
    }
    assert!(bus.topics.lock().is_empty());
    assert!(matches!(publish(&bus, "gone").await, Err(BusError::NoListener(_))));
}

#[tokio::test]
async fn an_inbox_ends_after_the_last_message_of_a_dropped_bus() {
    let bus = LocalBus::new();
    let mut inbox = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    publish(&bus, "last").await.unwrap();
    drop(bus);
    assert_eq!(inbox.next().await.unwrap().envelope, message("last"));
    assert!(inbox.next().await.is_none());
}
