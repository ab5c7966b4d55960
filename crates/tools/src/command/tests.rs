use std::time::Duration;

use brigade_core::{Part, RawJson};

use super::*;

fn shell(line: &str) -> CommandTool {
    let spec = ToolSpec::new("program", "", RawJson::parse("{}".to_owned()).unwrap());
    CommandTool::builder(spec, ["/bin/sh", "-c", line]).env("PATH", "/usr/bin:/bin").build().unwrap()
}

async fn output_of(line: &str, input: Map<String, Value>) -> Result<String, String> {
    let program = shell(line);
    let result = tokio::time::timeout(Duration::from_secs(30), program.run(input)).await.unwrap();
    let output = result.map_err(|error| error.to_string())?;
    match output.content.into_iter().next() {
        Some(Part::Text(text)) => Ok(text.text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_failed_program_is_reported_with_its_exit_status_and_the_end_of_its_standard_error() {
    let error = output_of("echo begun; echo why >&2; exit 137", Map::new()).await.unwrap_err();
    assert_eq!(error, "the program ended with exit status: 137: why\n");
    let error = output_of("kill -9 $$", Map::new()).await.unwrap_err();
    assert!(error.starts_with("the program ended with signal: 9"), "{error}");
    let error =
        output_of("yes chatter | head -c 100000 >&2; echo the reason >&2; exit 1", Map::new()).await.unwrap_err();
    assert!(error.contains("[cut here: there was more before]") && error.ends_with("the reason\n"), "{error}");
    assert!(error.len() < ERROR_BYTES + 100, "{}", error.len());
}

#[tokio::test]
async fn standard_error_is_redacted() {
    let mut program = shell("echo refused: sk-live-0123456789abcdef >&2; exit 1");
    program.redact = |text| Cow::Owned(text.replace("live-0123456789abcdef", "[masked]"));
    let error = program.run(Map::new()).await.unwrap_err().to_string();
    assert_eq!(error, "the program ended with exit status: 1: refused: sk-[masked]\n");
}

#[tokio::test]
async fn invalid_utf8_is_replaced() {
    assert_eq!(output_of("printf 'caf\\351!'", Map::new()).await, Ok("caf\u{fffd}!".to_owned()));
    let error = output_of("printf 'caf\\351!' >&2; exit 1", Map::new()).await.unwrap_err();
    assert!(error.ends_with("caf\u{fffd}!"), "{error}");
}

#[tokio::test]
async fn a_program_may_ignore_its_input() {
    // More than a pipe holds.
    let input = Map::from_iter([("text".to_owned(), Value::String("x".repeat(1 << 20)))]);
    assert_eq!(output_of("echo done", input.clone()).await, Ok("done\n".to_owned()));
    let error = output_of("exec <&-; echo deaf >&2; exit 3", input).await.unwrap_err();
    assert_eq!(error, "the program ended with exit status: 3: deaf\n");
}

#[tokio::test]
async fn excess_output_is_read_and_dropped() {
    let output = output_of("head -c 50000000 /dev/zero", Map::new()).await.unwrap();
    assert!(output.ends_with("[cut here: there is more]"));
    assert!(output.len() < (64 << 10) + 100 && output.capacity() <= 2 * (64 << 10), "{}", output.capacity());
}

#[test]
fn a_command_needs_a_fixed_program() {
    let build = |command: &[&str]| {
        let spec = ToolSpec::new("program", "", RawJson::parse("{}".to_owned()).unwrap());
        CommandTool::builder(spec, command.iter().copied()).build()
    };
    assert!(matches!(build(&[]), Err(BuildToolError::NoProgram)));
    assert!(matches!(build(&["{program}"]), Err(BuildToolError::ProgramPlaceholder(_))));
}
