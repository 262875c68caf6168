//! The `backtranslate` program: see `backtranslate --help`.

#![forbid(unsafe_code)]

#[global_allocator]
static ALLOCATOR: engine::memory::Allocator = engine::memory::ALLOCATOR;

fn main() -> std::process::ExitCode {
    engine::memory::retain_pages();
    server::cli::main()
}
