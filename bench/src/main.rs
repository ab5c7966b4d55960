//! The main program; see the library.

fn main() -> anyhow::Result<()> {
    brigade_bench::main()
}
