//! `cargo xtask bench`: the engine's speed, beside PyTorch with PEFT and llama.cpp on the same work where they are set up.
//!
//! Ours and the peers alternate, each in a process of its own, and only medians of one run are compared. One JSON object per
//! row on stdout, then a table. What misses its figure is shown as missed.

mod peers;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{artifacts, command, say, workspace};
use peers::Peers;
use rows::{Peer, ROWS, Row};

#[derive(clap::Args)]
pub struct Bench {
    /// Only these rows (see --list)
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<String>,
    /// Say which rows there are
    #[arg(long)]
    list: bool,
    /// How often each side is run; medians are compared
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The base model: SmolLM2-135M
    #[arg(long, default_value = "data/models/smollm2-135m-instruct")]
    model: PathBuf,
    /// What some rows read: data/oasst1/ and data/lima/, and the peers' scripts in peers/
    #[arg(long, default_value = "../shared")]
    shared: PathBuf,
}

/// What a row's command lines are made of.
struct Setting {
    speed: PathBuf,
    model: PathBuf,
    shared: PathBuf,
    scratch: PathBuf,
}

pub fn bench(options: &Bench) -> Result<()> {
    if options.list {
        for row in ROWS {
            say::note(&format!("{:<14} {}", row.name, row.about));
        }
        return Ok(());
    }
    if let Some(unknown) = options.only.iter().find(|name| ROWS.iter().all(|row| row.name != name.as_str())) {
        bail!("there is no row `{unknown}`; `cargo xtask bench --list` names them");
    }
    let from_root = |path: &PathBuf| workspace::root().join(path);
    let setting = Setting {
        speed: build()?,
        model: from_root(&options.model),
        shared: from_root(&options.shared),
        scratch: workspace::root().join("target/bench"),
    };
    if !setting.model.exists() {
        bail!(
            "{} is not there; `backtranslate model fetch smollm2-135m-instruct --data data` gets it",
            setting.model.display()
        );
    }
    let peers = Peers::find(&setting.shared.join("peers"));
    if let Err(missing) = &peers {
        say::note(&format!("without peers: {missing}"));
    }
    let chosen: Vec<&Row> =
        ROWS.iter().filter(|row| options.only.is_empty() || options.only.iter().any(|name| name == row.name)).collect();
    let runs = run_all(&chosen, &setting, peers.as_ref().ok(), options.rounds.max(1))?;
    let mut lines = Vec::new();
    for row in chosen {
        let found = compare(row, &setting, &runs);
        say::json(&found);
        lines.push(line(&found));
    }
    say::doing("Rows (medians; a ratio compares one run's medians)");
    say::note(&format!("{:<14} {:>22} {:>26} {:>8} {:>8}  result", "row", "ours", "best peer", "ratio", "at least"));
    lines.iter().for_each(|line| say::note(line));
    Ok(())
}

fn build() -> Result<PathBuf> {
    say::doing("Building the engine's bench");
    let files = artifacts::build("engine", &["--release", "-p", "engine", "--bench", "speed"])?;
    files
        .into_iter()
        .find(|file| file.file_stem().is_some_and(|stem| stem.to_string_lossy().starts_with("speed")))
        .context("cargo named no bench `speed`")
}

/// Measurements by command line.
type Runs = BTreeMap<Vec<String>, Vec<Value>>;

/// Round by round, every row's commands by turns, ours and the peers'. What two rows ask for is run once a round.
fn run_all(rows: &[&Row], setting: &Setting, peers: Option<&Peers>, rounds: usize) -> Result<Runs> {
    let mut runs = Runs::new();
    for round in 0..rounds {
        let mut take = |line: Vec<String>, command: &mut Command| -> Result<()> {
            let known = runs.entry(line.clone()).or_default();
            if known.len() <= round {
                say::note(&format!("{}/{rounds} {}", round + 1, line.join(" ")));
                let found = run(command)?;
                say::note(&format!("    {found}"));
                known.push(found);
            }
            Ok(())
        };
        for row in rows.iter().filter(|row| round == 0 || !row.once) {
            let line = ours(row, setting);
            take(line.clone(), Command::new(&setting.speed).args(&line[1..]))?;
            let Some(peers) = peers else { continue };
            for peer in row.peers {
                take(theirs(peer, setting), &mut peers.command(peer.script, &(peer.arguments)(setting)))?;
            }
        }
    }
    Ok(runs)
}

