//! Limits the work of the process and of each owner. Work beyond a limit waits briefly before it is refused.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

/// Gives out places for runs, or for other work that takes a while.
///
/// A place that becomes free goes to the owner that has the fewest running runs, and among its runs to the one that has
/// waited longest. So an owner with many requests does not delay the others.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use brigade_edge::{Admission, AdmissionError};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), AdmissionError> {
/// let admission = Arc::new(Admission::new(1));
/// let place = admission.admit(&"ada".into(), None, Duration::from_secs(1)).await?;
/// let refused = admission.try_admit(&"bob".into(), None).unwrap_err();
/// assert_eq!(refused, AdmissionError::Full { limit: 1 });
/// drop(place);
/// assert!(admission.try_admit(&"bob".into(), None).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
    max_running: usize,
    /// Notified when the last run ended.
    all_ended: Notify,
}

/// No place was given out. Exhaustive, because services translate it into a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// All places are taken.
    #[error("as many runs are running as the limit allows ({limit}); try again soon")]
    Full {
        /// The number of places.
        limit: usize,
    },
    /// All places that this owner may have are taken.
    #[error("as many runs of this key are running as its limit allows ({limit}); try again soon")]
    FullForOwner {
        /// The number of places that it may have.
        limit: usize,
    },
    /// No more places are given out.
    #[error("this server is shutting down; send the request to another one")]
    Closed,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// The number of running runs of each owner.
    by_owner: HashMap<Arc<str>, usize>,
    /// The oldest first. No place is free for any of them.
    waiting: VecDeque<Waiter>,
    is_closed: bool,
}

#[derive(Debug)]
struct Waiter {
    owner: Arc<str>,
    limit: Option<usize>,
    /// Dropped without a place if the run is refused.
    place: oneshot::Sender<Place>,
}

/// A place for a run, within the limits of the process and of its owner, until it is dropped.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    owner: Arc<str>,
}

impl Admission {
    /// So many places in all.
    pub fn new(max_running: usize) -> Self {
        Self { state: Mutex::default(), max_running, all_ended: Notify::new() }
    }

    /// A place for a run of `owner`, if one is free.
    pub fn try_admit(self: &Arc<Self>, owner: &Arc<str>, limit: Option<usize>) -> Result<Place, AdmissionError> {
        self.take(&mut self.state.lock(), owner, limit)
    }

    /// A place for a run of `owner`. Waits up to `longest_wait` for it. At most as many runs wait as may run, so that each
    /// is about the length of one run away from its start.
    pub async fn admit(
        self: &Arc<Self>,
        owner: &Arc<str>,
        limit: Option<usize>,
        longest_wait: Duration,
    ) -> Result<Place, AdmissionError> {
        let (refused, place) = {
            let mut state = self.state.lock();
            let refused = match self.take(&mut state, owner, limit) {
                Err(error) if error != AdmissionError::Closed && !longest_wait.is_zero() => error,
                result => return result,
            };
            if !state.make_room(owner, self.max_running) {
                return Err(refused);
            }
            let (sender, place) = oneshot::channel();
            state.waiting.push_back(Waiter { owner: Arc::clone(owner), limit, place: sender });
            (refused, place)
        };
        match timeout(longest_wait, place).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) if self.is_closed() => Err(AdmissionError::Closed),
            Ok(Err(_)) | Err(_) => Err(refused),
        }
    }

    /// Refuses new runs, and the waiting ones.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.waiting.clear();
    }

    /// Whether no more places are given out.
    pub fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// How many more runs may start now.
    pub fn room(&self) -> usize {
        let state = self.state.lock();
        if state.is_closed { 0 } else { self.max_running.saturating_sub(state.running) }
    }

    /// The number of places.
    pub fn max_running(&self) -> usize {
        self.max_running
    }

    /// The number of runs that wait for a place.
    pub fn waiting(&self) -> usize {
        let mut state = self.state.lock();
        state.forget_abandoned();
        state.waiting.len()
    }

    /// Waits until no run has a place.
    pub async fn all_ended(&self) {
        loop {
            let ended = self.all_ended.notified();
            if self.state.lock().running == 0 {
                return;
            }
            ended.await;
        }
    }

    fn take(
        self: &Arc<Self>,
        state: &mut State,
        owner: &Arc<str>,
        limit: Option<usize>,
    ) -> Result<Place, AdmissionError> {
        if let Some(refused) = state.refusal(owner, limit, self.max_running) {
            return Err(refused);
        }
        state.count(owner);
        Ok(Place { admission: Arc::clone(self), owner: Arc::clone(owner) })
    }
}

