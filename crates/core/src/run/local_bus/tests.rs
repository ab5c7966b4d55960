use std::collections::BTreeSet;

use futures::FutureExt;
use tokio::time::Instant;

use super::*;

const TOPIC: &str = "news";

fn saying(body: &str) -> Envelope {
    Envelope::new("desk", body)
}

fn one_of(group: &str) -> Subscription {
    Subscription::Group(group.to_owned())
}

async fn publish(bus: &LocalBus, body: &str) -> Result<usize, BusError> {
    bus.publish(TOPIC, saying(body)).await
}

/// What waits in an inbox now.
fn waiting(inbox: &mut Inbox) -> Vec<String> {
    std::iter::from_fn(|| inbox.next().now_or_never().flatten()).map(|delivery| delivery.envelope.body).collect()
}

fn listeners(bus: &LocalBus) -> usize {
    unpoisoned(&bus.topics).values().flatten().map(|group| group.members.len()).sum()
}

#[tokio::test]
async fn everybody_who_listens_gets_a_message_and_a_group_gets_it_once() {
    let bus = LocalBus::new();
    let mut one = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    let mut other = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    let mut first = bus.listen(TOPIC, one_of("team")).await.unwrap();
    let mut second = bus.listen(TOPIC, one_of("team")).await.unwrap();
    let mut elsewhere = bus.listen("olds", Subscription::Broadcast).await.unwrap();
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
async fn a_member_with_a_full_inbox_is_passed_over() {
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
async fn a_message_that_nobody_gets_is_a_dead_letter() {
    let bus = LocalBus::with_inbox_capacity(2);
    let nobody = BusError::NoListener { topic: TOPIC.to_owned() };
    assert_eq!(publish(&bus, "1").await, Err(nobody.clone()));
    assert_eq!(bus.request(TOPIC, saying("2"), Duration::from_secs(1)).await, Err(nobody));
    assert_eq!(bus.dead_letters(), 2);
}

#[tokio::test]
async fn a_full_inbox_refuses_and_keeps_what_it_has() {
    let bus = LocalBus::with_inbox_capacity(2);
    let mut inbox = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    publish(&bus, "1").await.unwrap();
    publish(&bus, "2").await.unwrap();
    let full = BusError::InboxFull { topic: TOPIC.to_owned() };
    assert_eq!(publish(&bus, "3").await, Err(full.clone()));
    assert_eq!(bus.request(TOPIC, saying("4"), Duration::from_secs(1)).await, Err(full));
    assert_eq!(bus.dead_letters(), 2);
    assert_eq!(waiting(&mut inbox), ["1", "2"]);
}

#[tokio::test]
async fn one_listener_that_is_behind_costs_the_others_nothing() {
    let bus = LocalBus::with_inbox_capacity(1);
    let mut behind = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    let mut prompt = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    assert_eq!(publish(&bus, "1").await, Ok(2));
    assert_eq!(waiting(&mut prompt), ["1"]);
    assert_eq!(publish(&bus, "2").await, Ok(1));
    assert_eq!(waiting(&mut prompt), ["2"]);
    assert_eq!(waiting(&mut behind), ["1"]);
    assert_eq!(bus.dead_letters(), 1);
}

#[tokio::test]
async fn a_request_is_answered_by_one_listener_and_the_listeners_take_turns() {
    let bus = LocalBus::new();
    let mut inboxes =
        [bus.listen(TOPIC, Subscription::Broadcast).await.unwrap(), bus.listen(TOPIC, one_of("team")).await.unwrap()];
    let mut answered_by = Vec::new();
    for _ in 0..4 {
        let mut request = bus.request(TOPIC, saying("who?"), Duration::from_secs(1));
        assert!(request.as_mut().now_or_never().is_none());
        let next = |inbox: &mut Inbox| inbox.next().now_or_never().flatten();
        let got: Vec<_> = inboxes.iter_mut().map(next).collect();
        for (index, delivery) in got.into_iter().enumerate() {
            if let Some(delivery) = delivery {
                assert!(delivery.wants_reply());
                delivery.reply(saying("me"));
                answered_by.push(index);
            }
        }
        assert_eq!(request.await.unwrap().body, "me");
    }
    assert_eq!(answered_by.len(), 4);
    assert_eq!(answered_by.iter().filter(|index| **index == 0).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_ends_when_its_time_is_up() {
    let bus = LocalBus::new();
    let mut inbox = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    let within = Duration::from_secs(90);
    let began = Instant::now();
    let answer = bus.request(TOPIC, saying("hello?"), within).await;
    assert_eq!(answer, Err(BusError::NoAnswer { topic: TOPIC.to_owned(), within }));
    assert_eq!(began.elapsed(), within);
    let late = inbox.next().await.unwrap();
    late.reply(saying("too late, and no harm done"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_unanswered_fails_at_once() {
    let bus = LocalBus::new();
    let mut inbox = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    let began = Instant::now();
    let request = bus.request(TOPIC, saying("hello?"), Duration::from_secs(90));
    let (answer, ()) = tokio::join!(request, async { drop(inbox.next().await) });
    assert!(matches!(answer, Err(BusError::NoAnswer { .. })), "{answer:?}");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_dropped_inbox_leaves_nothing_behind() {
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
    assert!(unpoisoned(&bus.topics).is_empty());
    assert!(matches!(publish(&bus, "gone").await, Err(BusError::NoListener { .. })));
}

#[tokio::test]
async fn an_inbox_ends_with_its_bus_after_the_last_message() {
    let bus = LocalBus::new();
    let mut inbox = bus.listen(TOPIC, Subscription::Broadcast).await.unwrap();
    publish(&bus, "last").await.unwrap();
    drop(bus);
    assert_eq!(inbox.next().await.unwrap().envelope, saying("last"));
    assert!(inbox.next().await.is_none());
}
