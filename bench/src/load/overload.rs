//! What the server does with more requests than it may run at once: it lets some wait, for a while and in turns between
//! the keys, before it refuses others.

use std::fmt::{self, Display, Formatter};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::json;

use super::clients::{Answers, Clients};
use super::load::verdict;
use super::server::{Server, Setup};
use crate::process::provider::{self, Provider};
use crate::statistics::quantile;

/// The server has this many places for runs, and each run takes this long: 400 runs in a second.
pub(super) const PLACES: usize = 8;
const RUN_MS: u64 = 20;

/// The requests of two keys in a second. The first alone asks for a quarter more than there is.
const GREEDY: Demand = Demand { key: "brg_many", per_second: 500, clients: 100 };
const MODEST: Demand = Demand { key: "brg_few", per_second: 25, clients: 10 };

/// The default of `server.longest_wait`, and the time of a run.
const LONGEST_MS: f64 = 1_020.0;

struct Demand {
    key: &'static str,
    per_second: u32,
    clients: usize,
}

/// What each key got.
#[derive(Debug, Serialize)]
pub(super) struct Overloaded {
    greedy: Share,
    modest: Share,
}

#[derive(Debug, Serialize)]
struct Share {
    asked_per_second: u32,
    answered_per_second: f64,
    refused_percent: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
}

/// Both keys send requests at the same time.
pub(super) fn measure(time: Duration) -> Result<Overloaded> {
    let provider = Provider::start(provider::Options::slow(RUN_MS))?;
    let server = Server::start(provider.base_url(), Setup::Overloaded)?;
    let (mut greedy, mut modest) = (GREEDY.connect(&server)?, MODEST.connect(&server)?);
    let (greedy, modest) = thread::scope(|scope| {
        let greedy = scope.spawn(|| greedy.paced(GREEDY.per_second, time));
        let modest = modest.paced(MODEST.per_second, time);
        (greedy.join(), modest)
    });
    let Ok(greedy) = greedy else { bail!("the clients of the first key panicked") };
    Ok(Overloaded { greedy: GREEDY.share(&greedy?), modest: MODEST.share(&modest?) })
}

impl Demand {
    fn connect(&self, server: &Server) -> Result<Clients> {
        let message = json!({ "role": "user", "content": "How was the spring?" });
        let body = json!({ "model": "oracle", "messages": [message] });
        Clients::connect(server.url(), self.key, &body, self.clients)
    }

    fn share(&self, answers: &Answers) -> Share {
        Share {
            asked_per_second: self.per_second,
            answered_per_second: answers.count() / answers.elapsed.as_secs_f64(),
            refused_percent: answers.refused_percent(),
            p50_ms: quantile(&answers.millis, 0.5),
            p99_ms: quantile(&answers.millis, 0.99),
            errors: answers.errors,
        }
    }
}

impl Display for Overloaded {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PLACES} places for runs of {RUN_MS} ms, two keys")?;
        for (name, share) in [("asks for too much", &self.greedy), ("asks for little", &self.modest)] {
            let Share { asked_per_second, answered_per_second, refused_percent, p50_ms, p99_ms, errors } = share;
            writeln!(
                f,
                "  {name:<20}{asked_per_second:>5}/s, answered {answered_per_second:.0}/s, refused {refused_percent:.1} %, \
                 p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, errors {errors}"
            )?;
        }
        let longest = self.greedy.p99_ms.max(self.modest.p99_ms);
        writeln!(f, "  p99 of both keys: {longest:.0} ms   {}", verdict(longest, LONGEST_MS, "ms"))?;
        let refused = self.modest.refused_percent;
        writeln!(f, "  refused to the key that asks for little: {refused:.1} %   {}", verdict(refused, 1.0, "%"))
    }
}
