//! `cargo build`, telling where its product went: cargo's own settings can put it anywhere.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{command, say, workspace};

/// Runs `cargo build` with `arguments` and gives the files that it made (or found fresh) for `package`.
pub fn build(package: &str, arguments: &[&str]) -> Result<Vec<PathBuf>> {
    say::note(&format!("$ cargo build {}", arguments.join(" ")));
    let mut child = cargo_build(arguments).spawn().context("cargo did not start")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let mut files = Vec::new();
    for line in BufReader::new(stdout).lines() {
        files.extend(files_in(&line?, package));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`cargo build {}` failed ({status})", arguments.join(" "));
    }
    Ok(files)
}

fn cargo_build(arguments: &[&str]) -> Command {
    let mut cargo = command::cargo();
    cargo.arg("build").args(arguments).args(["--locked", "--message-format", "json-render-diagnostics"]);
    cargo.current_dir(workspace::root()).stdout(Stdio::piped());
    cargo
}

/// The files that one line of cargo's JSON names for `package`.
fn files_in(line: &str, package: &str) -> Vec<PathBuf> {
    let Ok(message) = serde_json::from_str::<Value>(line) else { return Vec::new() };
    let of_package = message["package_id"].as_str().is_some_and(|id| id.contains(&format!("/{package}#")));
    if message["reason"] != "compiler-artifact" || !of_package {
        return Vec::new();
    }
    let libraries = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str).map(PathBuf::from);
    libraries.chain(message["executable"].as_str().map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_of_the_package_is_found() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///p/server#0.1.0","filenames":[],"executable":"/t/release/backtranslate"}"#;
        assert_eq!(files_in(line, "server"), [PathBuf::from("/t/release/backtranslate")]);
        assert!(files_in(line, "app").is_empty());
        assert!(files_in("not JSON", "server").is_empty());
    }
}
