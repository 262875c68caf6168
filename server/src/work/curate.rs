//! The curate cell: generated pairs and what a person decided on them in; the pairs as they are from now on, and counts,
//! out.

use std::path::Path;

use spec::{
    AppError, CellKind, CellOutput, CurateConfig, CurateOutput, CurationCounts, Decision, GeneratedPair, RunEvent,
};

use super::{Ended, Result, RunContext, check_file, parts, phase};
use crate::adapter;
use crate::store::CurationDigest;

/// One pair per line, with what was decided on it.
const PAIRS: &str = "pairs.jsonl";

pub(super) fn execute(context: &RunContext, config: &CurateConfig, emit: &mut dyn FnMut(RunEvent)) -> Result<Ended> {
    phase(emit, "applying the decisions");
    let (generate, _, _) = parts!(&context.inputs, Generate);
    let mut pairs = generate.pairs.clone();
    for curation in pairs.iter_mut().filter_map(|pair| pair.curation.as_mut()) {
        // Notes are for the person who decides; reports are for others.
        curation.note.clear();
    }
    let counts = counts(&pairs);
    let text = json_lines(pairs.iter())?;
    engine::artifact::write(&context.folder.join(PAIRS), text.as_bytes()).map_err(adapter::error)?;
    let kept = pairs.iter().filter(|pair| config.keeps(pair)).count() as u64;
    Ok(Ended::Done(CellOutput::Curate(CurateOutput {
        counts,
        kept,
        dropped_by_settings: counts.pairs - counts.drop - kept,
        curation_sha256: CurationDigest::of(&pairs),
        pairs_sha256: engine::artifact::sha256(text.as_bytes()),
    })))
}

fn counts(pairs: &[GeneratedPair]) -> CurationCounts {
    let count = |which: fn(&GeneratedPair) -> bool| pairs.iter().filter(|pair| which(pair)).count() as u64;
    CurationCounts {
        pairs: pairs.len() as u64,
        keep: count(|pair| pair.decision() == Some(Decision::Keep)),
        drop: count(|pair| pair.decision() == Some(Decision::Drop)),
        edited: count(|pair| pair.curation.as_ref().is_some_and(|curation| curation.instruction.is_some())),
    }
}

/// What a curate run wrote into its folder, unchanged.
pub fn read_pairs(folder: &Path, sha256: &str) -> Result<Vec<GeneratedPair>> {
    let path = folder.join(PAIRS);
    check_file(&path, sha256, CellKind::Curate)?;
    let text = std::fs::read_to_string(&path).map_err(adapter::io_error(&path))?;
    text.lines()
        .map(|line| {
            serde_json::from_str(line).map_err(|error| {
                AppError::corrupt(format!("{}: {error}", path.display()), "Run the Curate cell again.")
            })
        })
        .collect()
}

/// Pairs as a data cell reads them.
pub fn training_rows(pairs: impl Iterator<Item = GeneratedPair>) -> Result<String> {
    json_lines(pairs.map(|pair| serde_json::json!({"instruction": pair.instruction(), "response": pair.response})))
}

fn json_lines<T: serde::Serialize>(rows: impl Iterator<Item = T>) -> Result<String> {
    let mut text = String::new();
    for row in rows {
        let line = serde_json::to_string(&row)
            .map_err(|error| AppError::internal(format!("A pair cannot be written as JSON: {error}."), ""))?;
        text += &line;
        text.push('\n');
    }
    Ok(text)
}
