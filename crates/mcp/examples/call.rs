//! Lists the tools of a server and calls each of them, or one of them:
//!
//! ```sh
//! cargo run -p brigade-mcp --example call -- http://127.0.0.1:8080/mcp
//! cargo run -p brigade-mcp --example call -- http://127.0.0.1:8080/mcp clerk '{"task": "Say hello."}'
//! ```
//!
//! It trusts what the server says about its tools. A program that runs for others pins the tools instead.

#![allow(clippy::print_stdout, reason = "it is a program for a terminal")]

use std::{env, error::Error};

use brigade_core::{Part, Run, Tool};
use brigade_mcp::Mcp;
use serde_json::{Map, Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().ok_or("write the address of a server")?;
    let (name, input) = (arguments.next(), arguments.next());
    // Only the addresses that you name are reached, so nothing more is checked here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
    let server = Mcp::http("server", url, client).tools(["*"]).build()?;
    let listed = server.list().await?;
    for tool in server.tools(&listed)? {
        println!("{}: {}", tool.name_at_server(), tool.spec().description);
        if name.as_deref().is_some_and(|name| name != tool.name_at_server()) {
            continue;
        }
        let input = match &input {
            Some(input) => serde_json::from_str(input)?,
            None => sample(&serde_json::from_str(tool.spec().input_schema.get())?),
        };
        match tool.call(input, &Run::new()).await {
            Ok(output) => output.content.iter().for_each(|part| match part {
                Part::Text(text) => println!("  {}", text.text),
                part => println!("  {part:?}"),
            }),
            Err(error) => println!("  failed: {error}"),
        }
    }
    server.close().await;
    Ok(())
}

/// A value for each field that the schema of the arguments requires.
fn sample(schema: &Value) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    let value = |name: &str| match schema.pointer(&format!("/properties/{name}/type")).and_then(Value::as_str) {
        Some("number" | "integer") => json!(5),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("text"),
    };
    Value::Object(required.map(|name| (name.to_owned(), value(name))).collect::<Map<_, _>>())
}
