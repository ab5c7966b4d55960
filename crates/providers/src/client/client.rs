//! Clients and models, the same for every protocol.

use std::{fmt, sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderValue, StatusCode};
use async_trait::async_trait;
use brigade_core::{ChatModel, ChatReply, ChatRequest, Effort, Event, ModelError, ModelId, Reasoning, Run, Settings};
use bytes::Bytes;
use reqwest::{Request, Response, Url};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use crate::{
    http::{
        account::{self, Account},
        request_content::RequestContent,
        response_head::ResponseHead,
    },
    protocol::{
        event_sink::EventSink,
        maker::Maker,
        parameters,
        protocol::{Completeness, ModelRequest, Progress, Protocol, ReplyDecoder},
        response_reader::ResponseReader,
    },
};

/// How long a client waits for the terminal marker of an answer that is complete without it. Servers that send one send it
/// in the same millisecond.
const MARKER_GRACE: Duration = Duration::from_secs(1);
/// How long a client waits for the usage, which some servers send after the answer and others never send.
const USAGE_GRACE: Duration = Duration::from_secs(5);

/// A provider account and the protocol that it speaks. Cheap to clone; clones share their connections.
///
/// ```
/// use brigade_providers::{Anthropic, OpenAi};
///
/// # fn main() -> Result<(), brigade_providers::AccountError> {
/// // `OpenAi::from_env()` reads the key from OPENAI_API_KEY.
/// let openai = OpenAi::builder().api_key("sk-…").build()?;
/// let mini = openai.model("gpt-5-mini");
/// let claude = Anthropic::builder().api_key("sk-ant-…").build()?.model("claude-sonnet-4-5").thinking(4_000);
/// let local = OpenAi::compatible("vllm", "http://127.0.0.1:8000/v1").build()?.model("qwen3-8b");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client<P> {
    pub(crate) account: Arc<Account>,
    pub(crate) protocol: P,
}

/// One model of a provider account, with default settings for its requests.
#[derive(Clone)]
pub struct Model<P> {
    client: Client<P>,
    id: ModelId,
    url: Url,
    settings: Settings,
    maker: Maker,
}

/// The result of a successful [`Client::probe`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// The provider's id of the request, if it sent one.
    pub request_id: Option<String>,
    /// Whether the answer was JSON, as that of every API is. Web pages and gateways answer status 200, too.
    pub is_json: bool,
}

impl<P: Protocol> Client<P> {
    /// The model with the provider's name `name`.
    pub fn model(&self, name: &str) -> Model<P> {
        Model {
            id: ModelId::new(Arc::clone(&self.account.name), name),
            url: self.account.url(&self.protocol.path(name)),
            settings: Settings::default().answer_tokens(self.protocol.answer_tokens(name)),
            maker: Maker::new(&self.account.name, self.account.base_url.as_str(), name),
            client: self.clone(),
        }
    }

    /// The account's name.
    pub fn name(&self) -> &Arc<str> {
        &self.account.name
    }

    /// Requests the list of models, which is free, to check that the provider can be reached and accepts the API key.
    /// Has no timeout of its own, like every call.
    pub async fn probe(&self) -> Result<Probe, ModelError> {
        let (request_id, is_json) = self.account.get(&self.protocol.probe_path()).await?;
        Ok(Probe { request_id, is_json })
    }
}

