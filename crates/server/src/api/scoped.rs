//! Callers with the scope that a route needs, extracted before the body, so that a refusal does not depend on it.

use axum::{extract::FromRequestParts, http::request::Parts};
use brigade_config::KeyScope;

use super::{ApiError, access::Caller};

/// Defines callers that have one of some scopes.
macro_rules! scoped {
    ($($(#[$doc:meta])* $name:ident: $($scope:ident),+;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(pub(crate) Caller);

        impl<S: Sync> FromRequestParts<S> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
                caller_with(&[$(KeyScope::$scope),+], parts).map(Self)
            }
        }
    )+};
}

scoped! {
    /// A caller that may start and cancel runs.
    Runner: Run;
    /// A caller that may read runs and their cost.
    Reader: Read;
    /// A caller that may see approvals.
    ApprovalReader: Approve, Read;
    /// A caller that may answer approvals. Which ones depends on their runs.
    ApprovalWriter: Approve;
}

fn caller_with(scopes: &[KeyScope], parts: &Parts) -> Result<Caller, ApiError> {
    let caller = parts.extensions.get::<Caller>().ok_or_else(|| ApiError::internal("the request has no caller"))?;
    let allowed = scopes.iter().map(|scope| caller.require(*scope)).reduce(Result::or);
    allowed.unwrap_or(Ok(())).map(|()| caller.clone())
}
