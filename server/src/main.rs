//! The `backtranslate` program: see `backtranslate --help`.

fn main() -> std::process::ExitCode {
    server::cli::main()
}
