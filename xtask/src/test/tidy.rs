//! What no lint checks: that no tracked file names a folder of somebody's machine or the host that packages came from.

use std::fs;

use anyhow::{Context, Result, bail};

use super::{Made, Outcome};
use crate::{command, say, workspace};

pub fn check(_: &mut Made) -> Result<Outcome> {
    let mut found = 0;
    for file in tracked_files()? {
        let Ok(text) = fs::read_to_string(workspace::root().join(&file)) else { continue };
        for problem in problems(&file, &text) {
            say::problem(&format!("{file}: {problem}"));
            found += 1;
        }
    }
    if found > 0 {
        bail!("{found} places name a machine");
    }
    Ok(Outcome::Passed)
}

/// Tracked files, and new ones that are not ignored.
fn tracked_files() -> Result<Vec<String>> {
    let mut git = command::tool("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(workspace::root());
    Ok(command::stdout(&mut git).context("git lists the files to check")?.lines().map(str::to_owned).collect())
}

fn problems(file: &str, text: &str) -> Vec<String> {
    let paths = text.lines().enumerate().filter_map(|(line, text)| Some((line + 1, machine_path(text)?)));
    let mut problems: Vec<String> = paths.map(|(line, path)| format!("line {line} names the path {path}")).collect();
    if file.ends_with("package-lock.json") && text.contains("\"resolved\"") {
        problems.push(
            "names the host of the packages; `npm install --omit-lockfile-registry-resolved` leaves it out".to_owned(),
        );
    }
    problems
}

/// The first word of the line that is a path into somebody's home.
fn machine_path(line: &str) -> Option<&str> {
    let homes = ["home", "root", "Users"].map(|home| format!("/{home}/"));
    let is_of_path = |character: char| character.is_alphanumeric() || "._-/~*<>{}".contains(character);
    let mut words = line.split(|character: char| !is_of_path(character));
    words.find(|word| homes.iter().any(|home| word.starts_with(home.as_str()) && word.len() > home.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_into_a_home_is_found_and_an_address_is_not() {
        let home = ["", "home", "ada", "models"].join("/");
        assert_eq!(machine_path(&format!("see `{home}`")), Some(home.as_str()));
        assert_eq!(machine_path("https://example.org/home/page, /r/TOKEN, server/src/root/mod.rs"), None);
    }

    #[test]
    fn a_lock_file_that_names_a_host_is_found() {
        assert_eq!(problems("end2end/package-lock.json", "{\"resolved\": \"https://host.example\"}").len(), 1);
        assert_eq!(problems("end2end/package-lock.json", "{}").len(), 0);
    }
}
