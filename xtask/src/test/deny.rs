//! cargo-deny: licences, sources, bans, advisories. Comes by itself: built once into the target folder.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{Made, Outcome};
use crate::{command, say, workspace};

const VERSION: &str = "0.20.2";
/// Where the advisories are published.
const DATABASE: &str = "https://github.com/rustsec/advisory-db";

pub fn check(_: &mut Made) -> Result<Outcome> {
    command::run(
        deny()?.args(["--log-level", "error", "check", "bans", "licenses", "sources"]).current_dir(workspace::root()),
    )?;
    Ok(Outcome::Passed)
}

/// Runs where the database can be fetched; a machine without the network cannot know today's advisories.
pub fn advisories(_: &mut Made) -> Result<Outcome> {
    command::require("git")?;
    let mut probe = command::tool("git");
    probe.args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=20", "ls-remote", "--quiet", DATABASE, "HEAD"]);
    if !command::output(probe.env("GIT_TERMINAL_PROMPT", "0"))?.status.success() {
        return Ok(Outcome::Skipped(format!("{DATABASE} cannot be reached from here")));
    }
    command::run(deny()?.args(["check", "advisories"]).current_dir(workspace::root()))?;
    Ok(Outcome::Passed)
}

/// The installed cargo-deny of our version, else ours.
fn deny() -> Result<std::process::Command> {
    let program = program()?;
    Ok(command::tool(&program.to_string_lossy()))
}

fn program() -> Result<PathBuf> {
    let tools = workspace::target()?.join("tools");
    let ours = tools.join("bin/cargo-deny");
    for candidate in [command::find("cargo-deny"), Some(ours.clone())].into_iter().flatten() {
        let version = command::stdout(command::tool(&candidate.to_string_lossy()).arg("--version")).unwrap_or_default();
        if version.trim() == format!("cargo-deny {VERSION}") {
            return Ok(candidate);
        }
    }
    say::doing(&format!("Building cargo-deny {VERSION} into {} (two minutes, once)", tools.display()));
    let mut install = command::cargo();
    install
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--debug", "--quiet", "--root"])
        .arg(&tools);
    // Apart from our own build: a shared folder would mix its profile with ours.
    command::run(install.arg("--target-dir").arg(tools.join("build")).current_dir(workspace::root()))?;
    std::fs::remove_dir_all(tools.join("build"))?;
    if !ours.is_file() {
        bail!("cargo install made no {}", ours.display());
    }
    Ok(ours)
}
