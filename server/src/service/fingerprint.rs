//! Fingerprints of cells: sha256 over their configuration, the contents of the file it names, and their inputs'
//! fingerprints.
//!
//! A run's stored fingerprint is never compared: it was computed from the settings that an earlier version may have
//! had. [`update`] recomputes it from the run's configuration, so that a renamed or added setting makes no run stale.

use std::collections::HashMap;

use spec::{CellConfig, CellKind};

use crate::store::{CellRow, RunRow};

/// A cell as its experiment shows it now, with the inputs that a run of it would read.
#[derive(Clone, Debug)]
pub struct CellStatus {
    pub cell: CellRow,
    pub fingerprint: String,
    /// Of the contents of the file that its configuration names, and of what a person decided on the pairs that a curate
    /// cell reads; empty if there is none.
    pub identity: String,
    /// Kind, cell and fingerprint of each input: the nearest of its kind above.
    pub inputs: Vec<CellInput>,
    pub missing_input: Option<CellKind>,
}

/// An input of a cell: its kind, the cell, and that cell's fingerprint.
pub type CellInput = (CellKind, i64, String);

/// The status of every cell of an experiment, in order. `identity` is asked for what each cell reads beside the outputs
/// of its inputs: by its configuration, and by its inputs.
pub fn statuses(cells: Vec<CellRow>, mut identity: impl FnMut(&CellConfig, &[CellInput]) -> String) -> Vec<CellStatus> {
    let mut above: Vec<CellStatus> = Vec::with_capacity(cells.len());
    for cell in cells {
        let kind = cell.config.kind();
        let mut inputs = Vec::new();
        let mut missing_input = None;
        for wanted in kind.inputs() {
            match above.iter().rev().find(|other| other.cell.config.kind() == *wanted) {
                Some(input) => inputs.push((*wanted, input.cell.id, input.fingerprint.clone())),
                None => missing_input = missing_input.or(Some(*wanted)),
            }
        }
        for wanted in kind.optional_inputs() {
            let nearest = above.iter().rev().find(|other| other.cell.config.kind() == *wanted);
            // One that is made of other inputs than this cell has is no part of it.
            if let Some(input) = nearest.filter(|input| input.inputs.iter().all(|of| inputs.contains(of))) {
                inputs.push((*wanted, input.cell.id, input.fingerprint.clone()));
            }
        }
        let identity = identity(&cell.config, &inputs);
        let fingerprint =
            fingerprint(&cell.config, &identity, inputs.iter().map(|(kind, _, input)| (*kind, input.as_str())));
        above.push(CellStatus { cell, fingerprint, identity, inputs, missing_input });
    }
    above
}

/// Replaces the run's fingerprint, and those of its inputs, by what this version computes. `source` finds the run of
/// an input; one that was deleted keeps the fingerprint that was stored. `known` remembers runs that were computed.
pub fn update<E>(
    run: &mut RunRow,
    source: &mut dyn FnMut(i64) -> Result<Option<RunRow>, E>,
    known: &mut HashMap<i64, String>,
) -> Result<(), E> {
    if run.unreadable.is_some() {
        run.fingerprint.clear();
        return Ok(());
    }
    for input in &mut run.inputs {
        if let Some(fingerprint) = known.get(&input.run) {
            input.fingerprint.clone_from(fingerprint);
        } else if let Some(mut source_run) = source(input.run)? {
            update(&mut source_run, source, known)?;
            input.fingerprint = source_run.fingerprint;
        }
    }
    run.identity = identity(&run.identity).to_owned();
    let inputs = run.inputs.iter().map(|input| (input.kind, input.fingerprint.as_str()));
    run.fingerprint = fingerprint(&run.config, &run.identity, inputs);
    known.insert(run.id, run.fingerprint.clone());
    Ok(())
}

/// The part of a sha256 that identifies a file's contents: as much as an upload's id holds.
pub fn identity(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}

