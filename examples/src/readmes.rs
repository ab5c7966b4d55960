//! The READMEs of the crates, and the pages in `docs/`. Their examples are compiled as doctests of this crate, which
//! depends on all of them.

#[doc = include_str!("../../crates/commands/README.md")]
mod commands {}

#[doc = include_str!("../../crates/config/README.md")]
mod config {}

#[doc = include_str!("../../crates/console/README.md")]
mod console {}

#[doc = include_str!("../../crates/core/README.md")]
mod core {}

#[doc = include_str!("../../crates/durable/README.md")]
mod durable {}

#[doc = include_str!("../../crates/edge/README.md")]
mod edge {}

#[doc = include_str!("../../crates/mcp/README.md")]
mod mcp {}

#[doc = include_str!("../../crates/notes/README.md")]
mod notes {}

#[doc = include_str!("../../crates/observability/README.md")]
mod observability {}

#[doc = include_str!("../../crates/openai/README.md")]
mod openai {}

#[doc = include_str!("../../crates/providers/README.md")]
mod providers {}

#[doc = include_str!("../../crates/rehearsal/README.md")]
mod rehearsal {}

#[doc = include_str!("../../crates/resilience/README.md")]
mod resilience {}

#[doc = include_str!("../../crates/server/README.md")]
mod server {}

#[doc = include_str!("../../crates/store/README.md")]
mod store {}

#[doc = include_str!("../../crates/teams/README.md")]
mod teams {}

#[doc = include_str!("../../crates/terminal/README.md")]
mod terminal {}

#[doc = include_str!("../../crates/tokens/README.md")]
mod tokens {}

#[doc = include_str!("../../crates/tools/README.md")]
mod tools {}

#[doc = include_str!("../../crates/values/README.md")]
mod values {}

#[doc = include_str!("../../docs/explanation/coming-from.md")]
mod page_explanation_coming_from {}

#[doc = include_str!("../../docs/how-to/approvals.md")]
mod page_how_to_approvals {}

#[doc = include_str!("../../docs/how-to/embed.md")]
mod page_how_to_embed {}

#[doc = include_str!("../../docs/how-to/memory.md")]
mod page_how_to_memory {}

#[doc = include_str!("../../docs/tutorial.md")]
mod page_tutorial {}
