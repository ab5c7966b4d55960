//! From a request to a run: whoever asks may tighten the limits, never loosen them.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use brigade_core::{Agent, Budget, Cap, Money, Observer, Run, Scope, Settings, Task};

use super::{ApiError, Site, access::Caller, ids::Ids};
use crate::{
    agents::team::Served,
    config::{self, CallerInstructions},
    runs::event_log::EventLog,
    runs::manager::{Job, NotStarted, Record},
};

/// A run that somebody asks for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) served: Arc<Served>,
    pub(crate) task: Task,
    /// Instructions of the caller; they follow the agent's own.
    pub(crate) instructions: String,
    pub(crate) settings: Settings,
    pub(crate) limits: Tighter,
    /// Who watches besides.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Whether answers are told piece by piece.
    pub(crate) deltas: bool,
    /// Whether the client cannot take back what it was told of an answer.
    pub(crate) append_only: bool,
}

/// Limits that a caller sets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tighter {
    pub(crate) usd: Option<Money>,
    pub(crate) tokens: Option<u64>,
    pub(crate) turns: Option<u64>,
    pub(crate) wall: Option<Duration>,
}

/// Longer names are no names.
const LONGEST_USER: usize = 256;

/// When it is worth asking again after being refused for too many runs: some of them take seconds.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// By then a load balancer has noticed, or another process listens here.
const DRAINING_PAUSE: Duration = Duration::from_secs(5);

impl Ask {
    /// Starts the run.
    pub(crate) fn start(self, site: &Site, caller: &Caller, ids: Ids) -> Result<Arc<Record>, ApiError> {
        self.start_logged(site, caller, (ids, None, None))
    }

    /// Starts the run, and remembers its session and its events.
    pub(crate) fn start_logged(
        self,
        site: &Site,
        caller: &Caller,
        (ids, session, log): (Ids, Option<&str>, Option<Arc<EventLog>>),
    ) -> Result<Arc<Record>, ApiError> {
        caller.require(config::Scope::Run)?;
        let agent = self.agent()?;
        let agent = match &site.store {
            Some(store) => agent.memory(store.memory()),
            None => agent,
        };
        let run = Run::builder()
            .scope(scope(caller, self.settings.user.as_deref())?)
            .id(ids.run)
            .trace(ids.trace)
            .account(caller.account.clone())
            .budget(self.limits.over(&self.served.budget))
            .deltas(self.deltas)
            .append_only(self.append_only);
        let session = session.map(Arc::from);
        let kept = site.store.as_ref().map(|store| store.observer(&caller.name, session.as_ref()));
        let others = site.spans.observer(ids.caller).into_iter().chain(kept).chain(self.observer);
        let watching = site.observers.iter().cloned().chain(others);
        let run = watching.fold(run, brigade_core::RunBuilder::observer);
        let (owner, store) = (Arc::clone(&caller.name), site.store.clone());
        let job = Job { run: run.build(), agent, task: self.task, owner, session, log, store };
        site.runs.start(job).map_err(ApiError::from)
    }

    fn agent(&self) -> Result<Agent, ApiError> {
        let agent = self.served.agent.clone().settings(self.settings.clone());
        if self.instructions.is_empty() {
            return Ok(agent);
        }
        if self.served.caller_instructions == CallerInstructions::Refuse {
            let message = "this agent takes no instructions from clients; send user and assistant messages only";
            return Err(ApiError::unsupported("messages", message));
        }
        let own = &self.served.instructions;
        let gap = if own.is_empty() { "" } else { "\n\n" };
        Ok(agent.instructions(format!("{own}{gap}{}", self.instructions)))
    }
}

/// Whose notes the run may read and write. Keys keep theirs apart, and so do those who ask through one key, if it names
/// them.
fn scope(caller: &Caller, user: Option<&str>) -> Result<Scope, ApiError> {
    let scope = Scope::default().tenant(Arc::clone(&caller.name));
    match user {
        None | Some("") => Ok(scope),
        Some(user) if user.len() > LONGEST_USER => {
            Err(ApiError::field("user", "a user's name has 256 bytes at the most"))
        }
        Some(user) => Ok(scope.user(user)),
    }
}

impl Tighter {
    /// The configured budget with these limits, where they are tighter.
    fn over(self, own: &Budget) -> Budget {
        let mut budget = own.clone();
        budget.usd = least(own.usd, self.usd);
        budget.tokens = least(own.tokens, self.tokens);
        budget.turns = least(own.turns, self.turns);
        budget.wall = own.wall.into_iter().chain(self.wall).min();
        budget
    }
}

/// A limit that is only warned of does not weaken one that the caller wants kept.
fn least<T: Ord + Copy>(own: Option<Cap<T>>, asked: Option<T>) -> Option<Cap<T>> {
    match (own, asked) {
        (own, None) => own,
        (Some(own), Some(asked)) if !own.soft => Some(Cap::hard(own.limit.min(asked))),
        (_, Some(asked)) => Some(Cap::hard(asked)),
    }
}

impl From<NotStarted> for ApiError {
    fn from(why: NotStarted) -> Self {
        match why {
            NotStarted::Full(most) => {
                let message = format!("{most} runs go on already, which is as many as may; try again soon");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_runs", message).retry_after(FULL_PAUSE)
            }
            NotStarted::Draining => {
                let message = "this server is stopping; ask another one";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message).retry_after(DRAINING_PAUSE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_can_only_tighten() {
        let own = Budget::default().usd("0.50").unwrap().wall(Duration::from_mins(1));
        let looser = Tighter { usd: "9".parse().ok(), wall: Some(Duration::from_secs(90)), ..Tighter::default() };
        assert_eq!(looser.over(&own), own);
        let tighter = Tighter { usd: "0.10".parse().ok(), turns: Some(2), ..Tighter::default() }.over(&own);
        assert_eq!(tighter, Budget::default().usd("0.10").unwrap().turns(2).wall(Duration::from_mins(1)));
    }
}
