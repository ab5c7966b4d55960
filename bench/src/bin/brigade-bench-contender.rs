//! The program that is measured; see the library.

fn main() -> anyhow::Result<()> {
    brigade_bench::contender()
}
