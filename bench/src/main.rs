//! The program that one starts: see the library.

fn main() -> anyhow::Result<()> {
    brigade_bench::main()
}
