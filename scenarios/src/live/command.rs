//! `cargo xtask live`

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use brigade_core::{Budget, ErrorChain, Ledger, ModelError, ModelErrorKind, Money};
use brigade_observability::PriceBook;
use clap::Parser;

use super::{
    check::LiveCheck,
    facts::{Obstacle, Verdict},
    plan::TargetOptions,
    reference::{Expected, Reference},
    report::{LiveReport, Trial},
    subject::Subject,
    target::{KnownProvider, Target},
};

/// The exit code if a check failed.
const FAILED: u8 = 1;
/// The exit code if the options cannot be used; clap's own.
const UNUSABLE: u8 = 2;
/// The exit code if there is neither a key nor a server.
const NOTHING_TO_TRY: u8 = 3;

/// Tries Brigade's clients against real providers, and reports what differs from the simulator.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask live",
    bin_name = "cargo xtask live",
    after_help = "\
Examples:
  cargo xtask live                                    # all providers with a key in the environment, and Ollama
  cargo xtask live --provider openai --max-usd 0.02   # Chat Completions and Responses, with OPENAI_API_KEY
  cargo xtask live --provider ollama --model qwen3:4b --embedding-model nomic-embed-text
  cargo xtask live --base-url http://127.0.0.1:8000/v1 --model Qwen/Qwen3-8B --dialect chat --dialect responses
  cargo xtask live --base-url https://llm.example.com/v1 --model big --key-env EXAMPLE_KEY --price 0.20,0.60
  cargo xtask live --report live.md                   # or live.json

Before anything is spent it prints the calls and the most that they can cost. A ledger refuses each call that --max-usd no
longer covers. Reports hold no keys, no prompts and no answers.

Exit codes: 0 nothing failed, though something may differ; 1 a check failed; 2 the options cannot be used; 3 there is
neither a key nor a server to try."
)]
pub struct LiveCommand {
    #[command(flatten)]
    targets: TargetOptions,
    /// The most that all calls together may cost, in dollars
    #[arg(long, value_name = "USD", default_value = "0.05")]
    max_usd: Money,
    /// How long one check may take, in seconds. A server at home may have to load the model first
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// Also writes the report to this file: as JSON if its name ends in `.json`, else as Markdown
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// A target with what is known before anything is spent.
struct Planned {
    target: Target,
    prices: PriceBook,
    reference: Reference,
}

impl LiveCommand {
    /// Runs the command and writes to `out`. The documentation of the exit codes is in `--help`.
    pub async fn run(self, out: &mut impl Write) -> ExitCode {
        match self.compare(out).await {
            Ok(code) => code.into(),
            Err(error) => {
                eprintln!("error: {error:#}");
                UNUSABLE.into()
            }
        }
    }

