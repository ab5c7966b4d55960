//! Clients and models, the same for every protocol.

use std::{fmt, sync::Arc};

use ::http::{HeaderMap, HeaderValue, StatusCode};
use async_trait::async_trait;
use brigade_core::{
    ChatModel, ChatReply, ChatRequest, Effort, ModelError, ModelErrorKind, ModelId, Reasoning, Run, Settings,
};
use bytes::Bytes;
use reqwest::{Request, Url};

use crate::{
    account::Account,
    head::Head,
    http,
    intake::Intake,
    protocol::{Protocol, Question, Sink},
};

pub use crate::account::{AccountError, ClientBuilder};

/// A provider account and the protocol that it speaks. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client<P> {
    pub(crate) account: Account,
    pub(crate) protocol: P,
}

/// One model of a provider account, with the settings that its requests have unless they say otherwise.
#[derive(Clone)]
pub struct Model<P> {
    client: Client<P>,
    id: ModelId,
    url: Url,
    settings: Settings,
}

/// The provider answered a request that costs nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reachable {
    /// The provider's id of the exchange.
    pub request_id: Option<String>,
}

impl<P: Protocol> Client<P> {
    /// The model that the provider calls `name`.
    pub fn model(&self, name: &str) -> Model<P> {
        Model {
            id: ModelId::new(Arc::clone(self.account.name()), name),
            url: self.account.url(&self.protocol.path(name)),
            settings: Settings { answer_tokens: self.protocol.answer_tokens(name), ..Settings::default() },
            client: self.clone(),
        }
    }

    /// The account's configured name.
    pub fn name(&self) -> &Arc<str> {
        self.account.name()
    }

    /// Asks for the list of models, which costs nothing, to see whether the provider can be reached and accepts the
    /// credentials. Like every call it waits as long as the caller lets it.
    pub async fn probe(&self) -> Result<Reachable, ModelError> {
        let request_id = self.account.get(&self.protocol.probe_path()).await?;
        Ok(Reachable { request_id })
    }
}

impl<P: Protocol> Model<P> {
    /// Replaces the default settings.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        let answer_tokens = settings.answer_tokens.or(self.settings.answer_tokens);
        Self { settings: Settings { answer_tokens, ..settings }, ..self }
    }

    /// The most tokens of an answer, reasoning included.
    #[must_use]
    pub fn max_output_tokens(mut self, tokens: u32) -> Self {
        self.settings.max_output_tokens = Some(tokens);
        self
    }

    /// Randomness, from 0 to 2 (Anthropic: to 1).
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.settings.temperature = Some(temperature);
        self
    }

    /// How much to reason before answering.
    #[must_use]
    pub fn reasoning(mut self, reasoning: Reasoning) -> Self {
        self.settings.reasoning = Some(reasoning);
        self
    }

    /// Reasons for at most so many tokens before answering.
    #[must_use]
    pub fn thinking(self, tokens: u32) -> Self {
        self.reasoning(Reasoning::Budget(tokens))
    }

    /// Reasons to this degree before answering.
    #[must_use]
    pub fn effort(self, effort: Effort) -> Self {
        self.reasoning(Reasoning::Effort(effort))
    }

    /// The body that [`ChatModel::chat`] would send; for batch files, and to see what a prompt looks like.
    pub fn encode(&self, request: &ChatRequest, stream: bool) -> Result<Vec<u8>, ModelError> {
        let settings = request.settings.over(&self.settings);
        self.encode_question(&self.question(request, &settings, stream))
    }

    /// Reads a response that somebody else fetched, such as a batch result or a recording, exactly as
    /// [`ChatModel::chat`] reads its own.
    pub fn decode(&self, response: &::http::Response<Bytes>, run: &Run) -> Result<ChatReply, ModelError> {
        let mut intake = self.intake(response.status(), response.headers(), run);
        intake.push(response.body().clone())?;
        intake.finish()
    }

    fn question<'a>(&'a self, request: &'a ChatRequest, settings: &'a Settings, stream: bool) -> Question<'a> {
        Question { model: self.id.model(), request, settings, stream }
    }

    fn encode_question(&self, question: &Question<'_>) -> Result<Vec<u8>, ModelError> {
        self.client.protocol.encode(question).map_err(|error| self.named(error))
    }

    async fn exchange(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let account = &self.client.account;
        let response = account.send(self.http_request(request, run)?).await.map_err(|error| self.named(error))?;
        let intake = self.intake(response.status(), response.headers(), run);
        // On the heap, because most calls in flight are still waiting for the response.
        Box::pin(account.read(response, intake)).await
    }

    fn http_request(&self, request: &ChatRequest, run: &Run) -> Result<Request, ModelError> {
        let account = &self.client.account;
        let settings = request.settings.over(&self.settings);
        let question = self.question(request, &settings, run.wants_deltas());
        let mut headers = account.headers(run);
        self.client.protocol.headers(&question, &mut headers);
        if let Some(name) = P::CLIENT_REQUEST_ID
            && let Ok(id) = HeaderValue::from_str(run.id().uuid().hyphenated().encode_lower(&mut [0; 36]))
        {
            headers.insert(name, id);
        }
        Ok(http::post(&self.url, headers, self.encode_question(&question)?))
    }

    fn intake<'a>(&'a self, status: StatusCode, headers: &HeaderMap, run: &'a Run) -> Intake<'a, P::Assembly> {
        let sink = Sink::new(run, self.id.provider());
        Intake::new(&self.id, Head::new(status, headers), sink, self.client.protocol.assembly())
    }

    fn named(&self, error: ModelError) -> ModelError {
        error.with(|failure| failure.model = Some(self.id.clone()))
    }
}

#[async_trait]
impl<P: Protocol> ChatModel for Model<P> {
    fn id(&self) -> &ModelId {
        &self.id
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    async fn chat(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        self.exchange(request, run).await.map_err(|error| self.client.account.without_key(error))
    }
}

impl<P: Protocol> fmt::Debug for Client<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("account", &self.account).field("protocol", &self.protocol).finish()
    }
}

impl<P: Protocol> fmt::Debug for Model<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("id", &self.id).field("url", &self.url).finish_non_exhaustive()
    }
}

/// An error of a request that cannot be expressed in a protocol.
pub(crate) fn caller_error(message: impl Into<String>) -> ModelError {
    ModelError::new(ModelErrorKind::Caller, message)
}
