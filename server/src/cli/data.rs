//! `data inspect` and `data prepare`: which pairs a rule makes of a file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use spec::{AppError, DataConfig, MalformedRow};

use super::Result;
use super::files::check_output;
use super::flags::RuleFlags;
use super::output::{Output, Text, grouped};
use crate::adapter;

#[derive(Debug, Subcommand)]
pub enum Data {
    /// Count the pairs that a rule keeps, and what it drops for which reason
    #[command(after_help = FORMATS)]
    Inspect(Inspect),
    /// Write the pairs that a rule keeps as JSONL
    #[command(after_help = FORMATS)]
    Prepare(Prepare),
}

const FORMATS: &str = "\
Files: OASST1 as flat messages or as trees, LIMA, rows of {\"instruction\", \"response\"}, or Alpaca-form JSON; each may be .gz.
A row that cannot be read is counted and shown; the others are kept.

Examples:
  backtranslate data inspect oasst1.messages.jsonl --rule rank0
  backtranslate data inspect oasst1.messages.jsonl --rule seed --quality-above 0.8
  backtranslate data prepare oasst1.trees.jsonl.gz --rule first-turn -o seed.jsonl";

#[derive(Debug, Args)]
pub struct Inspect {
    /// The file of conversations or pairs
    file: PathBuf,
    #[command(flatten)]
    rule: RuleFlags,
}

#[derive(Debug, Args)]
pub struct Prepare {
    /// The file of conversations or pairs
    file: PathBuf,
    /// File for the pairs, one JSON object per line
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    rule: RuleFlags,
}

impl Data {
    pub fn run(&self, output: &Output) -> Result<()> {
        let (file, rule, target) = match self {
            Self::Inspect(verb) => (&verb.file, &verb.rule, None),
            Self::Prepare(verb) => (&verb.file, &verb.rule, Some(&verb.output)),
        };
        if let Some(target) = target {
            check_output(target)?;
        }
        let config = rule.config()?;
        let prepared = engine::data::prepare(file, adapter::format(config.format), &adapter::pair_rule(&config))
            .map_err(adapter::error)?;
        if let Some(target) = target {
            if prepared.pairs.is_empty() {
                return Err(AppError::empty(
                    format!("the pair rule keeps no pair of {}; nothing was written", file.display()),
                    "Loosen the rule: `data inspect` shows what is dropped for which reason.",
                ));
            }
            engine::data::write_pairs(target, &prepared.pairs).map_err(adapter::error)?;
        }
        let name = rule.rule.unwrap_or_default().name();
        let answer = json!({
            "file": file,
            "output": target,
            "format": prepared.format.as_str(),
            "rule": rule_json(name, &config),
            "rows": prepared.rows,
            "pairs": prepared.pairs.len(),
            "first_turn_pairs": prepared.first_turn_pairs,
            "dropped": prepared.dropped,
            "malformed_count": prepared.malformed_count,
            "malformed": prepared.malformed,
            "sha256": prepared.sha256,
        });
        output.answer(&answer, |text| {
            text.field("file", file.display());
            text.field("format", prepared.format.as_str());
            text.field("rule", name);
            text.field("rows", grouped(prepared.rows));
            text.field("pairs", grouped(prepared.pairs.len() as u64));
            text.field("of them first turns", grouped(prepared.first_turn_pairs));
            left_out(text, &prepared.dropped, prepared.malformed_count, &prepared.malformed);
            if let Some(target) = target {
                text.field("written to", target.display());
            }
        })
    }
}

/// Rows that were not used, with their reasons.
pub fn left_out(
    text: &mut Text,
    dropped: &BTreeMap<&'static str, u64>,
    malformed_count: u64,
    malformed: &[MalformedRow],
) {
    for (reason, count) in dropped.iter().filter(|(_, count)| **count > 0) {
        text.field("dropped", format_args!("{} {reason}", grouped(*count)));
    }
    if malformed_count > 0 {
        text.field("malformed rows", grouped(malformed_count));
        for row in malformed {
            text.line(format_args!("  line {}: {}: {}", row.line, row.field, row.problem));
        }
    }
}

fn rule_json(name: &str, config: &DataConfig) -> serde_json::Value {
    json!({
        "name": name,
        "language": config.language,
        "best_reply_only": config.best_reply_only,
        "quality_above": config.quality_above,
        "words_above": config.words_above,
        "turns": config.turns,
        "limit": config.limit,
    })
}
