//! The command line: verbs, their flags, and what each prints.
//!
//! With `--json` exactly one JSON object goes to stdout, whatever happens; progress and logs go to stderr.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use spec::AppError;

mod data;
mod experiment;
mod file_size;
mod flags;
mod follow;
mod generate;
mod interrupt;
mod model;
mod output;
mod progress;
mod run;
mod score;
mod serve;
mod train;

use output::Output;

type Result<T> = std::result::Result<T, AppError>;

const EXAMPLES: &str = "\
Examples:
  backtranslate serve                                    the notebook in a browser
  backtranslate run examples/quick-start.toml            the whole pipeline, without a browser
  backtranslate data inspect oasst1.messages.jsonl       what the pair rule would keep, and why not the rest
  backtranslate model inspect model/ --rank 16           parameters, and how many of them LoRA would train
  backtranslate train --model model/ --data pairs.jsonl -o trained/
  backtranslate generate --model model/ --adapter trained/adapter --pairs lima.jsonl -o written.jsonl
  backtranslate score written.jsonl

Every verb takes --json: one JSON object on stdout, errors too (with exit status 1; 2 where the command was wrong).";

#[derive(Debug, Parser)]
#[command(
    name = "backtranslate",
    version,
    about = "A notebook for instruction backtranslation: learn to write the instruction that a text answers",
    after_help = EXAMPLES,
    arg_required_else_help = true,
    max_term_width = 110
)]
struct Cli {
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve the notebook to a browser on this machine
    Serve(serve::Serve),
    /// Run an experiment file: data, train, generate, report
    Run(run::Run),
    /// Go on with a run that was stopped, failed or was cut off
    Resume(run::Resume),
    /// Look at conversation files, and turn them into pairs
    #[command(subcommand)]
    Data(data::Data),
    /// Fetch and look at base models
    #[command(subcommand)]
    Model(model::Model),
    /// Fine-tune a LoRA adapter that writes instructions
    Train(Box<train::Train>),
    /// Write instructions for responses, or continue a prompt
    Generate(generate::Generate),
    /// Score instructions: overlap, copying, diversity, failure tags
    Score(score::Score),
}

/// Parses the process's arguments, runs the verb, prints; the exit status.
pub fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let wants_json = arguments.iter().skip(1).take_while(|text| *text != "--").any(|text| text == "--json");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, wants_json),
    };
    start_log(matches!(cli.verb, Verb::Serve(_)));
    file_size::fail_writes_beyond_limit();
    let output = Output::new(cli.json);
    let outcome = match cli.verb {
        Verb::Serve(verb) => verb.run(&output),
        Verb::Run(verb) => verb.run(&output),
        Verb::Resume(verb) => verb.run(&output),
        Verb::Data(verb) => verb.run(&output),
        Verb::Model(verb) => verb.run(&output),
        Verb::Train(verb) => verb.run(&output),
        Verb::Generate(verb) => verb.run(&output),
        Verb::Score(verb) => verb.run(&output),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(1)
        }
    }
}

/// Help and version are answers; anything else is a wrong command.
fn usage(error: &clap::Error, wants_json: bool) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) || !wants_json {
        // A closed pipe is the reader's choice.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or(&text).trim().trim_start_matches("error: ");
    Output::new(true).error(&AppError::usage(message, "See --help for what this verb takes."));
    ExitCode::from(2)
}

/// To stderr; `RUST_LOG` chooses what, else warnings, and what a server does.
fn start_log(serving: bool) {
    use tracing_subscriber::EnvFilter;
    let default = if serving { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

/// The asynchronous side, for the verbs that have one: never fewer than four threads, so that one that is blocked
/// for a moment holds up nobody.
fn runtime() -> Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(4, |threads| threads.get().max(4));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        // Commands wait for each other anyway; more threads would only keep more memory.
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .map_err(|error| AppError::internal(format!("threads cannot be started: {error}"), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
