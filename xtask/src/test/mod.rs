//! `cargo xtask test`: every check of the project, cheapest first, and the closing table.
//!
//! A step passes, fails, or is skipped with a reason that is printed; nothing is left out silently. A step that
//! fails does not hide the ones after it, except those that need what it makes.

mod deny;
mod steps;
mod tidy;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::build::Server;
use crate::say;

/// How a step that did not fail ended.
pub enum Outcome {
    Passed,
    /// Could not be done here: why.
    Skipped(String),
}

/// What later steps need of earlier ones.
#[derive(Default)]
pub struct Made {
    server: Option<Server>,
}

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&mut Made) -> Result<Outcome>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", about: "Formatting", run: steps::fmt },
    Step { name: "tidy", about: "No file names a folder or a host of one machine", run: tidy::check },
    Step {
        name: "gate",
        about: "Dependencies that must not reach the page, the engine or the vocabulary",
        run: steps::gate,
    },
    Step {
        name: "deny",
        about: "Licences, sources and bans of all dependencies, and who may depend on whom (cargo-deny)",
        run: deny::check,
    },
    Step { name: "advisories", about: "Known vulnerabilities of dependencies (cargo-deny)", run: deny::advisories },
    Step { name: "clippy", about: "Lints of everything native", run: steps::clippy },
    Step { name: "clippy-page", about: "Lints of the page as WebAssembly", run: steps::clippy_page },
    // Before the first build of the server, which has the page inside: it is compiled once.
    Step { name: "page", about: "The page's build", run: steps::page },
    Step { name: "tests", about: "Unit and integration tests", run: steps::tests },
    Step { name: "server", about: "The server's build", run: steps::server },
    Step { name: "dist", about: "The archive: unpacked and served from an empty folder", run: steps::dist },
    Step { name: "end2end", about: "Playwright, in a real browser against the built server", run: steps::end2end },
    Step { name: "cuda", about: "Type check with the cuda backend (it cannot link everywhere)", run: steps::cuda },
];

enum Ended {
    Passed,
    Skipped(String),
    Failed,
}

pub fn list() -> Result<()> {
    for step in STEPS {
        say::note(&format!("{:<12} {}", step.name, step.about));
    }
    Ok(())
}

/// Runs the steps that `only` names; all where it is empty.
pub fn run(only: &[String]) -> Result<()> {
    if let Some(unknown) = only.iter().find(|name| STEPS.iter().all(|step| step.name != name.as_str())) {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        bail!("there is no step `{unknown}`; the steps are: {}", names.join(", "));
    }
    let started = Instant::now();
    let mut made = Made::default();
    let mut ended = Vec::new();
    for step in STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| name == step.name)) {
        say::doing(&format!("{}: {}", step.name, step.about));
        let began = Instant::now();
        let how = match (step.run)(&mut made) {
            Ok(Outcome::Passed) => Ended::Passed,
            Ok(Outcome::Skipped(why)) => {
                say::note(&format!("skipped: {why}"));
                Ended::Skipped(why)
            }
            Err(error) => {
                say::problem(&format!("{}: {error:#}", step.name));
                Ended::Failed
            }
        };
        ended.push((step.name, how, began.elapsed()));
    }
    close(&ended, started.elapsed())
}

/// The closing table. Fails where a step did.
fn close(ended: &[(&str, Ended, Duration)], total: Duration) -> Result<()> {
    say::doing("Steps");
    for (name, how, time) in ended {
        let word = match how {
            Ended::Passed => "passed".to_owned(),
            Ended::Skipped(why) => format!("skipped: {why}"),
            Ended::Failed => "FAILED".to_owned(),
        };
        say::note(&format!("{name:<12} {:>12}  {word}", say::duration(*time)));
    }
    let count = |is: fn(&Ended) -> bool| ended.iter().filter(|(_, how, _)| is(how)).count();
    let failed = count(|how| matches!(how, Ended::Failed));
    let skipped = count(|how| matches!(how, Ended::Skipped(_)));
    let passed = count(|how| matches!(how, Ended::Passed));
    say::doing(&format!("{passed} passed, {failed} failed, {skipped} skipped in {}", say::duration(total)));
    if failed > 0 {
        bail!("{failed} of {} steps failed", ended.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_whole() {
        assert!(close(&[("fmt", Ended::Passed, Duration::ZERO)], Duration::ZERO).is_ok());
        assert!(
            close(&[("fmt", Ended::Failed, Duration::ZERO), ("tidy", Ended::Passed, Duration::ZERO)], Duration::ZERO)
                .is_err()
        );
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_known_ones() {
        let error = run(&["lint".to_owned()]).expect_err("there is no such step").to_string();
        assert!(error.starts_with("there is no step `lint`; the steps are: fmt, tidy"), "{error}");
    }
}