fn ours(row: &Row, setting: &Setting) -> Vec<String> {
    [vec!["speed".to_owned()], (row.ours)(setting)].concat()
}

fn theirs(peer: &Peer, setting: &Setting) -> Vec<String> {
    [vec![peer.script.to_owned()], (peer.arguments)(setting)].concat()
}

fn compare(row: &Row, setting: &Setting, runs: &Runs) -> Value {
    let of = |line: &Vec<String>| runs.get(line).map_or(&[][..], Vec::as_slice);
    let ours = of(&ours(row, setting));
    let theirs: Vec<(&str, &[Value])> = row.peers.iter().map(|peer| (peer.name, of(&theirs(peer, setting)))).collect();
    let value = median(ours, row.figure);
    let best = theirs
        .iter()
        .filter(|(_, runs)| !runs.is_empty())
        .map(|(name, runs)| (*name, median(runs, row.peer_figure)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    let ratio = best.map(|(_, best)| value / best);
    // Rows without a peer are held to a figure of their own.
    let reached = if row.peers.is_empty() { Some(value) } else { ratio };
    let met =
        row.least.zip(reached).map(|(least, reached)| if row.lower { reached <= least } else { reached >= least });
    let by_name = |of: &dyn Fn(&[Value]) -> Value| -> serde_json::Map<String, Value> {
        theirs.iter().filter(|(_, runs)| !runs.is_empty()).map(|(name, runs)| ((*name).to_owned(), of(runs))).collect()
    };
    json!({
        "row": row.name,
        "figure": row.figure,
        "ours": value,
        "best_peer": best.map(|(name, value)| json!({ "name": name, "value": value })),
        "ratio": ratio,
        "least": row.least,
        "met": met,
        "peak_rss_mb": median(ours, "peak_rss_mb"),
        "peer_peak_rss_mb": by_name(&|runs| json!(median(runs, "peak_rss_mb"))),
        "runs": ours,
        "peer_runs": by_name(&|runs| json!(runs)),
    })
}

/// Runs quietly; the last line of its output is the measurement.
fn run(command: &mut Command) -> Result<Value> {
    let printed = command::stdout(command)?;
    let last = printed.lines().rfind(|line| line.starts_with('{')).context("no measurement was printed")?;
    Ok(with_decoding(serde_json::from_str(last).with_context(|| format!("not a measurement: {last}"))?))
}

/// A peer that tells its whole time and that of its prompts tells with them how fast it decoded: the first token of each row is drawn
/// from the prompt.
fn with_decoding(mut run: Value) -> Value {
    let number = |name: &str| run[name].as_f64();
    if let (Some(n), Some(new), Some(seconds), Some(prefill)) =
        (number("n"), number("new"), number("seconds"), number("prefill_s"))
    {
        run["decode_tokens_per_s"] = json!(n * (new - 1.0) / (seconds - prefill));
    }
    run
}

fn median(runs: &[Value], figure: &str) -> f64 {
    let mut values: Vec<f64> = runs.iter().filter_map(|run| run.pointer(&format!("/{figure}"))?.as_f64()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn line(found: &Value) -> String {
    let number = |value: &Value| value.as_f64().map_or("-".to_owned(), |value| format!("{value:.2}"));
    let peer = match &found["best_peer"] {
        Value::Null => "-".to_owned(),
        peer => format!("{} {}", peer["name"].as_str().unwrap_or_default(), number(&peer["value"])),
    };
    let result = match found["met"].as_bool() {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "measured",
    };
    let ours = format!("{} {}", found["figure"].as_str().unwrap_or_default(), number(&found["ours"]));
    format!(
        "{:<14} {ours:>22} {peer:>26} {:>8} {:>8}  {result}",
        found["row"].as_str().unwrap_or_default(),
        number(&found["ratio"]),
        number(&found["least"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_what_was_measured() {
        let runs = [json!({ "a": 3.0 }), json!({ "a": 1.0 }), json!({ "a": 2.0 }), json!({ "b": 9.0 })];
        assert_eq!(median(&runs, "a"), 2.0);
        assert!(median(&runs, "c").is_nan());
    }

    #[test]
    fn a_row_that_falls_short_says_so() {
        let found = json!({ "row": "decode", "figure": "tokens", "ours": 1.0, "met": false, "least": 2.0, "ratio": 0.5, "best_peer": null });
        assert!(line(&found).ends_with("MISSED"));
    }
}
