//! Child processes, so that the CPU and memory of each part can be measured separately.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::process::resources;

/// A running process that answers lines of JSON with lines of JSON. It is killed on drop, and ends by itself when its
/// standard input is closed.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Child {
    /// Starts a program in the folder of this one.
    pub(crate) fn start(program: &str, arguments: &[String]) -> Result<Self> {
        let path = env::current_exe().context("cannot find this program")?.with_file_name(program);
        let mut process = Command::new(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}; build all binaries of this package"))?;
        let questions = process.stdin.take().context("the process has no standard input")?;
        let answers = process.stdout.take().context("the process has no standard output")?;
        Ok(Self { process, questions, answers: BufReader::new(answers) })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        resources::cpu_time_of(self.process.id())
    }

    /// Sends one question and waits for the answer.
    pub(crate) fn ask<A: DeserializeOwned>(&mut self, question: &impl Serialize) -> Result<A> {
        let mut line = serde_json::to_string(question)?;
        line.push('\n');
        self.questions.write_all(line.as_bytes()).context("a measured process has ended early")?;
        self.answer()
    }

    /// Waits for the next line.
    pub(crate) fn answer<A: DeserializeOwned>(&mut self) -> Result<A> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("a measured process has ended early; its error is above");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
