//! The command line: commands, their flags, and what each prints.
//!
//! With `--json` exactly one JSON object goes to stdout, whatever happens; progress and logs go to stderr.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use spec::AppError;

mod data;
mod experiment;
mod export;
mod file_size;
mod files;
mod flags;
mod follow;
mod generate;
mod interrupt;
mod model;
mod output;
mod progress;
mod replay;
mod report;
mod run;
mod score;
mod serve;
mod summary;
mod train;

use output::Output;

type Result<T> = std::result::Result<T, AppError>;

const EXAMPLES: &str = "\
Examples:
  backtranslate serve                                    the notebook in a browser
  backtranslate run examples/quick-start.toml            the whole pipeline, without a browser
  backtranslate data inspect oasst1.messages.jsonl       what the pair rule keeps, and why the rest is dropped
  backtranslate model inspect model/ --rank 16           parameters, and how many of them LoRA trains
  backtranslate train --model model/ --data pairs.jsonl -o trained/
  backtranslate generate --model model/ --adapter trained/adapter --pairs lima.jsonl -o written.jsonl
  backtranslate score written.jsonl
  backtranslate export 4 --rows alpaca --kept -o kept.jsonl
  backtranslate report 5 --html report.html              a report of run 5 as one file that opens without a server

Every command takes --json: one JSON object on stdout, errors too. Exit status: 0 done, 1 failed or stopped, 2 wrong usage.";

#[derive(Debug, Parser)]
#[command(
    name = "backtranslate",
    version,
    about = "A notebook for instruction backtranslation: train a model that writes the instruction which a text answers",
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
    /// Serve the notebook to a browser
    Serve(serve::Serve),
    /// Run an experiment file: data, model, train, generate, report
    Run(run::Run),
    /// Resume a run that was stopped, failed or interrupted
    Resume(run::Resume),
    /// Generate the pairs of a run anew, and say whether they are the same
    Replay(replay::Replay),
    /// Inspect conversation files and turn them into pairs
    #[command(subcommand)]
    Data(data::Data),
    /// Download and inspect base models
    #[command(subcommand)]
    Model(model::Model),
    /// Train a LoRA adapter that generates instructions
    Train(Box<train::Train>),
    /// Generate instructions for responses, or continue a prompt
    Generate(generate::Generate),
    /// Write a report as one HTML file, or check the hash of a report.json
    Report(report::Report),
    /// Score instructions: overlap, copying, diversity, failure tags
    Score(score::Score),
    /// List the runs of a data folder
    Runs(export::Runs),
    /// Write the pairs of a run to a file or as a dataset
    Export(export::Export),
}

/// Parses the arguments, runs the command, prints; the exit status.
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
    let done = |()| ExitCode::SUCCESS;
    let outcome = match cli.verb {
        Verb::Serve(verb) => verb.run(&output).map(done),
        Verb::Run(verb) => verb.run(&output).map(done),
        Verb::Resume(verb) => verb.run(&output).map(done),
        Verb::Replay(verb) => verb.run(&output).map(|same| if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Verb::Data(verb) => verb.run(&output).map(done),
        Verb::Model(verb) => verb.run(&output).map(done),
        Verb::Train(verb) => verb.run(&output).map(done),
        Verb::Generate(verb) => verb.run(&output),
        Verb::Report(verb) => verb.run(&output).map(done),
        Verb::Score(verb) => verb.run(&output).map(done),
        Verb::Runs(verb) => verb.run(&output).map(done),
        Verb::Export(verb) => verb.run(&output).map(done),
    };
    outcome.unwrap_or_else(|error| {
        output.error(&error);
        ExitCode::FAILURE
    })
}

/// Help and version are answers; anything else is a wrong command.
fn usage(error: &clap::Error, wants_json: bool) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) || !wants_json {
        // The message repeats the arguments. A closed pipe is the reader's choice.
        if std::env::args_os()
            .any(|argument| output::escaped(&argument.to_string_lossy()) != argument.to_string_lossy())
        {
            error.render().to_string().lines().for_each(output::note);
        } else {
            let _ = error.print();
        }
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or(&text).trim().trim_start_matches("error: ");
    Output::new(true).error(&AppError::usage(message, "See --help for the flags of this command."));
    ExitCode::from(2)
}

/// To stderr; `RUST_LOG` chooses what, else warnings, and what a server does.
fn start_log(serving: bool) {
    use tracing_subscriber::EnvFilter;
    let default = if serving { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        // A terminal that is gone must not end a server: without this, a line that cannot be written panics.
        .log_internal_errors(false)
        .init();
}

/// For the commands that need one. At least four threads, so that one that blocks for a moment delays nobody.
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
