//! `cargo xtask build`: the page, then the server's binary, which has the page inside.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::{artifacts, command, page, say};

/// The server's binary, as it was built.
pub struct Server {
    pub binary: PathBuf,
}

/// Builds what is asked for; gives the server where it was.
pub fn build(with_page: bool, with_server: bool) -> Result<Option<Server>> {
    if with_page {
        page::build()?;
    }
    with_server.then(server).transpose()
}

/// One profile and one set of features with the tests, so that burn is compiled once.
pub fn server() -> Result<Server> {
    command::require("cc")?;
    say::doing("Building the server (the first time takes some ten minutes on two cores)");
    let started = Instant::now();
    let files = artifacts::build("server", &["--release", "-p", "server"])?;
    let binary = files.into_iter().find(|file| file.file_stem().is_some_and(|stem| stem == "backtranslate"));
    let binary = binary.context("cargo named no binary `backtranslate`")?;
    say::note(&format!("{} ({})", binary.display(), say::duration(started.elapsed())));
    Ok(Server { binary })
}
