//! The data cell: conversations in; `seed.jsonl`, `train.jsonl` and `validation.jsonl` out.

use std::collections::BTreeSet;
use std::path::Path;

use engine::artifact::sha256_file;
use engine::data::{Pair, Prepared, Split};
use spec::{CellOutput, DataConfig, DataOutput, PairText, RunEvent, SourceFile};

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
    let file = session.resources.verified_file(&config.file)?;
    let prepared = prepare(&file, config, &context.folder, emit);
    let (output, _) = prepared.map_err(|error| session.resources.by_name(&config.file, error))?;
    Ok(Ended::Done(CellOutput::Data(DataOutput { source: session.resources.source(&config.file), ..output })))
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
        format: prepared.format.as_str().to_owned(),
        rows: prepared.rows,
        pairs: prepared.pairs.len() as u64,
        first_turn_pairs: prepared.first_turn_pairs,
        train_pairs: split.train.len() as u64,
        validation_pairs: split.validation.len() as u64,
        train_trees: trees(&split.train),
        validation_trees: trees(&split.validation),
        dropped: adapter::counts(&prepared.dropped),
        malformed_count: prepared.malformed_count,
        malformed: prepared.malformed,
        instruction_lengths: word_lengths(prepared.pairs.iter().map(|pair| pair.instruction.as_str())),
        response_lengths: word_lengths(prepared.pairs.iter().map(|pair| pair.response.as_str())),
        examples: prepared
            .pairs
            .iter()
            .take(EXAMPLES)
            .map(|pair| PairText { instruction: pair.instruction.clone(), response: pair.response.clone() })
            .collect(),
        sha256: prepared.sha256,
        source: SourceFile::default(),
        train_sha256: sha256_file(&folder.join(TRAIN)).map_err(adapter::error)?,
        validation_sha256: sha256_file(&folder.join(VALIDATION)).map_err(adapter::error)?,
    };
    Ok((output, split))
}

fn trees(pairs: &[Pair]) -> u64 {
    pairs.iter().map(|pair| pair.tree.as_str()).collect::<BTreeSet<_>>().len() as u64
}

/// Why no pair is left: with the counts, and the first malformed rows, since a failed run has no output to show them.
fn nothing_left(prepared: &Prepared) -> String {
    let dropped: Vec<String> = prepared
        .dropped
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let mut text = format!("no pairs are left after the pair rule; rows read: {}", prepared.rows);
    if !dropped.is_empty() {
        text.push_str(&format!("; dropped: {}", dropped.join(", ")));
    }
    text.push_str(&super::malformed_rows(prepared.malformed_count, &prepared.malformed));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_data_run_names_its_malformed_rows_and_counts_what_was_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pairs.jsonl");
        let rows = r#"{"instruction": "Say why the sky looks blue.", "response": 7}
{"instruction": "Too short", "response": "Yes."}
{"instruction": 3, "response": "Because air scatters blue light more than red light."}
"#;
        std::fs::write(&file, rows).unwrap();
        let error = prepare(&file, &DataConfig::default(), folder.path(), &mut |_| {}).err().unwrap();
        assert_eq!(error.code, spec::ErrorCode::Empty);
        for part in ["rows read: 3", "1 too_few_words", "malformed: 2", "line 1: response:", "line 3: instruction:"] {
            assert!(error.message.contains(part), "{part}: {}", error.message);
        }
    }
}
