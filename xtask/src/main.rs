//! The project's own commands: `cargo xtask <verb>`.
//!
//! Builds the page and the server, starts them, and runs every check. Knows the repository's layout and
//! the tools around it; knows nothing of the product's code.
#![expect(clippy::disallowed_methods, reason = "what this makes can be made again")]
#![forbid(unsafe_code)]

mod artifacts;
mod bench;
mod browser;
mod build;
mod command;
mod dist;
mod page;
mod say;
mod screenshots;
mod start;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, starts and checks backtranslate")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the page and the server, fetch the default model, and serve
    Start {
        /// Folder for experiments, models and results [default: the server's own]
        #[arg(long)]
        data: Option<PathBuf>,
        /// Address to serve on [default: 127.0.0.1:3000]
        #[arg(long)]
        listen: Option<String>,
    },
    /// Build the page (target/site) and the server (target/release/backtranslate)
    Build {
        /// Only the page: WebAssembly, style and static files
        #[arg(long, conflicts_with = "server_only")]
        page_only: bool,
        /// Only the server's binary
        #[arg(long)]
        server_only: bool,
    },
    /// Build the page and the server, and pack them into target/dist/backtranslate-VERSION-TARGET.tar.gz
    Dist,
    /// Run everything that CI runs, cheapest first
    Test {
        /// Only these steps (see --list)
        #[arg(long, value_name = "STEP", value_delimiter = ',')]
        only: Vec<String>,
        /// Say which steps there are
        #[arg(long)]
        list: bool,
    },
    /// Measure the engine's speed and memory, beside PyTorch and llama.cpp where they are set up
    Bench(bench::Bench),
    /// Take the README's picture into docs/images
    Screenshots {
        /// A base model that writes sense: a folder or a GGUF file [default: the tests' tiny model]
        #[arg(long)]
        model: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Start { data, listen } => start::start(data.as_deref(), listen.as_deref()),
        Verb::Build { page_only, server_only } => build::build(!server_only, !page_only).map(|_| ()),
        Verb::Dist => dist::dist(),
        Verb::Test { list: true, .. } => test::list(),
        Verb::Test { only, .. } => test::run(&only),
        Verb::Bench(options) => bench::bench(&options),
        Verb::Screenshots { model } => screenshots::take(model.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::problem(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
