//! Where the programs are that we are timed against: Python scripts of the shared folder, in an environment that their own
//! set-up script makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

pub struct Peers {
    scripts: PathBuf,
    python: PathBuf,
}

impl Peers {
    pub fn find(scripts: &Path) -> Result<Self> {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let folder = std::env::var_os("PEERS_DIR").map_or_else(|| home.join(".cache/peers"), PathBuf::from);
        let found = Self { scripts: scripts.to_owned(), python: folder.join("venv/bin/python") };
        if !found.scripts.is_dir() {
            bail!("{} is not there", found.scripts.display());
        }
        if !found.python.is_file() {
            bail!("they are not set up; {} does it", found.scripts.join("setup.sh").display());
        }
        Ok(found)
    }

    pub fn command(&self, script: &str, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(script)).args(arguments);
        command
    }
}
