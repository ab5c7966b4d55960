//! Responses that clients may read and continue, in the store or in the memory of this process.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use brigade_core::{Memory, MemoryError, Message, RawJson, RunId};
use brigade_openai::ClientCalls;
use brigade_store::{SqliteResponses, StoreError, StoredResponse};
use parking_lot::Mutex;

/// Responses that clients may read and continue.
#[derive(Debug)]
pub(crate) enum Responses {
    /// Without a store, the newest ones.
    Local(Mutex<LocalResponses>),
    Stored(SqliteResponses),
}

/// The newest responses, oldest first.
#[derive(Debug, Default)]
pub(crate) struct LocalResponses {
    kept: VecDeque<LocalResponse>,
    bytes: usize,
}

#[derive(Debug)]
struct LocalResponse {
    stored: StoredResponse,
    messages: Vec<Message>,
}

/// The conversation of one response: what it continues, and what its run adds.
#[derive(Debug)]
pub(crate) struct ResponseMemory {
    pub(crate) responses: Arc<Responses>,
    pub(crate) run: RunId,
    pub(crate) account: Arc<str>,
    /// The response that it continues.
    pub(crate) previous: Option<RunId>,
    /// The messages of the request before its question.
    pub(crate) prior: Vec<Message>,
    /// Whether the response is kept.
    pub(crate) is_kept: bool,
    pub(crate) client_calls: Option<Arc<ClientCalls>>,
}

/// As many as runs are kept by default.
const MAX_RESPONSES: usize = 1_000;

/// A tenth of a small machine, as for runs.
const MAX_BYTES: usize = 128 << 20;

/// 200,000 tokens of four bytes, as for sessions.
const WINDOW_BYTES: usize = 800_000;

impl Responses {
    pub(crate) fn new(store: Option<SqliteResponses>) -> Self {
        store.map_or_else(|| Self::Local(Mutex::default()), Self::Stored)
    }

    /// Keeps a response whose run is about to start.
    pub(crate) async fn insert(&self, new: StoredResponse) -> Result<(), StoreError> {
        match self {
            Self::Stored(stored) => stored.insert(new).await,
            Self::Local(local) => {
                local.lock().insert(new);
                Ok(())
            }
        }
    }

    /// Keeps another state of a response.
    pub(crate) async fn update(&self, run: RunId, response: RawJson) -> Result<(), StoreError> {
        match self {
            Self::Stored(stored) => stored.update(run, response).await,
            Self::Local(local) => {
                local.lock().change(run, |kept| kept.stored.response = response);
                Ok(())
            }
        }
    }

    async fn add_messages(&self, run: RunId, messages: &[Message]) -> Result<(), StoreError> {
        match self {
            Self::Stored(stored) => stored.add_messages(run, messages).await,
            Self::Local(local) => {
                local.lock().change(run, |kept| kept.messages = messages.to_vec());
                Ok(())
            }
        }
    }

    /// A response of this account, or of any if it is absent.
    pub(crate) async fn find(&self, run: RunId, account: Option<&str>) -> Result<Option<StoredResponse>, StoreError> {
        match self {
            Self::Stored(stored) => stored.find(run, account).await,
            Self::Local(local) => Ok(local.lock().find(run, account).map(|kept| kept.stored.clone())),
        }
    }

    async fn conversation(&self, run: RunId, account: &str) -> Result<Vec<Message>, StoreError> {
        match self {
            Self::Stored(stored) => stored.conversation(run, Some(account), WINDOW_BYTES).await,
            Self::Local(local) => Ok(local.lock().conversation(run, account)),
        }
    }

    /// Deletes a response. Returns false if this account has none with this id.
    pub(crate) async fn delete(&self, run: RunId, account: Option<&str>) -> Result<bool, StoreError> {
        match self {
            Self::Stored(stored) => stored.delete(run, account).await,
            Self::Local(local) => Ok(local.lock().delete(run, account)),
        }
    }
}

