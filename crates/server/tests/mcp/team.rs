//! A folder with a configuration, and the shipped program in it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use brigade_rehearsal::{RunningSimulator, Script, Simulator};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

pub(crate) const BRIGADE: &str = env!("CARGO_BIN_EXE_brigade");

/// A folder with a configuration whose agent `clerk` asks a scripted model.
pub(crate) struct Team {
    folder: TempDir,
    _model: RunningSimulator,
}

/// A running program, which is killed when it is dropped.
pub(crate) struct Running(Child);

impl Team {
    /// `script` is what the model does; `agent` and `sections` are added to the configuration.
    pub(crate) async fn new(script: &str, agent: &str, sections: &str) -> Self {
        let simulator = Simulator::builder().script(Script::from_toml(script).unwrap()).build();
        let (folder, model) = (tempfile::tempdir().unwrap(), simulator.serve_locally().await.unwrap());
        let config = format!(
            r#"
[server]
listen = "127.0.0.1:0"
commands = true

[providers.sim]
kind = "compatible"
base_url = "{}/v1"

[models.mini]
provider = "sim"
model = "gpt-5-mini"

[agents.clerk]
model = "mini"
purpose = "Answers letters."
{agent}
{sections}
"#,
            model.base_url()
        );
        std::fs::write(folder.path().join("brigade.toml"), config).unwrap();
        Self { folder, _model: model }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What a command prints, and whether it succeeds.
    pub(crate) async fn brigade(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = tokio::process::Command::new(BRIGADE);
        let output = command.args(arguments).current_dir(self.path()).kill_on_drop(true).output().await.unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    /// Starts `brigade serve`. Returns its address.
    pub(crate) async fn serve(&self) -> (tokio::process::Child, String) {
        let mut command = tokio::process::Command::new(BRIGADE);
        command.arg("serve").current_dir(self.path()).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.next_line().await.unwrap().unwrap();
        (process, address)
    }
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A script whose model calls one tool, and repeats its result.
pub(crate) fn calling(tool: &str, arguments: &str) -> String {
    format!(
        r#"
[[rule]]
when = {{ turn = 0 }}
answer = {{ tool_calls = [{{ name = "{tool}", arguments = '{arguments}' }}] }}
[[rule]]
answer = {{ text = "It says: {{{{tool_results}}}}" }}
"#
    )
}
