//! An agent's tools without code: one asks a local server, one runs a program.
//!
//! ```sh
//! cargo run -p brigade-tools --example weather
//! ```

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use brigade_core::{Run, Schema, Tool, ToolSpec};
use brigade_tools::{CommandTool, EgressGuard, HttpTool};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct City {
    /// The city's name.
    city: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/weather/{{city}}", listener.local_addr()?);

    let spec = ToolSpec::new("weather", "Reports the weather of a city.", Schema::generate::<City>());
    // Without this, the guard refuses addresses of this machine.
    let weather = HttpTool::builder(spec, url).egress(EgressGuard::default().allow_private(true)).build()?;

    let spec = ToolSpec::new("greet", "Greets a city.", Schema::generate::<City>());
    let greet = CommandTool::builder(spec, ["echo", "Hello,", "{city}"]).env("PATH", "/usr/bin:/bin").build()?;

    // An agent would take both with `Agent::tool`; here they are called directly.
    let run = Run::builder().build();
    let arguments = json!({ "city": "Oslo" });
    let (report, ()) = tokio::try_join!(async { Ok(weather.call(arguments.clone(), &run).await?) }, answer(&listener))?;
    let greeting = greet.call(arguments, &run).await?;
    println!("{:?}\n{:?}", report.content, greeting.content);
    Ok(())
}

/// Stands in for a weather service.
async fn answer(listener: &TcpListener) -> anyhow::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\nSunny, 21 deg").await?;
    Ok(())
}
