//! The least that a server between a client and a provider does: axum in front, reqwest behind, and nothing between.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::post;
use clap::Args;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::process::child::Child;

/// The provider behind it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The base URL of the provider.
    base_url: String,
}

/// A pass-through in a process of its own.
#[derive(Debug)]
pub(super) struct PassThrough {
    process: Child,
    url: String,
}

#[derive(Debug, Clone)]
struct Provider {
    client: reqwest::Client,
    url: reqwest::Url,
}

impl PassThrough {
    pub(super) fn start(provider: &str) -> Result<Self> {
        let mut process = Child::start("brigade-bench", &["pass-through".to_owned(), provider.to_owned()])?;
        let url = process.answer()?;
        Ok(Self { process, url })
    }

    /// The base URL of its endpoint.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn cpu_time(&self) -> Result<Duration> {
        self.process.cpu_time()
    }
}

/// Passes requests on until standard input ends.
pub(crate) fn serve(options: &Options) -> Result<()> {
    // An error means that a crypto provider is already installed; then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(Duration::from_mins(10)).build()?;
    let provider = Provider { client, url: format!("{}/v1/chat/completions", options.base_url).parse()? };
    let router = Router::new().route("/v1/chat/completions", post(pass_on)).with_state(provider);
    Runtime::new()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(io::stdout(), "{}", serde_json::to_string(&format!("http://{}/v1", listener.local_addr()?))?)?;
        let input = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
        tokio::select! {
            ended = axum::serve(listener, router) => Ok(ended?),
            _ = input => Ok(()),
        }
    })
}

async fn pass_on(State(provider): State<Provider>, body: Bytes) -> Result<impl IntoResponse, StatusCode> {
    let bad_gateway = |_| StatusCode::BAD_GATEWAY;
    let request = provider.client.post(provider.url).header(CONTENT_TYPE, "application/json").body(body);
    let response = request.send().await.map_err(bad_gateway)?;
    let status = response.status();
    let body = response.bytes().await.map_err(bad_gateway)?;
    Ok((status, [(CONTENT_TYPE, "application/json")], body))
}
