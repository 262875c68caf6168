//! What Playwright needs: its npm packages from the lock file, and a Chromium.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::build::Server;
use crate::{command, say, workspace};

/// Runs Playwright with `arguments` on the built server.
pub fn playwright(server: &Server, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let folder = workspace::root().join("end2end");
    install_packages(&folder)?;
    // Types first: seconds, where a test would fail after minutes.
    command::run(command::tool("npx").args(["--no-install", "tsc", "--noEmit"]).current_dir(&folder))?;
    let chromium = chromium()?;
    say::note(&format!("Chromium: {}", chromium.display()));
    let mut npx = command::tool("npx");
    npx.args(["--no-install", "playwright", "test"]).args(arguments).current_dir(&folder);
    npx.env("BACKTRANSLATE", &server.binary).env("CHROMIUM", chromium);
    npx.envs(environment.iter().copied());
    command::run(&mut npx)
}

/// `npm ci`, where the lock file is newer than what is installed.
pub fn install_packages(folder: &Path) -> Result<()> {
    command::require("node")?;
    let changed = |file: &str| folder.join(file).metadata().and_then(|metadata| metadata.modified());
    let locked = changed("package-lock.json").context("end2end/package-lock.json is missing")?;
    if changed("node_modules/.package-lock.json").is_ok_and(|installed| installed >= locked) {
        return Ok(());
    }
    say::doing("Installing end2end's npm packages");
    let mut npm = command::tool("npm");
    npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder);
    command::run(npm.env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1"))
}

/// The one that `CHROMIUM` names, an installed one, or Debian's, which root installs here.
pub fn chromium() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!("CHROMIUM names {}, which is not there", named.display());
        }
        return Ok(named);
    }
    if let Some(installed) = installed_chromium() {
        return Ok(installed);
    }
    if !is_root() || command::find("apt-get").is_none() {
        bail!(
            "Chromium is needed and was not found. To get it: apt-get install chromium (as root), or set CHROMIUM=/path/to/it"
        );
    }
    say::doing("Installing Debian's Chromium");
    let apt = |arguments: &[&str]| {
        command::run(command::tool("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "-qq"])?;
    apt(&["install", "-y", "-qq", "--no-install-recommends", "chromium"])?;
    installed_chromium().context("apt-get installed chromium, and yet there is none in PATH")
}

fn installed_chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].into_iter().find_map(command::find)
}

fn is_root() -> bool {
    command::stdout(command::tool("id").arg("-u")).is_ok_and(|user| user.trim() == "0")
}