impl<P: Protocol> Model<P> {
    /// Replaces the default settings of requests.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        let answer_tokens = settings.answer_tokens.or(self.settings.answer_tokens);
        Self { settings: settings.answer_tokens(answer_tokens), ..self }
    }

    /// Limits the tokens of an answer, including reasoning.
    #[must_use]
    pub fn max_output_tokens(mut self, tokens: u32) -> Self {
        self.settings.max_output_tokens = Some(tokens);
        self
    }

    /// Sets the sampling temperature, from 0 to 2. Anthropic's maximum is 1.
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.settings.temperature = Some(temperature);
        self
    }

    /// Sets how much the model reasons before it answers.
    #[must_use]
    pub fn reasoning(mut self, reasoning: Reasoning) -> Self {
        self.settings.reasoning = Some(reasoning);
        self
    }

    /// Limits the model's reasoning to a number of tokens.
    #[must_use]
    pub fn thinking(self, tokens: u32) -> Self {
        self.reasoning(Reasoning::Budget(tokens))
    }

    /// Sets the model's reasoning effort.
    #[must_use]
    pub fn effort(self, effort: Effort) -> Self {
        self.reasoning(Reasoning::Effort(effort))
    }

    /// Encodes the body that [`ChatModel::chat`] would send, for example for a batch file.
    pub fn encode(&self, request: &ChatRequest, stream: bool) -> Result<Vec<u8>, ModelError> {
        let (settings, _) = self.accepted(request);
        self.encode_request(&self.model_request(request, &settings, stream))
    }

    /// Decodes a response received elsewhere, such as a batch result or a recording, as [`ChatModel::chat`] does.
    pub fn decode(&self, response: &::http::Response<Bytes>, run: &Run) -> Result<ChatReply, ModelError> {
        let mut reader = self.response_reader(response.status(), response.headers(), run);
        reader.push(response.body().clone())?;
        reader.finish().map(|reply| self.marked(reply))
    }

    fn model_request<'a>(&'a self, chat: &'a ChatRequest, settings: &'a Settings, stream: bool) -> ModelRequest<'a> {
        ModelRequest { model: self.id.model(), chat, settings, stream, maker: self.maker }
    }

    /// The settings that the model accepts, and a quirk for each other one, which was left out or reduced.
    fn accepted(&self, request: &ChatRequest) -> (Settings, Vec<&'static str>) {
        let mut settings = request.settings.over(&self.settings);
        let mut refused = self.client.protocol.refused(self.id.model(), &settings);
        refused.retain(|name| parameters::leave_out(&mut settings, name));
        let reduced = self.client.protocol.limits().reduce(&mut settings);
        let left_out = refused.into_iter().map(parameters::left_out_quirk);
        (settings, left_out.chain(reduced.into_iter().map(parameters::reduced_quirk)).collect())
    }

    fn marked(&self, mut reply: ChatReply) -> ChatReply {
        reply.message = self.maker.mark(reply.message, |data| self.client.protocol.is_private(data));
        reply
    }

    fn encode_request(&self, request: &ModelRequest<'_>) -> Result<Vec<u8>, ModelError> {
        self.client.protocol.encode(request).map_err(|error| self.with_model(error))
    }

    async fn exchange(&self, request: &ChatRequest, run: &Run) -> Result<ChatReply, ModelError> {
        let account = &self.client.account;
        let request = self.http_request(request, run)?;
        let permit = account.in_flight.wait(&self.id, run).await?;
        let response = account.http.send(request).await.map_err(|error| self.with_model(error))?;
        let reader = self.response_reader(response.status(), response.headers(), run);
        // On the heap, because most calls in flight are still waiting for the response.
        Box::pin(read(response, reader, account, permit)).await.map(|reply| self.marked(reply))
    }

    fn http_request(&self, request: &ChatRequest, run: &Run) -> Result<Request, ModelError> {
        let account = &self.client.account;
        let (settings, quirks) = self.accepted(request);
        for quirk in quirks {
            run.emit(&Event::WireQuirk { provider: Arc::clone(self.id.provider()), kind: quirk.into() });
        }
        let request = self.model_request(request, &settings, run.wants_deltas());
        let mut headers = account.headers(run);
        if let Some(name) = P::CLIENT_REQUEST_ID
            && let Ok(id) = HeaderValue::from_str(run.id().uuid().hyphenated().encode_lower(&mut [0; 36]))
        {
            headers.insert(name, id);
        }
        Ok(account::post(&self.url, headers, self.encode_request(&request)?))
    }

    fn response_reader<'a>(
        &'a self,
        status: StatusCode,
        headers: &HeaderMap,
        run: &'a Run,
    ) -> ResponseReader<'a, P::Decoder> {
        let sink = EventSink::new(run, self.id.provider());
        ResponseReader::new(&self.id, ResponseHead::new(status, headers), sink, self.client.protocol.decoder())
    }

    fn with_model(&self, error: ModelError) -> ModelError {
        error.with(|failure| failure.model = Some(self.id.clone()))
    }
}

/// Reads a response until its answer is complete.
async fn read<D: ReplyDecoder>(
    mut response: Response,
    mut reader: ResponseReader<'_, D>,
    account: &Account,
    permit: OwnedSemaphorePermit,
) -> Result<ChatReply, ModelError> {
    let mut end: Option<Instant> = None;
    loop {
        let chunk = match end {
            None => response.chunk().await,
            Some(end) => match timeout_at(end, response.chunk()).await {
                Ok(chunk) => chunk,
                Err(_) => return reader.finish(),
            },
        };
        match chunk {
            Ok(Some(chunk)) => {
                if reader.push(chunk)? == Progress::Done {
                    account.http.drain(response, permit);
                    return reader.finish();
                }
                let grace = match reader.completeness() {
                    Completeness::Partial => None,
                    Completeness::WithoutUsage => Some(USAGE_GRACE),
                    Completeness::Complete => Some(MARKER_GRACE),
                };
                // The earliest deadline stays, so pings do not extend the wait.
                let deadline = grace.map(|grace| Instant::now() + grace);
                end = [end, deadline].into_iter().flatten().min();
            }
            Ok(None) => return reader.finish(),
            Err(error) => return reader.cut(error.without_url()),
        }
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
        let result = self.exchange(request, run).await;
        result.map_err(|error| {
            let error = RequestContent::of(request).mask_error(self.client.account.without_key(error));
            account::with_url(error, &self.url)
        })
    }
}

impl<P: Protocol> fmt::Debug for Client<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("account", &self.account).field("protocol", &self.protocol).finish()
    }
}

impl<P: Protocol> fmt::Debug for Model<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("id", &self.id).field("url", &account::shown(&self.url)).finish_non_exhaustive()
    }
}
