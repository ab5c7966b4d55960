//! Calls that may have had their effect before a crash.

use std::collections::BTreeMap;

use brigade_core::{Effect, StepRecord, StepState};

/// What is done with a call that may have had its effect before a crash. It is never repeated by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InDoubt {
    /// The run waits until a person decides. The default, because nothing else is always right.
    #[default]
    Ask,
    /// The run fails.
    Fail,
    /// The call is not repeated, and the model reads that it is not known whether the call had its effect.
    TellModel,
}

/// The calls in doubt of a claimed run.
pub(super) struct CallsInDoubt<'a> {
    /// The tools of the calls that asked for an approval, by path. The steps inside such calls have other names.
    pub(super) tools: &'a BTreeMap<String, String>,
}

impl CallsInDoubt<'_> {
    /// Answers the calls with [`InDoubt::TellModel`], and returns their records. Fails with a message if the run must fail.
    pub(super) fn settle(
        &self,
        records: &mut [StepRecord],
        policy: impl Fn(&str) -> InDoubt,
    ) -> Result<Vec<StepRecord>, String> {
        let mut changed = Vec::new();
        for record in records {
            if record.state != StepState::Began || record.effect != Effect::Once {
                continue;
            }
            let asked = record.path.strip_suffix("/call").and_then(|call| self.tools.get(call));
            let tool = asked.unwrap_or(&record.name);
            match policy(tool) {
                InDoubt::Ask => {}
                InDoubt::Fail => return Err(failure(tool, &record.path)),
                InDoubt::TellModel => {
                    let why = format!(
                        "It is not known whether `{tool}` had its effect before the program stopped. It was not called \
                         again. Find out before you call it again."
                    );
                    *record = record.clone().answered(why).map_err(|error| error.to_string())?;
                    changed.push(record.clone());
                }
            }
        }
        Ok(changed)
    }
}

fn failure(tool: &str, path: &str) -> String {
    format!(
        "it is not known whether `{tool}` (step `{path}`) had its effect before a crash, and it is configured to fail the \
         run then; start a new run, or resume this one from that step to repeat it"
    )
}
