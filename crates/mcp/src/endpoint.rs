//! Where a server is, and how a connection to it is opened.

use std::collections::HashMap;

use brigade_core::ErrorChain;
use http::{HeaderName, HeaderValue};
use rmcp::{
    RoleClient,
    service::{ClientInitializeError, RunningService, serve_client_with_lifecycle},
    transport::{
        StreamableHttpClientTransport, async_rw::AsyncRwTransport, common::client_side_sse::ExponentialBackoff,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use tokio::sync::watch;

use crate::{
    McpError, McpLimits,
    process::Program,
    session::{Client, Owned, lifecycle},
    visible::one_line,
};

/// Where a server is.
#[derive(Debug)]
pub(crate) enum Endpoint {
    Process(Program),
    Http(Http),
    /// The other end of a pipe in memory.
    #[cfg(test)]
    Memory(crate::tests::memory::Connect),
}

/// A server that speaks streamable HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) url: String,
    /// Decides which addresses may be reached, and follows no redirects.
    pub(crate) client: reqwest::Client,
    pub(crate) headers: HashMap<HeaderName, HeaderValue>,
}

type Opened = Result<RunningService<RoleClient, Client>, ClientInitializeError>;

/// A stream of a server that breaks off is opened again this often.
const RECONNECTS: usize = 3;

/// The longest reason in an error.
const WHY_BYTES: usize = 500;

impl Endpoint {
    /// Opens a connection. What belongs to it is added to `owned`.
    pub(crate) async fn connect(
        &self,
        server: &str,
        limits: &McpLimits,
        is_old: bool,
        owned: &mut Owned,
    ) -> Result<RunningService<RoleClient, Client>, McpError> {
        let opened: Opened = match self {
            Self::Process(program) => {
                let (process, pipes, logging) = program.start()?;
                let (ended, how) = watch::channel(None);
                let stop = owned.stop.clone();
                owned.tasks.spawn(async move {
                    // Nothing receives it if the connection was dropped.
                    let _ = ended.send(Some(process.run(stop).await));
                });
                owned.tasks.spawn(logging);
                owned.ended = Some(how);
                let transport = AsyncRwTransport::new_client(pipes.output, pipes.input);
                let transport = transport.with_max_line_length(limits.message_bytes);
                serve_client_with_lifecycle(Client::new(), transport, lifecycle(is_old)).await
            }
            Self::Http(http) => {
                let transport = StreamableHttpClientTransport::with_client(http.client.clone(), http.config(limits));
                serve_client_with_lifecycle(Client::new(), transport, lifecycle(is_old)).await
            }
            #[cfg(test)]
            Self::Memory(connect) => {
                let (read, write) = tokio::io::split(connect.connect(&mut owned.tasks));
                let transport = AsyncRwTransport::new_client(read, write).with_max_line_length(limits.message_bytes);
                serve_client_with_lifecycle(Client::new(), transport, lifecycle(is_old)).await
            }
        };
        match opened {
            Ok(service) => Ok(service),
            Err(error) => {
                let why = describe(&error);
                let how = owned.how_it_ended().await;
                let why = how.map_or_else(|| why.clone(), |how| format!("{how} ({why})"));
                Err(McpError::Start { server: server.to_owned(), why })
            }
        }
    }
}

/// Why a connection could not be opened, without a message of the server that is quoted whole.
fn describe(error: &ClientInitializeError) -> String {
    let why = match error {
        ClientInitializeError::ConnectionClosed(_) => "it closed the connection".to_owned(),
        ClientInitializeError::JsonRpcError(error) => format!("it refused the connection: {}", error.message),
        ClientInitializeError::TransportError { error, .. } => ErrorChain(&*error.error).to_string(),
        ClientInitializeError::NoCompatibleProtocolVersion { server_supported, .. } => {
            let versions: Vec<_> = server_supported.iter().map(ToString::to_string).collect();
            format!("it speaks other versions of the protocol only: {}", versions.join(", "))
        }
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => describe(fallback),
        _ => "its first answer is not one of the protocol".to_owned(),
    };
    one_line(&why, WHY_BYTES)
}

impl Http {
    fn config(&self, limits: &McpLimits) -> StreamableHttpClientTransportConfig {
        let mut config = StreamableHttpClientTransportConfig::with_uri(self.url.as_str());
        config.custom_headers.clone_from(&self.headers);
        config.max_sse_event_size = limits.message_bytes;
        config.max_json_response_size = limits.message_bytes;
        // A new session may be one of another server, whose tools have to be compared before a call.
        config.reinit_on_expired_session = false;
        let mut retries = ExponentialBackoff::default();
        retries.max_times = Some(RECONNECTS);
        config.retry_config = std::sync::Arc::new(retries);
        config
    }
}
