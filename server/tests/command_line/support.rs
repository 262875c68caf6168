//! Runs the binary and finds the files that tests need.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The one JSON object on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {:?}\n{}", self.stdout, self.stderr))
    }

    /// As [`Self::json`], of a run that must have succeeded.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 0, "{}\n{}", self.stdout, self.stderr);
        self.json()
    }

    /// The message about a command line that must have been refused.
    pub fn usage(&self) -> String {
        assert_eq!(self.status, 2, "{}\n{}", self.stdout, self.stderr);
        let error = self.json()["error"].clone();
        assert_eq!(error["code"], "usage", "{error}");
        error["message"].as_str().unwrap().to_owned()
    }

    /// The error object of a run that must have failed with this code.
    pub fn error(&self, code: &str) -> Value {
        assert_eq!(self.status, 1, "{}\n{}", self.stdout, self.stderr);
        let error = self.json()["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        error
    }
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backtranslate"));
    command.env_remove("RUST_LOG").env_remove("HF_ENDPOINT").env_remove("HF_TOKEN");
    command
}

/// Runs with `--json`.
pub fn json(arguments: &[&str]) -> Ran {
    finish(command().arg("--json").args(arguments).output().unwrap())
}

pub fn plain(arguments: &[&str]) -> Ran {
    finish(command().args(arguments).output().unwrap())
}

pub fn finish(output: Output) -> Ran {
    Ran {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Sends a signal by its name, as `kill` knows it.
#[cfg(unix)]
pub fn signal(child: &std::process::Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Started with SIGHUP ignored, as under `nohup`: then so are our children.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    let ignored = u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1;
    if ignored {
        println!("skipped: SIGHUP is ignored here");
    }
    ignored
}

/// A folder with files in it.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self.path(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }
}

pub fn tiny_llama() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/tests/fixtures/tiny-llama");
    folder.to_str().unwrap().to_owned()
}

/// A file of the data that is kept beside the repository, where there is any; strangers have none.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub fn shared(path: &str) -> Option<String> {
    let found: Option<PathBuf> = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data").join(path))
        .find(|candidate| candidate.exists());
    if found.is_none() {
        println!("skipped: {path} is not here");
    }
    found.and_then(|path| path.to_str().map(str::to_owned))
}

/// Pairs enough to train on for a few steps.
pub fn pairs(count: usize) -> String {
    (0..count)
        .map(|at| {
            let pair = serde_json::json!({
                "instruction": format!("Name the number that follows {at} when one counts upwards."),
                "response": format!("When one counts upwards from {at}, the number that follows is {}.", at + 1),
                "tree": format!("tree-{at}"),
            });
            format!("{pair}\n")
        })
        .collect()
}