impl State {
    /// Why a run of `owner` cannot start now.
    fn refusal(&self, owner: &Arc<str>, limit: Option<usize>, max_running: usize) -> Option<AdmissionError> {
        if self.is_closed {
            return Some(AdmissionError::Closed);
        }
        if self.running >= max_running {
            return Some(AdmissionError::Full { limit: max_running });
        }
        let limit = limit.filter(|limit| self.running_of(owner) >= *limit)?;
        Some(AdmissionError::FullForOwner { limit })
    }

    fn running_of(&self, owner: &Arc<str>) -> usize {
        self.by_owner.get(owner).copied().unwrap_or(0)
    }

    fn count(&mut self, owner: &Arc<str>) {
        self.running += 1;
        *self.by_owner.entry(Arc::clone(owner)).or_default() += 1;
    }

    fn release(&mut self, owner: &Arc<str>) {
        self.running -= 1;
        match self.by_owner.get_mut(owner) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.by_owner.remove(owner)),
        }
    }

    /// The waiting run that gets the place that just became free.
    fn next(&mut self, max_running: usize) -> Option<Waiter> {
        self.forget_abandoned();
        let waiting = self.waiting.iter().enumerate();
        let eligible = waiting.filter(|(_, run)| self.refusal(&run.owner, run.limit, max_running).is_none());
        // Of equal ones the first, which has waited longest.
        let (position, _) = eligible.min_by_key(|(_, run)| self.running_of(&run.owner))?;
        let next = self.waiting.remove(position)?;
        self.count(&next.owner);
        Some(next)
    }

    /// Whether one more run of `owner` may wait. If the queue is full, the last run of the owner that has most of it is
    /// refused in favor of an owner that has less.
    fn make_room(&mut self, owner: &Arc<str>, max_waiting: usize) -> bool {
        self.forget_abandoned();
        if self.waiting.len() < max_waiting {
            return true;
        }
        let mut counts: HashMap<&Arc<str>, usize> = HashMap::new();
        for run in &self.waiting {
            *counts.entry(&run.owner).or_default() += 1;
        }
        let own = counts.get(owner).copied().unwrap_or(0);
        let largest = counts.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > own + 1);
        let last = largest.and_then(|(owner, _)| self.waiting.iter().rposition(|run| run.owner == *owner));
        last.and_then(|last| self.waiting.remove(last)).is_some()
    }

    /// Removes runs whose clients gave up.
    fn forget_abandoned(&mut self) {
        self.waiting.retain(|run| !run.place.is_closed());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let admission = &self.admission;
        let next = {
            let mut state = admission.state.lock();
            state.release(&self.owner);
            if state.running == 0 {
                admission.all_ended.notify_waiters();
            }
            state.next(admission.max_running)
        };
        if let Some(Waiter { owner, place, .. }) = next {
            // If the client gives up at this moment, the place is dropped and goes to the next one.
            let _ = place.send(Self { admission: Arc::clone(admission), owner });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::Instant;

    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    fn admission(max_running: usize) -> Arc<Admission> {
        Arc::new(Admission::new(max_running))
    }

    async fn admit(admission: &Arc<Admission>, owner: &str, limit: Option<usize>) -> Result<Place, AdmissionError> {
        admission.admit(&owner.into(), limit, WAIT).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_waits_for_a_place_before_it_is_refused() {
        for limit in [None, Some(1)] {
            let admission = admission(if limit.is_some() { 9 } else { 1 });
            let refused = match limit {
                Some(limit) => AdmissionError::FullForOwner { limit },
                None => AdmissionError::Full { limit: 1 },
            };
            let slot = admit(&admission, "a", limit).await.unwrap();
            let started = Instant::now();
            assert_eq!(admit(&admission, "a", limit).await.unwrap_err(), refused);
            assert_eq!(started.elapsed(), WAIT);
            assert_eq!(admission.admit(&"a".into(), limit, Duration::ZERO).await.unwrap_err(), refused);
            assert_eq!(started.elapsed(), WAIT, "no wait is configured");
            let mut waiting = Box::pin(admit(&admission, "a", limit));
            assert!(waiting.as_mut().now_or_never().is_none());
            assert_eq!(admission.waiting(), 1);
            drop(slot);
            assert!(waiting.await.is_ok() && started.elapsed() == WAIT);
            assert_eq!((admission.waiting(), admission.state.lock().by_owner.len()), (0, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_at_its_limit_does_not_block_the_others() {
        let admission = admission(9);
        let _slot = admit(&admission, "a", Some(1)).await.unwrap();
        let mut waiting = Box::pin(admit(&admission, "a", Some(1)));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(admit(&admission, "b", Some(1)).now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn free_places_go_to_the_owner_with_the_fewest_runs_and_first_to_its_oldest() {
        let admission = admission(4);
        let mut slots: Vec<_> = (0..4).map(|_| admission.try_admit(&"busy".into(), None).unwrap()).collect();
        let mut waiting: Vec<_> = ["busy", "b", "c", "b"]
            .map(|owner| Box::pin(async { admit(&admission, owner, None).await.unwrap() }))
            .into();
        assert!(waiting.iter_mut().all(|run| run.as_mut().now_or_never().is_none()));
        let mut admitted = Vec::new();
        while let Some(slot) = slots.pop() {
            drop(slot);
            let ready = waiting.iter_mut().position(|run| {
                let slot = run.as_mut().now_or_never();
                slot.map(|slot| admitted.push(slot)).is_some()
            });
            drop(waiting.remove(ready.unwrap()));
        }
        let order: Vec<_> = admitted.iter().map(|slot| &*slot.owner).collect();
        // The last two have one running run each, so the oldest is first.
        assert_eq!(order, ["b", "c", "busy", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once_and_makes_room_for_an_owner_that_has_less_of_it() {
        let admission = admission(2);
        let _slots = ["a", "a"].map(|owner| admission.try_admit(&owner.into(), None).unwrap());
        let (mut first, mut second) = (Box::pin(admit(&admission, "a", None)), Box::pin(admit(&admission, "a", None)));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert!(admit(&admission, "a", None).now_or_never().unwrap().is_err());
        let mut other = Box::pin(admit(&admission, "b", None));
        assert!(other.as_mut().now_or_never().is_none());
        assert!(second.now_or_never().unwrap().is_err(), "the last run of the owner with most of the queue");
        assert!(admit(&admission, "b", None).now_or_never().unwrap().is_err(), "each has one half now");
        assert!(first.as_mut().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_gives_up_leaves_its_place_to_the_next() {
        let admission = admission(2);
        let [slot, _other] = ["a", "a"].map(|owner| admission.try_admit(&owner.into(), None).unwrap());
        let (mut first, mut second) = (Box::pin(admit(&admission, "a", None)), Box::pin(admit(&admission, "a", None)));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(admission.waiting(), 1);
        drop(slot);
        assert!(second.await.is_ok());
        assert_eq!(admission.state.lock().running, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_refuses_waiting_runs_and_waits_for_running_ones() {
        let admission = admission(1);
        let slot = admission.try_admit(&"a".into(), None).unwrap();
        let mut waiting = Box::pin(admit(&admission, "a", None));
        assert!(waiting.as_mut().now_or_never().is_none());
        admission.close();
        assert_eq!(waiting.await.unwrap_err(), AdmissionError::Closed);
        let mut all_ended = Box::pin(admission.all_ended());
        assert!(all_ended.as_mut().now_or_never().is_none());
        drop(slot);
        all_ended.await;
        assert_eq!(admission.try_admit(&"a".into(), None).unwrap_err(), AdmissionError::Closed);
    }
}