    async fn compare(&self, out: &mut impl Write) -> anyhow::Result<u8> {
        let limit = Duration::from_secs(self.timeout);
        let mut planned = Vec::new();
        for target in self.targets.targets().await? {
            let prices = self.targets.prices(&target)?;
            let reference = Reference::of(&target, &prices, limit).await?;
            planned.push(Planned { target, prices, reference });
        }
        if planned.is_empty() {
            write!(out, "{}", how_to_get_one())?;
            return Ok(NOTHING_TO_TRY);
        }
        self.announce(&planned, out)?;
        let ledger = Ledger::root("--max-usd", Budget::unlimited().money(self.max_usd));
        let mut report = LiveReport::default();
        for planned in planned {
            writeln!(out, "\n{} at {}", planned.target.title(), planned.target.base_url)?;
            let verdicts = try_target(&planned, &ledger, limit, out).await?;
            report.trials.push(Trial { target: planned.target, verdicts });
        }
        report.spent = ledger.spending().total();
        writeln!(out, "\n{}{}", report.table(), report.details())?;
        writeln!(
            out,
            "Spent {} of {}; {} of it is uncertain.",
            report.spent,
            self.max_usd,
            ledger.spending().uncertain
        )?;
        if report.has_findings() {
            writeln!(out, "If you take one of these for a mistake of Brigade, file the lines above as an issue.")?;
        }
        if let Some(path) = &self.report {
            let is_json = path.extension().is_some_and(|extension| extension == "json");
            let text = if is_json { format!("{:#}\n", report.json()) } else { report.markdown() };
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(if report.has_failed() { FAILED } else { 0 })
    }

    /// Says what will be done, and the most that it can cost.
    fn announce(&self, planned: &[Planned], out: &mut impl Write) -> io::Result<()> {
        let mut total = Money::ZERO;
        writeln!(out, "It will make")?;
        for Planned { target, reference: Reference { calls, cost, .. }, .. } in planned {
            total += *cost;
            let cost = if *cost == Money::ZERO { "free".to_owned() } else { format!("at most {cost}") };
            writeln!(out, "  {calls} short calls to {}, {cost}", target.title())?;
        }
        if total > Money::ZERO {
            writeln!(out, "At most {total} together; --max-usd allows {}.", self.max_usd)?;
        }
        if total > self.max_usd {
            writeln!(out, "Checks that it does not cover are not run.")?;
        }
        Ok(())
    }
}

/// Runs the checks against one target and shows each verdict.
async fn try_target(
    planned: &Planned,
    ledger: &Ledger,
    limit: Duration,
    out: &mut impl Write,
) -> anyhow::Result<Vec<Verdict>> {
    let account = planned.target.open(None)?;
    let subject = Subject::new(&planned.target, account, &planned.prices, ledger.clone());
    let mut stopped: Option<String> = None;
    let mut verdicts = Vec::new();
    for (check, expected) in LiveCheck::ALL.into_iter().zip(&planned.reference.expected) {
        let verdict = match &stopped {
            Some(reason) => Verdict::NotRun(reason.clone()),
            None => verdict_on(check, expected, &subject, limit).await,
        };
        // Without these, the others would fail for the same reason.
        if matches!(check, LiveCheck::Account | LiveCheck::Chat) && matches!(verdict, Verdict::Failed(_)) {
            stopped = Some(format!("because the check `{}` failed", check.name()));
        }
        if stopped.is_none() || verdict.name() == "failed" {
            writeln!(out, "  {:<19} {}", check.name(), verdict.name())?;
            out.flush()?;
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

async fn verdict_on(check: LiveCheck, expected: &Expected, subject: &Subject<'_>, limit: Duration) -> Verdict {
    let Ok(found) = tokio::time::timeout(limit, check.run(subject)).await else {
        return Verdict::Failed(format!("no end after {} s; --timeout allows more", limit.as_secs()));
    };
    match (found, expected) {
        (Ok(facts), Ok(simulator)) => {
            let differences = facts.differences(simulator);
            if differences.is_empty() { Verdict::Ok } else { Verdict::Differs(differences) }
        }
        (Err(Obstacle::NotOffered(why)), _) => Verdict::NotOffered(why),
        (Err(Obstacle::NotRun(why)), _) => Verdict::NotRun(why.to_owned()),
        (Ok(_), Err(why)) => Verdict::NotOffered(why.clone()),
        (Err(Obstacle::Failed(error)), _) if error.kind() == ModelErrorKind::Budget => {
            Verdict::NotRun(error.to_string())
        }
        (Err(Obstacle::Failed(error)), _) => {
            Verdict::Failed(format!("{}{}", ErrorChain(&error), advice(&error, subject.target)))
        }
    }
}

/// What to do about a failed call, if that depends on the options.
fn advice(error: &ModelError, target: &Target) -> String {
    match error.kind() {
        ModelErrorKind::Auth => match &target.key_variable {
            Some(variable) => format!("; is the key in {variable} right, and may it use {}?", target.model),
            None => "; the server wants a key: name its variable with --key-env".to_owned(),
        },
        ModelErrorKind::Unreachable => format!("; does a server run at {}?", target.base_url),
        ModelErrorKind::NoSuchModel => format!("; does it have {}? Choose another one with --model", target.model),
        ModelErrorKind::RateLimited | ModelErrorKind::Overloaded => "; try again later".to_owned(),
        ModelErrorKind::Caller
        | ModelErrorKind::Broken
        | ModelErrorKind::Quota
        | ModelErrorKind::Transient
        | ModelErrorKind::Timeout(_)
        | ModelErrorKind::Refused
        | ModelErrorKind::ContextLength
        | ModelErrorKind::Budget
        | ModelErrorKind::CircuitOpen
        | ModelErrorKind::Cancelled => String::new(),
    }
}

fn how_to_get_one() -> String {
    let others: Vec<&str> = KnownProvider::all().filter_map(|provider| provider.key_variable).collect();
    format!(
        "There is nothing to try: the environment has no API key, and Ollama does not run here.

A model on this machine, free, about 2 GB (https://ollama.com):
  curl -fsSL https://ollama.com/install.sh | sh
  ollama pull llama3.2 && cargo xtask live

Another server: cargo xtask live --base-url http://127.0.0.1:8000/v1 --model NAME

With a key, for about one cent:
  OPENAI_API_KEY from https://platform.openai.com/api-keys
  ANTHROPIC_API_KEY from https://console.anthropic.com/settings/keys
All variables: {}
",
        others.join(", ")
    )
}
