//! The steps that are one cargo command or two. All native ones take the whole workspace in the release profile:
//! one set of features, one profile, and burn is compiled once.

use anyhow::{Result, bail};

use super::{Made, Outcome};
use crate::build::Server;
use crate::{browser, build, command, dist, page, workspace};

pub fn fmt(_: &mut Made) -> Result<Outcome> {
    cargo(&["fmt", "--all", "--check"])
}

/// A package of ours, how it is looked at, and packages that must not be among its dependencies.
type Wall = (&'static str, &'static [&'static str], &'static [&'static str]);

const WALLS: &[Wall] = &[
    (
        "app",
        &["--target", "wasm32-unknown-unknown", "--features", "hydrate"],
        &["burn-core", "engine", "kernels", "server", "tokio", "rusqlite"],
    ),
    ("engine", &[], &["tokio", "axum", "hyper", "leptos", "rusqlite", "app"]),
    ("kernels", &[], &["burn-core", "engine", "spec"]),
    ("spec", &[], &["burn-core", "leptos", "server_fn", "tokio", "serde_json"]),
];

/// Who must not know of what, over all indirect dependencies. Direct ones are in deny.toml.
pub fn gate(_: &mut Made) -> Result<Outcome> {
    let lock = std::fs::read_to_string(workspace::root().join("Cargo.lock"))?;
    for (ours, options, banned) in WALLS {
        for package in *banned {
            if !lock.contains(&format!("name = \"{package}\"")) {
                bail!("{package} is not in Cargo.lock at all: was it renamed?");
            }
            let mut tree = command::cargo();
            tree.args(["tree", "--locked", "-p", ours]).args(*options).args(["-e", "normal", "-i", package]);
            let found = command::output(tree.current_dir(workspace::root()))?;
            let (printed, said) = (String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&found.stderr));
            if !printed.trim().is_empty() {
                bail!("{ours} depends on {package}:\n{printed}");
            }
            // An empty answer proves nothing by itself: cargo must say that it looked and found none.
            if !said.contains("nothing to print") && !said.contains("did not match any packages") {
                bail!("cargo tree does not say whether {ours} depends on {package}:\n{said}");
            }
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

pub fn dist(made: &mut Made) -> Result<Outcome> {
    dist::try_out(&dist::archive(built(made)?)?)?;
    Ok(Outcome::Passed)
}

pub fn end2end(made: &mut Made) -> Result<Outcome> {
    browser::playwright(built(made)?, &[], &[])?;
    Ok(Outcome::Passed)
}

/// The server of an earlier step. If this step was asked for alone, what is built is brought up to date first.
fn built(made: &mut Made) -> Result<&Server> {
    match &mut made.server {
        Some(server) => Ok(server),
        none => {
            page::build()?;
            Ok(none.insert(build::server()?))
        }
    }
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
