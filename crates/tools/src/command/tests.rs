use std::{path::Path, sync::Arc};

use brigade_core::{Arguments, Effect, Part, RawJson, ToolCall, Toolbox};
use tokio::net::unix::pipe::{OpenOptions, Receiver};

use super::*;

fn shell(line: &str) -> CommandTool {
    let spec = ToolSpec::new("program", "", RawJson::parse("{}".to_owned()).unwrap());
    CommandTool::builder(spec, ["/bin/sh", "-c", line]).env("PATH", "/usr/bin:/bin").build().unwrap()
}

async fn output_of(line: &str, input: Map<String, Value>) -> Result<String, String> {
    let program = shell(line);
    let result = tokio::time::timeout(Duration::from_secs(30), program.run(input, &Run::new())).await.unwrap();
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
    let error = program.run(Map::new(), &Run::new()).await.unwrap_err().to_string();
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

#[test]
fn a_placeholder_that_is_not_an_argument_is_refused_in_every_tool() {
    for (schema, text, refused) in [
        (r#"{"properties":{"id":{}}}"#, "{id}", None),
        (r#"{"properties":{"id":{}}}"#, "{id}/{ID}", Some("ID")),
        (r#"{"properties":{"id":{}}}"#, "{ id }", Some(" id ")),
        (r#"{"type":"object"}"#, "{id}", Some("id")),
        ("{}", "{id}", Some("id")),
        ("{}", "{print $1}", None),
        (r##"{"$ref":"#/$defs/a","$defs":{"a":{}}}"##, "{id}", None),
        (r#"{"allOf":[{"properties":{"id":{}}}]}"#, "{id}", None),
        (r#"{"patternProperties":{"^i":{}}}"#, "{id}", None),
    ] {
        let spec = || ToolSpec::new("tool", "", RawJson::parse(schema.to_owned()).unwrap());
        let url = format!("https://a.test/{text}");
        let errors = [
            CommandTool::builder(spec(), ["echo", text]).build().err(),
            crate::HttpTool::builder(spec(), url).build().err(),
        ];
        for error in errors {
            let name = error.as_ref().map(|error| match error {
                BuildToolError::Placeholder(name) => name.as_str(),
                other => panic!("{other}"),
            });
            assert_eq!(name, refused, "{schema} {text}");
        }
    }
}

/// A named pipe that tells when every process that holds it has ended.
struct Witness {
    folder: tempfile::TempDir,
    pipe: Receiver,
}

impl Witness {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = create_pipe(folder.path(), "pipe");
        Self { folder, pipe: OpenOptions::new().open_receiver(&path).unwrap() }
    }

    /// A line that starts a process below the shell's own child, which ignores polite signals and holds the pipe.
    fn grandchild(&self, redirection: &str) -> String {
        let pipe = self.folder.path().join("pipe");
        format!(
            "( (trap '' TERM HUP INT; exec 9>{}; echo up >&9; sleep 600; sleep 600) & wait ) {redirection} &",
            pipe.display()
        )
    }

    async fn started(&mut self) {
        let mut line = [0; 3];
        self.pipe.readable().await.unwrap();
        self.pipe.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"up\n");
    }

    async fn ended(&mut self) {
        let rest = tokio::time::timeout(Duration::from_secs(20), self.pipe.read(&mut [0; 8])).await;
        assert_eq!(rest.expect("a process lives on").unwrap(), 0);
    }
}

fn create_pipe(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

fn toolbox(program: CommandTool) -> Toolbox {
    let mut toolbox = Toolbox::new();
    toolbox.add(Arc::new(program)).unwrap();
    toolbox
}

#[tokio::test]
async fn a_call_that_times_out_is_cancelled_or_dropped_ends_all_processes_of_the_program() {
    for ending in ["timeout", "cancel", "drop"] {
        let mut witness = Witness::new();
        let (toolbox, run) = (toolbox(shell(&format!("{} wait", witness.grandchild("")))), Run::new());
        let call = ToolCall::new("1", "program", Arguments::parse("{}".into()));
        let calls = [&call];
        let mut work = Box::pin(toolbox.call_all(&calls, &run));
        tokio::select! {
            results = &mut work => panic!("{results:?}"),
            () = witness.started() => {}
        }
        match ending {
            "timeout" => {
                tokio::time::pause();
                assert!(work.await[0].text().contains("did not answer within 30s"));
                tokio::time::resume();
            }
            "cancel" => {
                run.cancel();
                assert!(work.await[0].text().contains("cancelled"));
            }
            _ => drop(work),
        }
        witness.ended().await;
    }
}

#[tokio::test]
async fn a_program_that_ends_takes_the_processes_that_it_left_behind_with_it() {
    for (redirection, status) in [("", 0), (">/dev/null 2>&1 <&-", 0), ("", 3)] {
        let mut witness = Witness::new();
        let gate = create_pipe(witness.folder.path(), "gate");
        let line =
            format!("{} read line < {}; echo done; exit {status}", witness.grandchild(redirection), gate.display());
        let program = shell(&line);
        let run = Run::new();
        let mut work = Box::pin(program.run(Map::new(), &run));
        tokio::select! {
            result = &mut work => panic!("{result:?}"),
            () = witness.started() => {}
        }
        tokio::fs::write(gate, "go\n").await.unwrap();
        let result = tokio::time::timeout(Duration::from_secs(20), work).await.expect("the pipes stay open");
        assert_eq!(result.is_ok(), status == 0, "{result:?}");
        witness.ended().await;
    }
}

/// A process that leaves the group of its program, as daemons do, and holds the pipes that it is given.
fn daemon(work: &str, redirection: &str) -> String {
    format!("setsid sh -c '{work}' {redirection} & ")
}

#[tokio::test]
async fn what_a_program_printed_is_its_output_even_if_a_daemon_keeps_the_pipes_open() {
    let sleeping = || daemon("sleep 20", "");
    for (line, expected) in [
        (format!("echo one; {} echo two", sleeping()), Ok("one\ntwo\n")),
        (format!("{} echo out; echo why >&2; exit 3", daemon("sleep 20", ">/dev/null")), Err("exit status: 3: why\n")),
        (format!("{} echo why >&2; exit 3", sleeping()), Err("exit status: 3: why\n")),
        // A filter of the program's own group still passes on what it has read.
        ("(sleep 0.02; echo late; sleep 20) & echo first".to_owned(), Ok("first\nlate\n")),
        // The program goes on after it has closed its output.
        ("echo all; exec >&- 2>&-; sleep 0.5".to_owned(), Ok("all\n")),
        ("echo all; exec >&- 2>&-; sleep 0.5; exit 4".to_owned(), Err("exit status: 4: ")),
        (format!("trap '' TERM INT HUP; echo deaf; {}", sleeping()), Ok("deaf\n")),
    ] {
        let started = tokio::time::Instant::now();
        let result = output_of(&line, Map::new()).await;
        let seen =
            result.as_ref().map(String::as_str).map_err(|error| error.trim_start_matches("the program ended with "));
        assert_eq!(seen, expected, "{line}");
        assert!(started.elapsed() < Duration::from_secs(15), "{line}: {:?}", started.elapsed());
    }
    let endless = format!("echo first; {} sleep 0.1", daemon("yes", ""));
    let output = output_of(&endless, Map::new()).await.unwrap();
    assert!(output.starts_with("first\n") && output.ends_with("[cut here: there is more]"), "{}", output.len());
}

#[tokio::test]
async fn the_reason_of_a_failed_program_is_its_status_and_quotes_no_output() {
    for (line, reason) in [
        ("echo canary; echo canary >&2; exit 3", "the program ended with exit status: 3"),
        ("kill -9 $$", "the program ended with signal: 9 (SIGKILL)"),
    ] {
        let error = shell(line).run(Map::new(), &Run::new()).await.unwrap_err();
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), reason);
    }
    let schema = r#"{"properties":{"text":{"type":"string"}}}"#;
    let spec = ToolSpec::new("program", "", RawJson::parse(schema.to_owned()).unwrap());
    let tool = CommandTool::builder(spec, ["/bin/echo", "{text}"]).build().unwrap();
    let input = Map::from_iter([("text".to_owned(), Value::String("-canary".to_owned()))]);
    let error = tool.run(input, &Run::new()).await.unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "an argument starts with a dash");
}

#[tokio::test]
async fn a_keyed_program_finds_the_key_of_its_call() {
    let run = crate::key::fixture::run_of_a_call().await;
    let mut program = shell("printf %s \"$IDEMPOTENCY_KEY\"");
    for (effect, key) in [(Effect::Keyed, run.idempotency_key().unwrap()), (Effect::Once, String::new())] {
        program.spec.effect = effect;
        let output = program.run(Map::new(), &run).await.unwrap();
        assert_eq!(output.content, [Part::text(key)], "{effect:?}");
    }
}
