//! How a run goes, on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use spec::{RunEvent, StepPoint};

use super::output::{escaped, excerpt, note};

/// Shortest time between two plain lines of the same kind.
const INTERVAL: Duration = Duration::from_secs(2);

pub struct Progress {
    /// None: no terminal.
    bar: Option<ProgressBar>,
    /// Name of the cell, if there are several.
    label: String,
    phase: String,
    last_line: Option<Instant>,
    tokens_per_s: f64,
}

impl Progress {
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, label: String::new(), phase: String::new(), last_line: None, tokens_per_s: 0.0 }
    }

    /// What follows belongs to this cell.
    pub fn label(&mut self, label: &str) {
        if self.label != label {
            label.clone_into(&mut self.label);
            self.phase.clear();
        }
    }

    pub fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Phase { text } => self.phase(text),
            RunEvent::Warning { text } => self.line(text),
            RunEvent::Progress { done, total } => self.advance(*done, *total),
            RunEvent::Integrity { integrity } => self.line(&format!(
                "{} pairs: {} shortened, {} left out, {} targets cut; {} of {} tokens supervised",
                integrity.pairs,
                integrity.shortened,
                integrity.dropped,
                integrity.targets_cut,
                integrity.supervised_tokens,
                integrity.tokens
            )),
            RunEvent::Step { step } => self.step(step),
            RunEvent::Evaluation { step, loss, .. } => self.line(&format!("step {step}: validation loss {loss:.4}")),
            RunEvent::Checkpoint { name, .. } => self.line(&format!("saved {name}")),
            RunEvent::Sample { step, reference, generated, .. } => self.line(&format!(
                "step {step}: wrote \"{}\" for \"{}\"",
                excerpt(generated, 60),
                excerpt(reference, 60)
            )),
            RunEvent::Tokens { tokens_per_s, .. } => {
                self.tokens_per_s = *tokens_per_s;
                if let Some(bar) = &self.bar {
                    let message = format!("{}{}, {tokens_per_s:.0} tokens/s", self.prefix(), self.phase);
                    bar.set_message(escaped(&message).into_owned());
                }
            }
            RunEvent::Pair { .. } | RunEvent::State { .. } | RunEvent::Output { .. } => {}
        }
    }

    /// Bytes of a download, or anything else that is counted.
    pub fn count(&mut self, what: &str, done: u64, total: u64) {
        if self.phase != what {
            self.phase(what);
        }
        self.advance(done, total);
    }

    /// A line that stays, above the bar.
    pub fn line(&self, text: &str) {
        let text = format!("{}{text}", self.prefix());
        match &self.bar {
            Some(bar) => bar.suspend(|| note(&text)),
            None => note(&text),
        }
    }

    fn prefix(&self) -> String {
        if self.label.is_empty() { String::new() } else { format!("{}: ", self.label) }
    }

    fn phase(&mut self, text: &str) {
        text.clone_into(&mut self.phase);
        self.last_line = None;
        match &self.bar {
            Some(bar) => {
                bar.set_style(ProgressStyle::default_spinner());
                bar.set_message(escaped(&format!("{}{text}", self.prefix())).into_owned());
            }
            None => self.line(text),
        }
    }

    fn advance(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            let bytes = total > 10_000_000;
            bar.set_style(style(bytes));
            bar.set_length(total);
            bar.set_position(done);
        } else if self.due() && total > 0 {
            let percent = 100 * done.min(total) / total;
            let speed =
                if self.tokens_per_s > 0.0 { format!(", {:.0} tokens/s", self.tokens_per_s) } else { String::new() };
            self.line(&format!("{}: {percent} %{speed}", self.phase));
        }
    }

    fn step(&mut self, step: &StepPoint) {
        let text = format!(
            "step {}/{}, epoch {:.2}, loss {:.4}, lr {:.2e}, {:.0} tokens/s, {} left",
            step.step,
            step.steps,
            step.epoch,
            step.loss,
            step.learning_rate,
            step.tokens_per_s,
            duration(step.eta_s)
        );
        if let Some(bar) = &self.bar {
            bar.set_style(style(false));
            bar.set_length(u64::from(step.steps));
            bar.set_position(u64::from(step.step));
            bar.set_message(format!("{}{text}", self.prefix()));
        } else if step.step == 1 || step.step == step.steps || self.due() {
            self.line(&text);
        }
    }

    fn due(&mut self) -> bool {
        let due = self.last_line.is_none_or(|at| at.elapsed() >= INTERVAL);
        if due {
            self.last_line = Some(Instant::now());
        }
        due
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(bytes: bool) -> ProgressStyle {
    let template = if bytes { "[{bar:30}] {bytes}/{total_bytes} {msg}" } else { "[{bar:30}] {pos}/{len} {msg}" };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// `75` -> `1m 15s`
pub fn duration(seconds: f64) -> String {
    let whole = if seconds.is_finite() { seconds.max(0.0).round() as u64 } else { 0 };
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_like_a_clock() {
        assert_eq!([0.4, 75.0, 3_725.0, f64::NAN].map(duration), ["0s", "1m 15s", "1h 2m", "0s"]);
    }
}
