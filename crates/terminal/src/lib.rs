//! Shows runs on a terminal.
//!
//! | to do this | use |
//! |---|---|
//! | show what the agents of a run do, while they work | [`ProgressDisplay`] |
//! | print an answer with bold text and wrapped lines | [`AnswerText`] |
//! | ask whether a call is made | [`ApprovalPrompt`] |
//! | print text of a model, which must not control the terminal | [`printable`] |
//!
//! ```
//! use brigade_core::{Agent, Run};
//! use brigade_terminal::{AnswerText, ProgressDisplay, Terminal};
//! # use brigade_core::testing::{ScriptedModel, Turn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = ScriptedModel::new([Turn::text("**Yes.** It is.")]);
//! let display = ProgressDisplay::new();
//! let run = Run::builder().observer(display.clone()).build();
//! let agent = Agent::new("clerk", model);
//! let outcome = display.show_while(agent.run_in(&run, "Is it fine?")).await?;
//! print!("{}", AnswerText::whole(Terminal::of_stdout(), &outcome.text));
//! # Ok(())
//! # }
//! ```

mod answer;
mod approval_prompt;
mod progress;

pub use answer::{AnswerText, Terminal, printable};
pub use approval_prompt::ApprovalPrompt;
pub use progress::ProgressDisplay;
