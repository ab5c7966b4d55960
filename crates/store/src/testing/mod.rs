//! Contract checks: what every back end of the store traits must do. Feature `testing`.

mod memory;
mod recall;

pub use memory::memory_contract;
pub use recall::recall_contract;

/// The value, or a failed test.
#[expect(clippy::panic, reason = "a broken rule has to fail the test that called")]
fn ok<T, E: std::error::Error>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}
