//! The data cell: conversations in; `seed.jsonl`, `train.jsonl` and `validation.jsonl` out.

use std::collections::BTreeSet;
use std::path::Path;

use engine::data::{Pair, Prepared, Split};
use spec::{CellOutput, DataConfig, DataOutput, PairText, RunEvent};

use super::histogram::word_lengths;
use super::{Ended, Result, RunContext, Session, phase};
use crate::adapter;

pub const SEED: &str = "seed.jsonl";
pub const TRAIN: &str = "train.jsonl";
pub const VALIDATION: &str = "validation.jsonl";

/// Pairs shown as examples.
const EXAMPLES: usize = 5;

pub(super) fn execute(
    session: &Session,
    context: &RunContext,
    config: &DataConfig,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Ended> {
    let file = session.resources.file(&config.file)?;
    let prepared = prepare(&file, config, &context.folder, emit);
    let (output, _) = prepared.map_err(|error| session.resources.by_name(&config.file, error))?;
    Ok(Ended::Done(CellOutput::Data(output)))
}

/// Applies the rule to `file` and writes the three pair files into `folder`.
pub fn prepare(
    file: &Path,
    config: &DataConfig,
    folder: &Path,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<(DataOutput, Split)> {
    let rule = adapter::pair_rule(config);
    phase(emit, "reading the conversations");
    let prepared = engine::data::prepare(file, adapter::format(config.format), &rule).map_err(adapter::error)?;
    if prepared.pairs.is_empty() {
        return Err(adapter::error(engine::Error::Empty(nothing_left(&prepared))));
    }
    phase(emit, "splitting by conversation");
    let split = engine::data::split(prepared.pairs.clone(), config.validation_split, config.split_seed)
        .map_err(adapter::error)?;
    if split.train.is_empty() {
        return Err(adapter::invalid(
            "validation_split",
            config.validation_split,
            "so small that pairs are left to train on",
        ));
    }
    phase(emit, "writing the pairs");
    for (name, pairs) in [(SEED, &prepared.pairs), (TRAIN, &split.train), (VALIDATION, &split.validation)] {
        engine::data::write_pairs(&folder.join(name), pairs).map_err(adapter::error)?;
    }
    let output = DataOutput {
        format: adapter::format_name(prepared.format).to_owned(),
        rows: prepared.rows,
        pairs: prepared.pairs.len() as u64,
        first_turn_pairs: prepared.first_turn_pairs,
        train_pairs: split.train.len() as u64,
        validation_pairs: split.validation.len() as u64,
        train_trees: trees(&split.train),
        validation_trees: trees(&split.validation),
        dropped: adapter::counts(&prepared.dropped),
        malformed_count: prepared.malformed_count,
        malformed: adapter::malformed(prepared.malformed),
        instruction_lengths: word_lengths(prepared.pairs.iter().map(|pair| pair.instruction.as_str())),
        response_lengths: word_lengths(prepared.pairs.iter().map(|pair| pair.response.as_str())),
        examples: prepared
            .pairs
            .iter()
            .take(EXAMPLES)
            .map(|pair| PairText { instruction: pair.instruction.clone(), response: pair.response.clone() })
            .collect(),
        sha256: prepared.sha256,
    };
    Ok((output, split))
}

fn trees(pairs: &[Pair]) -> u64 {
    pairs.iter().map(|pair| pair.tree.as_str()).collect::<BTreeSet<_>>().len() as u64
}

/// "no pairs are left after the pair rule: 12 rows were read, 3 were malformed; left out: …"
fn nothing_left(prepared: &Prepared) -> String {
    let mut text = format!("no pairs are left after the pair rule: {} rows were read", prepared.rows);
    if prepared.malformed_count > 0 {
        text.push_str(&format!(", {} of them malformed", prepared.malformed_count));
    }
    for (at, (reason, count)) in prepared.dropped.iter().filter(|(_, count)| **count > 0).enumerate() {
        text.push_str(if at == 0 { "; left out: " } else { ", " });
        text.push_str(&format!("{count} {reason}"));
    }
    text
}
