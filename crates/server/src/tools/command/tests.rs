//! R29 and R31: programs that crash, do not listen, or flood.

use brigade_core::{Part, RawJson};

use super::*;

/// A tool that runs a line of shell.
fn shell(line: &str) -> CommandTool {
    CommandTool {
        spec: ToolSpec::new("program", "", RawJson::parse("{}".to_owned()).unwrap()),
        program: "/bin/sh".to_owned(),
        arguments: ["-c", line].map(Template::parse).into(),
        folder: ".".into(),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        max_output: 64 << 10,
    }
}

async fn says(line: &str, input: Map<String, Value>) -> Result<String, String> {
    let program = shell(line);
    let done = tokio::time::timeout(std::time::Duration::from_secs(30), program.run(input)).await.unwrap();
    let output = done.map_err(|error| error.to_string())?;
    match output.content.into_iter().next() {
        Some(Part::Text(text)) => Ok(text.text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_program_that_crashes_is_told_with_its_end_and_the_last_it_said() {
    let told = says("echo begun; echo why >&2; exit 137", Map::new()).await.unwrap_err();
    assert_eq!(told, "it ended with exit status: 137: why\n");
    let told = says("kill -9 $$", Map::new()).await.unwrap_err();
    assert!(told.starts_with("it ended with signal: 9"), "{told}");
    let told = says("yes chatter | head -c 100000 >&2; echo the reason >&2; exit 1", Map::new()).await.unwrap_err();
    assert!(told.contains("[cut here: there was more before]") && told.ends_with("the reason\n"), "{told}");
    assert!(told.len() < ERROR_BYTES + 100, "{}", told.len());
}

#[tokio::test]
async fn what_looks_like_a_key_is_not_told() {
    let told = says("echo refused: sk-live-0123456789abcdef >&2; exit 1", Map::new()).await.unwrap_err();
    assert_eq!(told, "it ended with exit status: 1: refused: sk-[masked]\n");
}

#[tokio::test]
async fn what_is_no_text_is_replaced() {
    assert_eq!(says("printf 'caf\\351!'", Map::new()).await, Ok("caf\u{fffd}!".to_owned()));
    let told = says("printf 'caf\\351!' >&2; exit 1", Map::new()).await.unwrap_err();
    assert!(told.ends_with("caf\u{fffd}!"), "{told}");
}

#[tokio::test]
async fn a_program_need_not_read_what_it_is_told() {
    // More than a pipe holds.
    let input = Map::from_iter([("text".to_owned(), Value::String("x".repeat(1 << 20)))]);
    assert_eq!(says("echo done", input.clone()).await, Ok("done\n".to_owned()));
    let told = says("exec <&-; echo deaf >&2; exit 3", input).await.unwrap_err();
    assert_eq!(told, "it ended with exit status: 3: deaf\n");
}

#[tokio::test]
async fn a_flood_is_read_to_its_end_and_kept_to_its_limit() {
    let told = says("head -c 50000000 /dev/zero", Map::new()).await.unwrap();
    assert!(told.ends_with("[cut here: there is more]"));
    assert!(told.len() < (64 << 10) + 100 && told.capacity() <= 2 * (64 << 10), "{}", told.capacity());
}
