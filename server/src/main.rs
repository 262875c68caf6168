//! The `backtranslate` program: see `backtranslate --help`.

#[global_allocator]
static ALLOCATOR: engine::memory::Allocator = engine::memory::ALLOCATOR;

fn main() -> std::process::ExitCode {
    engine::memory::keep_pages();
    server::cli::main()
}