impl LocalResponses {
    fn insert(&mut self, stored: StoredResponse) {
        let new = LocalResponse { stored, messages: Vec::new() };
        self.bytes += new.bytes();
        self.kept.push_back(new);
        while (self.kept.len() > MAX_RESPONSES || self.bytes > MAX_BYTES) && self.kept.len() > 1 {
            let oldest = self.kept.pop_front();
            self.bytes -= oldest.map_or(0, |oldest| oldest.bytes());
        }
    }

    fn change(&mut self, run: RunId, change: impl FnOnce(&mut LocalResponse)) {
        if let Some(kept) = self.kept.iter_mut().rev().find(|kept| kept.stored.run == run) {
            let before = kept.bytes();
            change(kept);
            self.bytes = self.bytes - before + kept.bytes();
        }
    }

    fn find(&self, run: RunId, account: Option<&str>) -> Option<&LocalResponse> {
        let is_wanted = |kept: &&LocalResponse| {
            kept.stored.run == run && account.is_none_or(|account| *kept.stored.account == *account)
        };
        self.kept.iter().rev().find(is_wanted)
    }

    fn conversation(&self, run: RunId, account: &str) -> Vec<Message> {
        let (mut parts, mut next, mut size) = (Vec::new(), Some(run), 0);
        while let Some(kept) = next.filter(|_| size < WINDOW_BYTES).and_then(|run| self.find(run, Some(account))) {
            size += kept.messages.iter().map(Message::size_bytes).sum::<usize>();
            parts.push(&kept.messages);
            next = kept.stored.previous;
        }
        parts.into_iter().rev().flatten().cloned().collect()
    }

    fn delete(&mut self, run: RunId, account: Option<&str>) -> bool {
        if self.find(run, account).is_none() {
            return false;
        }
        self.kept.retain(|kept| kept.stored.run != run);
        self.bytes = self.kept.iter().map(LocalResponse::bytes).sum();
        true
    }
}

impl LocalResponse {
    fn bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::size_bytes).sum();
        self.stored.request.get().len() + self.stored.response.get().len() + messages
    }
}

#[async_trait]
impl Memory for ResponseMemory {
    async fn load(&self, _session: &str) -> Result<Vec<Message>, MemoryError> {
        let mut messages = match self.previous {
            Some(previous) => self.responses.conversation(previous, &self.account).await?,
            None => Vec::new(),
        };
        messages.extend(self.prior.iter().cloned());
        Ok(messages)
    }

    async fn append(&self, _session: &str, messages: &[Message]) -> Result<(), MemoryError> {
        if self.is_kept {
            let new = self.client_calls.as_ref().map(|client| client.without_results(messages));
            let all = [&self.prior, new.as_deref().unwrap_or(messages)].concat();
            self.responses.add_messages(self.run, &all).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(account: &str, previous: Option<RunId>) -> StoredResponse {
        let json = || RawJson::empty_object();
        StoredResponse::new(RunId::new(), account, json(), json()).previous(previous)
    }

    #[tokio::test]
    async fn without_a_store_the_newest_responses_are_kept_with_their_conversations() {
        let responses = Arc::new(Responses::new(None));
        let first = stored("ada", None);
        let second = stored("ada", Some(first.run));
        let memory = |of: &StoredResponse, prior| ResponseMemory {
            responses: Arc::clone(&responses),
            run: of.run,
            account: Arc::clone(&of.account),
            previous: of.previous,
            prior,
            is_kept: true,
            client_calls: None,
        };
        responses.insert(first.clone()).await.unwrap();
        responses.insert(second.clone()).await.unwrap();
        let answer = [Message::user("two"), Message::assistant("Yes.")];
        memory(&first, vec![Message::user("one")]).append("", &answer).await.unwrap();
        let of_second = memory(&second, vec![Message::user("three")]).load("").await.unwrap();
        let texts: Vec<_> = of_second.iter().map(|message| message.text().into_owned()).collect();
        assert_eq!(texts, ["one", "two", "Yes.", "three"]);
        assert!(responses.find(first.run, Some("bob")).await.unwrap().is_none());
        assert!(!responses.delete(first.run, Some("bob")).await.unwrap());
        for _ in 0..MAX_RESPONSES {
            responses.insert(stored("bob", None)).await.unwrap();
        }
        assert!(responses.find(second.run, None).await.unwrap().is_none(), "older ones are forgotten");
    }
}
