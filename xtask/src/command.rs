//! Running other programs: says what is run, and names a program that is missing together with the command that gets it.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::say;

/// How a missing program is got on a Debian-like machine.
fn remedy(program: &str) -> &'static str {
    match program {
        "rustup" | "cargo" => "see https://rustup.rs",
        "node" | "npm" | "npx" => "apt-get install nodejs npm",
        "python3" => "apt-get install python3 python3-pip",
        "cc" => "apt-get install build-essential",
        "git" => "apt-get install git",
        _ => "install it and make sure that it is in PATH",
    }
}

/// The cargo that runs us, so that the same toolchain does everything.
pub fn cargo() -> Command {
    let mut cargo = tool(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    // What cargo tells us of ourselves is not for the one that we run: ring's build script compares these, and would
    // be built again whenever cargo is run now from here and now by hand.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// A command that asks nothing: its stdin is closed.
pub fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs to the end with its output passed through; an exit status other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    say::note(&format!("$ {line}"));
    let status = command.status().map_err(|error| explain(command, &error))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs quietly and gives what it printed, whatever its exit status.
pub fn output(command: &mut Command) -> Result<Output> {
    command.output().map_err(|error| explain(command, &error))
}

/// Runs quietly and gives its stdout; an exit status other than 0 is an error that carries its stderr.
pub fn stdout(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}):\n{}",
            line_of(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something that is not text", line_of(command)))
}

/// Fails early, before minutes of building, where a program that is needed later is missing.
pub fn require(program: &str) -> Result<PathBuf> {
    find(program).ok_or_else(|| missing(program))
}

/// The program's path, as a shell would find it.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn explain(command: &Command, error: &std::io::Error) -> anyhow::Error {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if error.kind() == ErrorKind::NotFound {
        missing(&program)
    } else {
        anyhow!("`{}` did not start: {error}", line_of(command))
    }
}

fn missing(program: &str) -> anyhow::Error {
    anyhow!("`{program}` is needed and was not found. To get it: {}", remedy(program))
}

fn line_of(command: &Command) -> String {
    let mut words = vec![Path::new(command.get_program()).file_name().unwrap_or_default()];
    words.extend(command.get_args());
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_command_that_gets_it() {
        let error = explain(&Command::new("npm"), &std::io::Error::from(ErrorKind::NotFound)).to_string();
        assert_eq!(error, "`npm` is needed and was not found. To get it: apt-get install nodejs npm");
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let error = run(tool("false").arg("--x")).expect_err("`false` fails").to_string();
        assert!(error.starts_with("`false --x` failed"), "{error}");
    }
}