/// Of the settings that results depend on, as JSON without spaces.
fn fingerprint<'a>(config: &CellConfig, identity: &str, inputs: impl Iterator<Item = (CellKind, &'a str)>) -> String {
    let inputs: Vec<(&str, &str)> = inputs.map(|(kind, fingerprint)| (kind.as_str(), fingerprint)).collect();
    let values = config.values().into_iter().filter(|(setting, _)| setting.rule.changes_results);
    let settings: Vec<(&str, String)> = values.map(|(setting, value)| (setting.key, value)).collect();
    let content = serde_json::json!([config.kind(), settings, identity, inputs]);
    engine::artifact::sha256(content.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use spec::{DataConfig, RunState, TrainConfig};

    use super::*;
    use crate::store::InputRef;

    fn cells(kinds: &[CellKind]) -> Vec<CellRow> {
        let row = |(id, kind): (usize, &CellKind)| CellRow {
            id: id as i64,
            experiment: 1,
            config: CellConfig::default_of(*kind),
            version: 0,
        };
        kinds.iter().enumerate().map(row).collect()
    }

    const PIPELINE: [CellKind; 5] =
        [CellKind::Data, CellKind::Model, CellKind::Train, CellKind::Generate, CellKind::Report];

    #[test]
    fn a_change_reaches_all_cells_below_and_none_beside() {
        let before = statuses(cells(&PIPELINE), |_, _| String::new());
        let mut changed = cells(&PIPELINE);
        changed[0].config = CellConfig::Data(DataConfig { words_above: 6, ..DataConfig::default() });
        let after = statuses(changed, |_, _| String::new());
        let differs: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a.fingerprint != b.fingerprint).collect();
        assert_eq!(differs, [true, false, true, true, true]);
    }

    #[test]
    fn a_setting_that_changes_no_result_changes_no_fingerprint() {
        let before = statuses(cells(&PIPELINE), |_, _| String::new());
        let mut changed = cells(&PIPELINE);
        changed[2].config = CellConfig::Train(TrainConfig { gradient_checkpointing: true, ..TrainConfig::default() });
        let after = statuses(changed, |_, _| String::new());
        assert_eq!(before[2].fingerprint, after[2].fingerprint);
    }

    #[test]
    fn other_contents_of_the_same_file_are_another_fingerprint() {
        let one = statuses(cells(&PIPELINE), |config, _| format!("1{}", config.kind().as_str()));
        let other = statuses(cells(&PIPELINE), |config, _| format!("2{}", config.kind().as_str()));
        assert_ne!(one[0].fingerprint, other[0].fingerprint);
    }

    #[test]
    fn inputs_are_the_nearest_above() {
        use CellKind::{Data, Model, Train};
        let statuses = statuses(cells(&[Data, Model, Data, Train]), |_, _| String::new());
        let inputs: Vec<i64> = statuses[3].inputs.iter().map(|(_, cell, _)| *cell).collect();
        assert_eq!(inputs, [2, 1]);
    }

    #[test]
    fn a_report_uses_a_curate_cell_of_the_same_pairs_and_needs_none() {
        use CellKind::{Curate, Data, Generate, Model, Report, Train};
        let inputs = |kinds: &[CellKind]| {
            let statuses = statuses(cells(kinds), |_, _| String::new());
            let report = statuses.last().unwrap();
            assert_eq!(report.missing_input, None);
            report.inputs.iter().filter(|(kind, _, _)| *kind == Curate).map(|(_, cell, _)| *cell).collect::<Vec<_>>()
        };
        assert_eq!(inputs(&[Data, Model, Train, Generate, Curate, Report]), [4]);
        assert!(inputs(&PIPELINE).is_empty());
        // The curate cell decides on the pairs of another generate cell.
        let mut other = cells(&[Data, Model, Train, Generate, Curate, Generate, Report]);
        other[5].config = CellConfig::Generate(spec::GenerateConfig { seed: 9, ..Default::default() });
        let statuses = statuses(other, |_, _| String::new());
        assert!(!statuses[6].inputs.iter().any(|(kind, _, _)| *kind == Curate));
    }

    #[test]
    fn a_missing_input_is_named() {
        let statuses = statuses(cells(&[CellKind::Data, CellKind::Train]), |_, _| String::new());
        assert_eq!(statuses[1].missing_input, Some(CellKind::Model));
    }

    /// A run of an earlier version: other fingerprints, a whole sha256 as identity, settings as they were spelled.
    fn stored(id: i64, config: &str, inputs: &[(CellKind, i64)]) -> RunRow {
        RunRow {
            id,
            experiment: 1,
            cell: id,
            state: RunState::Done,
            config: serde_json::from_str(config).unwrap(),
            fingerprint: format!("computed in {id} by an earlier version"),
            identity: if inputs.is_empty() { "0123456789abcdef".repeat(4) } else { String::new() },
            inputs: inputs
                .iter()
                .map(|(kind, run)| InputRef {
                    kind: *kind,
                    cell: *run,
                    run: *run,
                    fingerprint: format!("computed in {run} by an earlier version"),
                })
                .collect(),
            created_ms: 0,
            unreadable: None,
        }
    }

    #[test]
    fn a_renamed_or_added_setting_makes_no_run_stale() {
        let runs = [
            stored(0, r#"{"kind":"data","validation_fraction":0.1}"#, &[]),
            stored(1, r#"{"kind":"model"}"#, &[]),
            stored(
                2,
                r#"{"kind":"train","max_length":512,"accumulation":2,"targets":["q_proj","v_proj"]}"#,
                &[(CellKind::Data, 0), (CellKind::Model, 1)],
            ),
        ];
        let now = statuses(cells(&PIPELINE[..3]), |config, _| match config {
            CellConfig::Train(_) => String::new(),
            _ => "0123456789abcdef".to_owned(),
        });
        let mut source = |run: i64| Ok::<_, ()>(runs.iter().find(|row| row.id == run).cloned());
        for (run, status) in runs.iter().zip(&now) {
            let mut run = run.clone();
            update(&mut run, &mut source, &mut HashMap::new()).unwrap();
            assert_eq!(run.fingerprint, status.fingerprint, "{:?}", run.config.kind());
            for (input, (_, _, expected)) in run.inputs.iter().zip(&status.inputs) {
                assert_eq!(input.fingerprint, *expected);
            }
        }
        let mut changed = runs[2].clone();
        changed.config = CellConfig::Train(TrainConfig { rank: 8, ..TrainConfig::default() });
        update(&mut changed, &mut source, &mut HashMap::new()).unwrap();
        assert_ne!(changed.fingerprint, now[2].fingerprint);
    }

    #[test]
    fn an_input_whose_run_was_deleted_keeps_its_stored_fingerprint() {
        let mut run = stored(2, r#"{"kind":"train"}"#, &[(CellKind::Data, 0), (CellKind::Model, 1)]);
        let before = run.inputs.clone();
        update(&mut run, &mut |_| Ok::<_, ()>(None), &mut HashMap::new()).unwrap();
        assert_eq!(run.inputs, before);
    }
}
