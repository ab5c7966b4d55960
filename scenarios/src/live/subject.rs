//! One account under test: its models within the budget, and what was seen of its answers.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use brigade_core::Embedder as _;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Delta, Embeddings, Event, Ledger, Metered, ModelError, ModelId, Money, Observer,
    Pricing, Rates, Run, Settings,
};
use brigade_observability::PriceBook;
use tokio::sync::Notify;

use super::target::{LiveAccount, Target};

/// One account under test.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) target: &'a Target,
    pub(super) account: LiveAccount,
    pub(super) ledger: Ledger,
    prices: PriceBook,
    assumed: Option<Rates>,
    reservations: Arc<Mutex<Reservations>>,
    /// Kept for later checks, by whether they were streamed.
    answers: Mutex<Vec<(bool, Answer)>>,
}

/// A reply, and how it came.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) reply: ChatReply,
    /// Our own count of the prompt.
    pub(super) counted_input: u64,
    /// The text of the deltas.
    pub(super) streamed: String,
    pub(super) pieces: usize,
    /// The names of the deviations from the documentation.
    pub(super) quirks: BTreeSet<String>,
}

/// What the ledger set aside before each call: the most that the calls can cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reservations {
    pub(super) calls: u64,
    pub(super) cost: Money,
}

/// Sees what happens during one call.
#[derive(Debug)]
struct Watcher {
    ledger: Ledger,
    reservations: Arc<Mutex<Reservations>>,
    seen: Mutex<Seen>,
    first_piece: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    text: String,
    pieces: usize,
    quirks: BTreeSet<String>,
}

impl<'a> Subject<'a> {
    /// `prices` must have a price for the model of the target, if the ledger limits money.
    pub(super) fn new(target: &'a Target, account: LiveAccount, prices: &PriceBook, ledger: Ledger) -> Self {
        let id = ModelId::new(target.name.clone(), target.model.clone());
        let ceiling = prices.ceiling(&id, Settings::none(), 1_000);
        Self {
            target,
            account,
            ledger,
            prices: prices.clone(),
            assumed: ceiling.map(|ceiling| ceiling.rates),
            reservations: Arc::default(),
            answers: Mutex::default(),
        }
    }

    pub(super) fn reservations(&self) -> Reservations {
        *lock(&self.reservations)
    }

    /// Asks the model of the target.
    pub(super) async fn ask(&self, request: &ChatRequest, streamed: bool) -> Result<Answer, ModelError> {
        self.ask_model(&self.target.model, request, streamed).await
    }

    /// Asks any model. One without a price has that of the target's model.
    pub(super) async fn ask_model(
        &self,
        model: &str,
        request: &ChatRequest,
        streamed: bool,
    ) -> Result<Answer, ModelError> {
        let (watcher, run) = self.watch(streamed);
        let reply = self.model(model).chat(request, &run).await?;
        Ok(watcher.answer(reply, request))
    }

    /// Asks for a stream and drops the call when the first piece of text has arrived. Returns the answer if it was complete
    /// before that.
    pub(super) async fn ask_and_cancel(&self, request: &ChatRequest) -> Result<Option<Answer>, ModelError> {
        let (watcher, run) = self.watch(true);
        let model = self.model(&self.target.model);
        tokio::select! {
            biased;
            reply = model.chat(request, &run) => Ok(Some(watcher.answer(reply?, request))),
            () = watcher.first_piece.notified() => Ok(None),
        }
    }

    /// Embeds texts. `None` if the dialect has no embeddings.
    pub(super) async fn embed(&self, model: &str, texts: &[&str]) -> Option<Result<Embeddings, ModelError>> {
        let (_, run) = self.watch(false);
        let embedder = self.account.embeddings(model)?;
        Some(Metered::new(embedder, Arc::new(self.prices.clone())).embed(texts, &run).await)
    }

    /// Keeps an answer for later checks.
    pub(super) fn keep(&self, streamed: bool, answer: Answer) {
        lock(&self.answers).push((streamed, answer));
    }

    pub(super) fn kept(&self, streamed: bool) -> Option<Answer> {
        lock(&self.answers).iter().find(|(kept, _)| *kept == streamed).map(|(_, answer)| answer.clone())
    }

    fn model(&self, name: &str) -> Arc<dyn ChatModel> {
        self.account.model(name, self.target.settings(), &self.prices, self.assumed)
    }

    fn watch(&self, streamed: bool) -> (Arc<Watcher>, Run) {
        let watcher = Arc::new(Watcher {
            ledger: self.ledger.clone(),
            reservations: Arc::clone(&self.reservations),
            seen: Mutex::default(),
            first_piece: Notify::new(),
        });
        let observer = Arc::clone(&watcher) as Arc<dyn Observer>;
        (watcher, Run::builder().account(self.ledger.clone()).observer(observer).deltas(streamed).build())
    }
}

impl Watcher {
    fn answer(&self, reply: ChatReply, request: &ChatRequest) -> Answer {
        let Seen { text, pieces, quirks } = std::mem::take(&mut *lock(&self.seen));
        Answer { reply, counted_input: request.estimated_input_tokens(), streamed: text, pieces, quirks }
    }
}

impl Observer for Watcher {
    fn on_event(&self, _: &Run, event: &Event) {
        if matches!(event, Event::AttemptStarted { .. }) {
            let mut reservations = lock(&self.reservations);
            reservations.calls += 1;
            // Calls are made one after the other, so this is the reservation of this call.
            reservations.cost += self.ledger.reserved();
        } else if let Event::Delta(Delta::Text(text)) = event {
            let mut seen = lock(&self.seen);
            seen.text.push_str(text);
            seen.pieces += 1;
            self.first_piece.notify_one();
        } else if let Event::WireQuirk { kind, .. } = event
            // Concerns our own request.
            && !kind.starts_with("left_out_")
        {
            lock(&self.seen).quirks.insert(kind.to_string());
        }
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
