//! House rules that no other tool knows, over the files that git tracks and the workspace's manifests.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Made, Outcome};
use crate::{command, say, workspace};

/// A longer file needs a reason: a `//! Long because …` line in its header.
const MOST_LINES: usize = 500;

/// A killed process must lose nothing that was shown as saved, so raw writing is for these only.
const MAY_WRITE: &[&str] = &[
    "server/engine/src/artifact.rs", // the durable writes themselves
    "server/src/models/mod.rs",      // moves a downloaded file whose bytes are fsynced, then its folder
    "xtask/",                        // what it makes can be made again
];

/// A dependency and the only packages of ours that may name it.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("burn", &["engine"]),
    ("tokenizers", &["engine"]),
    ("rusqlite", &["server"]),
    ("tokio", &["server"]),
    ("axum", &["server"]),
    ("leptos", &["app", "server"]),
    ("engine", &["server"]),
    ("app", &["server"]),
];

pub fn check(_: &mut Made) -> Result<Outcome> {
    let mut problems = Vec::new();
    for file in tracked_files()? {
        let Ok(text) = fs::read_to_string(workspace::root().join(&file)) else { continue };
        problems.extend(in_file(&file, &text).into_iter().map(|problem| format!("{file}: {problem}")));
    }
    problems.extend(in_packages(&workspace::metadata(&["--no-deps"])?));
    for problem in &problems {
        say::problem(problem);
    }
    if !problems.is_empty() {
        bail!("{} breaches of the house rules", problems.len());
    }
    Ok(Outcome::Passed)
}

/// Tracked files, and new ones that are not ignored.
fn tracked_files() -> Result<Vec<String>> {
    let mut git = command::tool("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(workspace::root());
    Ok(command::stdout(&mut git).context("tidy asks git for the files")?.lines().map(str::to_owned).collect())
}

fn in_file(file: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let extension = Path::new(file).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if extension == "rs" {
        problems.extend(in_rust(file, text));
        problems.extend(raw_writes(file, text));
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(path) = machine_path(line) {
            problems.push(format!("line {} names a folder of one machine: {path}", number + 1));
        }
    }
    if file.ends_with("package-lock.json") && text.contains("\"resolved\"") {
        problems.push(
            "names the host that packages came from; npm's omit-lockfile-registry-resolved leaves it out".to_owned(),
        );
    }
    problems
}

fn in_rust(file: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    // A module's tests in a file of their own need no header: the module has one.
    if !text.starts_with("//!") && !file.ends_with("/tests.rs") {
        problems.push("does not open with `//!`: what it owns, and what it refuses to know".to_owned());
    }
    let lines = text.lines().count();
    if lines > MOST_LINES && !text.contains("//! Long because") {
        problems.push(format!(
            "{lines} lines, more than {MOST_LINES}: split it, or say `//! Long because …` in its header"
        ));
    }
    problems
}

/// Writes in the product's own code that a power cut can leave half done.
fn raw_writes(file: &str, text: &str) -> Vec<String> {
    let is_test = file.contains("/tests/") || file.ends_with("/tests.rs") || file.contains("/benches/");
    if is_test || MAY_WRITE.iter().any(|allowed| file.starts_with(allowed)) {
        return Vec::new();
    }
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    let raw = |line: &&str| ["fs::write(", "fs::rename(", "File::create("].iter().any(|call| line.contains(call));
    let told = |line: &str| format!("`{}` is not durable: use `engine::artifact`", line.trim());
    product.lines().filter(raw).map(told).collect()
}

/// The first word of the line that is a path into somebody's home.
fn machine_path(line: &str) -> Option<&str> {
    let homes = ["home", "root", "Users"].map(|home| format!("/{home}/"));
    let is_of_path = |character: char| character.is_alphanumeric() || "._-/~*<>{}".contains(character);
    let mut words = line.split(|character: char| !is_of_path(character));
    words.find(|word| homes.iter().any(|home| word.starts_with(home.as_str()) && word.len() > home.len()))
}

fn in_packages(metadata: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let (on, version) =
                (dependency["name"].as_str().unwrap_or_default(), dependency["req"].as_str().unwrap_or_default());
            let is_ours = dependency["path"].is_string();
            if !is_ours && !version.starts_with('=') {
                problems.push(format!("{name} asks for {on} {version}: pin it exactly (=x.y.z)"));
            }
            let allowed = ONLY_IN.iter().find(|(only, _)| *only == on).map(|(_, packages)| *packages);
            if allowed.is_some_and(|packages| !packages.contains(&name)) {
                problems.push(format!(
                    "{name} depends on {on}, which only {} may",
                    allowed.unwrap_or_default().join(" and ")
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_without_a_header_is_told() {
        assert_eq!(in_file("a.rs", "//! Owns a.\nfn a() {}\n"), Vec::<String>::new());
        assert_eq!(in_file("a.rs", "fn a() {}\n").len(), 1);
    }

    #[test]
    fn a_long_file_needs_a_reason() {
        let long = "// line\n".repeat(MOST_LINES + 1);
        assert_eq!(in_file("a.rs", &format!("//! Owns a.\n{long}")).len(), 1);
        assert_eq!(in_file("a.rs", &format!("//! Long because of tables.\n{long}")).len(), 0);
    }

    #[test]
    fn a_raw_write_is_found_save_in_tests_and_in_the_module_that_writes() {
        let write = "//! Owns a.\nfn a() { std::fs::write(path, text) }\n";
        assert_eq!(in_file("server/src/a.rs", write).len(), 1);
        assert_eq!(in_file("server/engine/src/artifact.rs", write).len(), 0);
        assert_eq!(
            in_file("server/src/a.rs", "//! Owns a.\n#[cfg(test)]\nmod tests { fn a() { std::fs::write(p, t) } }\n")
                .len(),
            0
        );
    }

    #[test]
    fn a_path_into_a_home_is_found_and_an_address_is_not() {
        let home = ["", "home", "ada", "models"].join("/");
        assert_eq!(machine_path(&format!("see `{home}`")), Some(home.as_str()));
        assert_eq!(machine_path("https://example.org/home/page, /r/TOKEN, server/src/root/mod.rs"), None);
    }

    #[test]
    fn pins_and_the_dependency_rule_are_checked() {
        let package = |name: &str, on: &str, version: &str| json!({"packages": [{"name": name, "dependencies": [{"name": on, "req": version, "path": null}]}]});
        assert!(in_packages(&package("engine", "burn", "=0.22.1")).is_empty());
        assert_eq!(in_packages(&package("engine", "burn", "^0.22.1")).len(), 1);
        assert_eq!(in_packages(&package("app", "burn", "=0.22.1")), ["app depends on burn, which only engine may"]);
    }
}
