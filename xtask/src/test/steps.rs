//! The steps that are one cargo command or two. All native ones take the whole workspace in the release profile:
//! one set of features, one profile, and burn is compiled once.

use anyhow::{Result, bail};

use super::{Made, Outcome};
use crate::{browser, build, command, page, workspace};

pub fn fmt(_: &mut Made) -> Result<Outcome> {
    cargo(&["fmt", "--all", "--check"])
}

/// DESIGN's invariant: the page knows nothing of the engine, the runtime and the store.
pub fn gate(_: &mut Made) -> Result<Outcome> {
    let lock = std::fs::read_to_string(workspace::root().join("Cargo.lock"))?;
    for package in ["burn-core", "engine", "server", "tokio", "rusqlite"] {
        if !lock.contains(&format!("name = \"{package}\"")) {
            bail!("{package} is in no tree at all: was it renamed?");
        }
        let mut tree = command::cargo();
        tree.args(["tree", "--locked", "-p", "app", "--target", "wasm32-unknown-unknown", "--features", "hydrate"]);
        tree.args(["-e", "normal", "-i", package]).current_dir(workspace::root());
        let found = command::output(&mut tree)?;
        let (printed, said) = (String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&found.stderr));
        if !printed.trim().is_empty() {
            bail!("{package} reaches the page:\n{printed}");
        }
        // Silence proves nothing by itself: cargo must say that it looked and found none.
        if !said.contains("nothing to print") && !said.contains("did not match any packages") {
            bail!("cargo tree does not say whether {package} reaches the page:\n{said}");
        }
    }
    Ok(Outcome::Passed)
}

pub fn clippy(_: &mut Made) -> Result<Outcome> {
    cargo(&[
        "clippy",
        "--locked",
        "--release",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--benches",
        "--",
        "-D",
        "warnings",
    ])
}

pub fn clippy_page(_: &mut Made) -> Result<Outcome> {
    page::add_target()?;
    let arguments = [&["clippy", "--locked"], &page::CARGO_ARGUMENTS[..], &["--", "-D", "warnings"]].concat();
    cargo(&arguments)
}

pub fn tests(_: &mut Made) -> Result<Outcome> {
    cargo(&["test", "--locked", "--release", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])
}

pub fn page(_: &mut Made) -> Result<Outcome> {
    page::build()?;
    Ok(Outcome::Passed)
}

pub fn server(made: &mut Made) -> Result<Outcome> {
    made.server = Some(build::server()?);
    Ok(Outcome::Passed)
}

pub fn end2end(made: &mut Made) -> Result<Outcome> {
    if made.server.is_none() {
        // Asked for alone: what is built is brought up to date first.
        page::build()?;
        made.server = Some(build::server()?);
    }
    if let Some(server) = &made.server {
        browser::playwright(server, &[], &[])?;
    }
    Ok(Outcome::Passed)
}

/// `DOCS_RS` keeps the backend's build script from fetching LLVM, which only linking needs.
pub fn cuda(_: &mut Made) -> Result<Outcome> {
    let mut check = command::cargo();
    check.args(["check", "--locked", "--release", "-p", "engine", "--features", "cuda"]).current_dir(workspace::root());
    command::run(check.env("DOCS_RS", "1"))?;
    Ok(Outcome::Passed)
}

fn cargo(arguments: &[&str]) -> Result<Outcome> {
    command::run(command::cargo().args(arguments).current_dir(workspace::root()))?;
    Ok(Outcome::Passed)
}
