//! A client that sends each request until it is acknowledged, and follows its run to the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::world::World;
use crate::support::client;

pub(super) struct Client {
    world: Arc<World>,
    number: usize,
    random: StdRng,
    http: reqwest::Client,
}

/// A run that the server has acknowledged, after its end.
#[derive(Debug)]
pub(super) struct EndedRun {
    pub(super) key: String,
    pub(super) id: String,
    pub(super) trace: String,
    /// How many of its payments may have been made, and were not repeated.
    pub(super) decisions: usize,
    /// How often it was set aside.
    pub(super) set_aside: usize,
    /// The ids of the events that were received, if the client followed them.
    pub(super) events: Option<Vec<u64>>,
}

/// How often a client asks again.
const PAUSE: Duration = Duration::from_millis(10);

impl Client {
    pub(super) fn new(world: Arc<World>, number: usize, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number as u64));
        Self { world, number, random, http: client() }
    }

    /// Starts runs until the kills are over, and returns them when they have ended.
    pub(super) async fn drive(mut self, is_over: Arc<AtomicBool>) -> Vec<EndedRun> {
        let mut ended = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let key = format!("client-{}-{}", self.number, ended.len());
            ended.push(self.run(key).await);
        }
        ended
    }

    async fn run(&mut self, key: String) -> EndedRun {
        let is_background = self.random.random();
        let run = self.acknowledged(&key, is_background).await;
        let text = |name: &str| run[name].as_str().unwrap_or_else(|| panic!("{key}: {run}")).to_owned();
        let events = self.random.random::<bool>().then(Vec::new);
        let ended = EndedRun { id: text("id"), trace: text("trace_id"), key, decisions: 0, set_aside: 0, events };
        let ended = self.until_end(ended).await;
        let again = self.acknowledged(&ended.key, is_background).await;
        assert_eq!(again["id"], *ended.id, "the key starts no other run: {again}");
        ended
    }

    /// Sends the request until the server accepts it.
    async fn acknowledged(&self, key: &str, is_background: bool) -> Value {
        let body = json!({ "agent": "desk", "task": format!("Do it for {key}."), "background": is_background });
        loop {
            let request = |url: String| self.http.post(format!("{url}/v1/runs")).header("idempotency-key", key);
            match self.send(|url| with_json(request(url), &body)).await {
                Some((200 | 202, run)) => return run,
                // It has just started, or too many clients ask.
                Some((429 | 503, _)) | None => tokio::time::sleep(PAUSE).await,
                Some((status, answer)) => panic!("{key}: {status} {answer}"),
            }
        }
    }

    async fn until_end(&self, mut ended: EndedRun) -> EndedRun {
        let path = format!("/v1/runs/{}", ended.id);
        loop {
            let has_all = match &mut ended.events {
                Some(events) => self.follow(&path, events).await,
                None => true,
            };
            let Some((status, run)) = self.send(|url| self.http.get(format!("{url}{path}"))).await else { continue };
            assert_eq!(status, 200, "an acknowledged run is lost: {} {run}", ended.id);
            match run["status"].as_str().unwrap() {
                "ended" if has_all => return ended,
                // The server was killed before it had sent the last events.
                "ended" => {}
                "waiting" => ended.decisions += self.decide(&path, &run["waiting"]).await,
                "set_aside" => {
                    let resume = |url: String| self.http.post(format!("{url}{path}/resume"));
                    let resumed = self.send(|url| with_json(resume(url), &json!({}))).await;
                    ended.set_aside += usize::from(resumed.is_some_and(|(status, _)| status == 202));
                }
                "ready" | "running" => tokio::time::sleep(PAUSE).await,
                _ => panic!("{run}"),
            }
        }
    }

    /// Decides that payments which may have been made are not repeated. Returns how many decisions were or may have been taken.
    async fn decide(&self, path: &str, waiting: &Value) -> usize {
        assert_eq!(waiting["reason"], "needs_decision", "{waiting}");
        let mut decisions = 0;
        for step in waiting["steps"].as_array().unwrap() {
            let body = json!({ "step": step, "decision": "answer", "answer": "It is not known." });
            let decide = |url: String| self.http.post(format!("{url}{path}/decisions"));
            let decided = self.send(|url| with_json(decide(url), &body)).await;
            decisions += usize::from(decided.is_none_or(|(status, _)| status == 202));
        }
        decisions
    }

    /// Reads events after the last one until the stream ends or breaks. Returns whether it has ended.
    async fn follow(&self, path: &str, events: &mut Vec<u64>) -> bool {
        let url = self.url().await;
        let last = events.last().copied().unwrap_or_default().to_string();
        let request = self.http.get(format!("{url}{path}/events")).header("last-event-id", last);
        let Ok(mut response) = request.send().await else { return false };
        let mut text = String::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        let is_whole = text.ends_with("\n\n");
        let mut frames: Vec<&str> = text.split("\n\n").filter(|frame| frame.contains("id:")).collect();
        if !is_whole {
            frames.pop();
        }
        // The event `ended` shows the run; it may go on nevertheless.
        for frame in frames.iter().filter(|frame| !frame.contains("event:")) {
            let id = frame.lines().find_map(|line| line.strip_prefix("id:")).unwrap();
            let id: u64 = id.trim().parse().unwrap();
            assert!(events.last().is_none_or(|last| *last < id), "an event came twice: {id} after {events:?}");
            events.push(id);
        }
        frames.iter().any(|frame| frame.contains("event:"))
    }

    /// Sends a request to the server that runs now. Returns nothing if it was killed.
    async fn send(&self, request: impl Fn(String) -> reqwest::RequestBuilder) -> Option<(u16, Value)> {
        let response = request(self.url().await).send().await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    async fn url(&self) -> String {
        let mut url = self.world.url.subscribe();
        url.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }
}

fn with_json(request: reqwest::RequestBuilder, body: &Value) -> reqwest::RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}
