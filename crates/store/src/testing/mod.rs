//! Contract checks for back ends of the store traits. Feature `testing`.

mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod recall;

pub use memory::memory_contract;
#[cfg(feature = "postgres")]
pub use postgres::postgres_database;
pub use recall::recall_contract;

/// The value; panics on an error.
#[expect(clippy::panic, reason = "a broken rule must fail the calling test")]
fn ok<T, E: std::error::Error>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}
