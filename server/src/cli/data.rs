//! `data inspect` and `data prepare`: what the pair rule makes of a file.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use spec::{AppError, DataConfig};

use super::Result;
use super::flags::RuleFlags;
use super::output::{Output, Text, grouped};
use crate::adapter;

#[derive(Debug, Subcommand)]
pub enum Data {
    /// Count what a rule keeps of a file, and what it drops for which reason
    #[command(after_help = FORMATS)]
    Inspect(Inspect),
    /// Write the pairs that a rule keeps, as JSONL
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
    /// Where the pairs go, one JSON object per line
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
        let config = rule.config()?;
        let prepared = engine::data::prepare(file, adapter::format(config.format), &adapter::pair_rule(&config))
            .map_err(adapter::error)?;
        if let Some(target) = target {
            if prepared.pairs.is_empty() {
                return Err(AppError::empty(
                    format!("no pairs of {} are left after the pair rule; nothing was written", file.display()),
                    "Loosen the rule: `data inspect` shows what is dropped for which reason.",
                ));
            }
            engine::data::write_pairs(target, &prepared.pairs).map_err(adapter::error)?;
        }
        let name = rule.rule.unwrap_or_default().name();
        let malformed = adapter::malformed(prepared.malformed);
        let answer = json!({
            "file": file,
            "output": target,
            "format": adapter::format_name(prepared.format),
            "rule": rule_json(name, &config),
            "rows": prepared.rows,
            "pairs": prepared.pairs.len(),
            "first_turn_pairs": prepared.first_turn_pairs,
            "dropped": prepared.dropped,
            "malformed_count": prepared.malformed_count,
            "malformed": malformed,
            "sha256": prepared.sha256,
        });
        output.answer(&answer, |text| {
            text.field("file", file.display());
            text.field("format", adapter::format_name(prepared.format));
            text.field("rule", name);
            text.field("rows", grouped(prepared.rows));
            text.field("pairs", grouped(prepared.pairs.len() as u64));
            text.field("of them first turns", grouped(prepared.first_turn_pairs));
            dropped(text, &prepared.dropped);
            if prepared.malformed_count > 0 {
                text.field("rows that are malformed", grouped(prepared.malformed_count));
                for row in &malformed {
                    text.line(format_args!("  line {}: {}: {}", row.line, row.field, row.problem));
                }
            }
            if let Some(target) = target {
                text.field("written to", target.display());
            }
        })
    }
}

pub fn dropped(text: &mut Text, dropped: &std::collections::BTreeMap<&'static str, u64>) {
    for (reason, count) in dropped.iter().filter(|(_, count)| **count > 0) {
        text.field("dropped", format_args!("{} {reason}", grouped(*count)));
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
