//! Why an API cannot be set up.

use std::error::Error;

use brigade_store::StoreError;

/// An API cannot be set up from agents or a configuration.
///
/// A cause is in [`source`](Error::source); [`ErrorChain`](brigade_core::ErrorChain) prints the whole chain in one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// There is nothing to serve.
    #[error(
        "there are no agents; add one with `ApiBuilder::agent`, or to the configuration as `[agents.NAME]`, or try \
         `brigade init` or `brigade serve --demo`"
    )]
    NoAgents,
    /// A name or a setting cannot be used. The message says which one, and what to write instead.
    #[error("{0}")]
    Invalid(String),
    /// The store cannot be opened or read.
    #[error("{what}")]
    Store {
        /// What failed.
        what: String,
        /// The cause.
        #[source]
        source: StoreError,
    },
    /// An agent, a tool, a provider or a file cannot be used.
    #[error("{what}")]
    Part {
        /// The part that failed, and how.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Adds to an error which part of the setup failed.
pub(crate) trait SetupContext<T> {
    fn context(self, what: impl Into<String>) -> Result<T, SetupError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> SetupContext<T> for Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T, SetupError> {
        self.map_err(|error| SetupError::Part { what: what.into(), source: error.into() })
    }
}

impl SetupError {
    pub(crate) fn store(what: impl Into<String>) -> impl FnOnce(StoreError) -> Self {
        let what = what.into();
        |source| Self::Store { what, source }
    }

    /// The configuration was checked when it was read, so this is a bug.
    pub(crate) fn missing(what: &str) -> Self {
        Self::Invalid(format!("the configuration refers to {what} that it does not have"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use brigade_config::{KeyHash, Retention};
    use brigade_core::{
        Agent, ErrorChain,
        testing::{ScriptedModel, Turn},
        tool_fn,
    };

    use super::*;
    use crate::{Api, ApiBuilder, ApiKey, ServedAgent, Store};

    fn clerk() -> Agent {
        Agent::new("clerk", ScriptedModel::new([Turn::text("Done.")]))
    }

    async fn failure(builder: ApiBuilder) -> SetupError {
        builder.build().await.unwrap_err()
    }

    #[tokio::test]
    async fn a_library_user_can_tell_the_causes_of_a_failed_setup_apart() {
        let served = || Api::builder().agent(ServedAgent::new(clerk()));
        let tool = tool_fn("a b", "Adds.", |_: HashMap<String, String>, _| async { Ok("Done.".into()) });
        let invalid = Api::builder().agent(ServedAgent::new(clerk().tool(tool)));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "not a database, ".repeat(100)).unwrap();

        assert!(matches!(failure(Api::builder()).await, SetupError::NoAgents));
        let key = failure(served().key(ApiKey::new("local", KeyHash::of("brg_1")))).await;
        assert!(matches!(&key, SetupError::Invalid(message) if message.contains("`local`")), "{key}");
        let origin = failure(served().cors_origin("app.example")).await;
        assert!(matches!(&origin, SetupError::Invalid(message) if message.contains("app.example")), "{origin}");
        let agent = failure(invalid).await;
        assert!(matches!(agent, SetupError::Part { .. }));
        assert!(ErrorChain(&agent).to_string().starts_with("the agent clerk cannot run: `a b` cannot be the name"));
        let store = Store::open(&file, Retention::default()).await.unwrap_err();
        assert!(matches!(store, SetupError::Store { source: StoreError::Corrupt(_), .. }), "{store:?}");
    }
}
