//! Which runs a request to run means: the cell itself, and what must run before it.
//!
//! Decides only; nothing is queued here. Training is never repeated as a side effect: it asks.

use std::collections::HashMap;

use spec::{AppError, CellKind, RunState};

use super::fingerprint::Standing;
use crate::store::{InputPlan, NewRun, RunRow, Source};

/// The newest run of each cell of the experiment.
pub type Newest = HashMap<i64, RunRow>;

#[derive(Default)]
pub struct Plan {
    /// Runs that are over and go on from what they saved, before the new ones.
    pub resume: Vec<RunRow>,
    pub new: Vec<NewRun>,
    sources: HashMap<i64, Source>,
    retrain: bool,
}

/// Runs `target`, and before it those of its inputs that are stale or never ran.
/// `retrain` allows a stale training among them, which is refused otherwise.
pub fn one(standings: &[Standing], newest: &Newest, target: i64, retrain: bool) -> Result<Plan, AppError> {
    let mut plan = Plan { retrain, ..Plan::default() };
    let standing = find(standings, target)?;
    if standing.cell.config.kind() == CellKind::Note {
        return Err(AppError::invalid_setting("A note has nothing to run.", "Run the cells around it."));
    }
    if let Some(run) = active(newest, target) {
        return Err(AppError::conflict(
            format!("This {} cell is {} already.", standing.cell.config.kind().as_str(), run.state.as_str()),
            "Wait until it has finished, or stop it first.",
        ));
    }
    let mut wanted = vec![target];
    for (_, input, _) in &standing.inputs {
        plan.require(standings, newest, *input, &mut wanted)?;
    }
    for standing in standings.iter().filter(|standing| wanted.contains(&standing.cell.id)) {
        plan.add(standing)?;
    }
    Ok(plan)
}

/// Runs every cell that is stale, failed or never ran. A training or generation that was cut off or stopped goes on.
pub fn all(standings: &[Standing], newest: &Newest) -> Result<Plan, AppError> {
    let mut plan = Plan::default();
    for standing in standings.iter().filter(|standing| standing.cell.config.kind() != CellKind::Note) {
        if plan.take_known(standing, newest)? {
            continue;
        }
        match resumable(standings, standing, newest) {
            Some(run) => {
                plan.sources.insert(standing.cell.id, Source::Run(run.id));
                plan.resume.push(run.clone());
            }
            None => plan.add(standing)?,
        }
    }
    Ok(plan)
}

impl Plan {
    /// Finds out whether an input is there already; if not, wants it, and in turn what it builds on.
    fn require(
        &mut self,
        standings: &[Standing],
        newest: &Newest,
        cell: i64,
        wanted: &mut Vec<i64>,
    ) -> Result<(), AppError> {
        let standing = find(standings, cell)?;
        if wanted.contains(&cell) || self.sources.contains_key(&cell) || self.take_known(standing, newest)? {
            return Ok(());
        }
        if let (CellKind::Train, false, Some(run)) = (standing.cell.config.kind(), self.retrain, newest.get(&cell)) {
            return Err(training_asks(run));
        }
        for (_, input, _) in &standing.inputs {
            self.require(standings, newest, *input, wanted)?;
        }
        wanted.push(cell);
        Ok(())
    }

    /// Where the cell as it stands has finished, or is on its way: builds on that. False: it has to run.
    fn take_known(&mut self, standing: &Standing, newest: &Newest) -> Result<bool, AppError> {
        let Some(run) = newest.get(&standing.cell.id) else { return Ok(false) };
        let same = run.fingerprint == standing.fingerprint;
        if !run.state.is_over() && !same {
            let kind = standing.cell.config.kind().as_str();
            return Err(AppError::conflict(
                format!("The {kind} cell is {} with earlier settings.", run.state.as_str()),
                format!("Wait until it has finished, or stop it, then run the {kind} cell with its new settings."),
            ));
        }
        let known = same && run.unreadable.is_none() && (run.state == RunState::Done || !run.state.is_over());
        if known {
            self.sources.insert(standing.cell.id, Source::Run(run.id));
        }
        Ok(known)
    }

    fn add(&mut self, standing: &Standing) -> Result<(), AppError> {
        let kind = standing.cell.config.kind();
        if let Some(missing) = standing.missing_input {
            return Err(AppError::conflict(
                format!("The {} cell has no {} cell above it.", kind.as_str(), missing.as_str()),
                format!("Add a {} cell above it, or move one there.", missing.as_str()),
            ));
        }
        let input = |(kind, cell, fingerprint): &(CellKind, i64, String)| InputPlan {
            kind: *kind,
            cell: *cell,
            fingerprint: fingerprint.clone(),
            source: *self.sources.get(cell).expect("cells are planned from the top, so inputs come first"),
        };
        let inputs = standing.inputs.iter().map(input).collect();
        self.sources.insert(standing.cell.id, Source::Planned(self.new.len()));
        self.new.push(NewRun {
            cell: standing.cell.id,
            config: standing.cell.config.clone(),
            fingerprint: standing.fingerprint.clone(),
            identity: standing.identity.clone(),
            inputs,
        });
        Ok(())
    }
}

fn find(standings: &[Standing], cell: i64) -> Result<&Standing, AppError> {
    let found = standings.iter().find(|standing| standing.cell.id == cell);
    found.ok_or_else(|| AppError::not_found(format!("There is no cell {cell}."), "Reload the page."))
}

fn active(newest: &Newest, cell: i64) -> Option<&RunRow> {
    newest.get(&cell).filter(|run| !run.state.is_over())
}

/// A run of the cell as it stands that ended early and has something to go on from.
fn resumable<'a>(standings: &[Standing], standing: &Standing, newest: &'a Newest) -> Option<&'a RunRow> {
    let run = newest.get(&standing.cell.id)?;
    // Its inputs must be the very runs that the cells above still show.
    let inputs_stand = run.inputs.iter().all(|input| {
        let known = newest.get(&input.cell).filter(|known| known.id == input.run && known.state == RunState::Done);
        known.is_some_and(|known| find(standings, input.cell).is_ok_and(|above| above.fingerprint == known.fingerprint))
    });
    let goes_on = matches!(standing.cell.config.kind(), CellKind::Train | CellKind::Generate)
        && matches!(run.state, RunState::Interrupted | RunState::Stopped)
        && run.fingerprint == standing.fingerprint
        && inputs_stand;
    goes_on.then_some(run)
}

fn training_asks(run: &RunRow) -> AppError {
    match run.state {
        RunState::Done => AppError::needs_run(
            "The training is stale: its settings or inputs have changed since it ran.",
            "Training takes long, so it is not repeated by itself: run the train cell first, or undo the change.",
        ),
        state => AppError::needs_run(
            format!("The training has not finished: it is {}.", state.as_str()),
            "Resume it or run the train cell first; then run this cell.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use spec::{CellConfig, TrainConfig};

    use super::super::fingerprint::standings;
    use super::*;
    use crate::store::{CellRow, InputRef};

    const DATA: i64 = 0;
    const TRAIN: i64 = 2;
    const GENERATE: i64 = 3;

    fn pipeline() -> Vec<Standing> {
        let kinds = [CellKind::Data, CellKind::Model, CellKind::Train, CellKind::Generate, CellKind::Report];
        let row = |(id, kind): (usize, CellKind)| CellRow {
            id: id as i64,
            experiment: 1,
            config: CellConfig::default_of(kind),
            version: 0,
        };
        standings(kinds.into_iter().enumerate().map(row).collect(), |_| String::new())
    }

    /// Run `10 + cell` of each cell in this state.
    fn runs(standings: &[Standing], states: &[(i64, RunState)]) -> Newest {
        let run = |(cell, state): &(i64, RunState)| {
            let standing = find(standings, *cell).unwrap();
            let input = |(kind, cell, fingerprint): &(CellKind, i64, String)| InputRef {
                kind: *kind,
                cell: *cell,
                run: 10 + cell,
                fingerprint: fingerprint.clone(),
            };
            let run = RunRow {
                id: 10 + cell,
                experiment: 1,
                cell: *cell,
                state: *state,
                config: standing.cell.config.clone(),
                fingerprint: standing.fingerprint.clone(),
                identity: String::new(),
                inputs: standing.inputs.iter().map(input).collect(),
                created_ms: 0,
                unreadable: None,
            };
            (*cell, run)
        };
        states.iter().map(run).collect()
    }

    fn planned(plan: &Plan) -> Vec<i64> {
        plan.new.iter().map(|run| run.cell).collect()
    }

    #[test]
    fn a_fresh_cell_brings_its_inputs_along() {
        let standings = pipeline();
        let plan = one(&standings, &runs(&standings, &[]), GENERATE, false).unwrap();
        assert_eq!(planned(&plan), [0, 1, 2, 3]);
        let sources: Vec<Source> = plan.new[3].inputs.iter().map(|input| input.source).collect();
        assert_eq!(sources, [Source::Planned(1), Source::Planned(2)]);
    }

    #[test]
    fn finished_inputs_are_used_as_they_are() {
        let standings = pipeline();
        let newest = runs(&standings, &[(0, RunState::Done), (1, RunState::Done)]);
        let plan = one(&standings, &newest, TRAIN, false).unwrap();
        assert_eq!(planned(&plan), [TRAIN]);
        assert_eq!(plan.new[0].inputs[0].source, Source::Run(10));
    }

    #[test]
    fn a_stale_training_asks_before_it_runs_again() {
        let mut standings = pipeline();
        let newest = runs(&standings, &[(0, RunState::Done), (1, RunState::Done), (2, RunState::Done)]);
        standings[2].fingerprint = "changed".to_owned();
        let refused = one(&standings, &newest, GENERATE, false).err().unwrap();
        assert_eq!(refused.code, spec::ErrorCode::NeedsRun);
        assert_eq!(planned(&one(&standings, &newest, TRAIN, false).unwrap()), [TRAIN]);
        assert_eq!(planned(&all(&standings, &newest).unwrap()), [2, 3, 4]);
    }

    #[test]
    fn what_a_finished_input_was_built_on_does_not_run_again() {
        let standings = pipeline();
        let states = [(0, RunState::Failed), (1, RunState::Done), (2, RunState::Done)];
        assert_eq!(planned(&one(&standings, &runs(&standings, &states), GENERATE, false).unwrap()), [GENERATE]);
    }

    #[test]
    fn a_run_on_its_way_is_waited_for() {
        let standings = pipeline();
        let states = [(0, RunState::Done), (1, RunState::Done), (2, RunState::Running)];
        let plan = one(&standings, &runs(&standings, &states), GENERATE, false).unwrap();
        assert_eq!(planned(&plan), [GENERATE]);
        assert_eq!(plan.new[0].inputs[1].source, Source::Run(12));
    }

    #[test]
    fn a_cell_that_runs_cannot_be_run_again() {
        let standings = pipeline();
        let refused = one(&standings, &runs(&standings, &[(0, RunState::Queued)]), DATA, false).err().unwrap();
        assert_eq!(refused.code, spec::ErrorCode::Conflict);
    }

    #[test]
    fn a_run_with_earlier_settings_is_in_the_way() {
        let mut cells: Vec<CellRow> = pipeline().into_iter().map(|standing| standing.cell).collect();
        let earlier = runs(&pipeline(), &[(0, RunState::Done), (1, RunState::Done), (2, RunState::Running)]);
        cells[2].config = CellConfig::Train(TrainConfig { rank: 8, ..TrainConfig::default() });
        let now = standings(cells, |_| String::new());
        assert_eq!(all(&now, &earlier).err().unwrap().code, spec::ErrorCode::Conflict);
    }

    #[test]
    fn run_all_goes_on_with_a_training_that_was_cut_off() {
        let standings = pipeline();
        let states = [(0, RunState::Done), (1, RunState::Done), (2, RunState::Interrupted)];
        let plan = all(&standings, &runs(&standings, &states)).unwrap();
        assert_eq!(plan.resume.iter().map(|run| run.id).collect::<Vec<_>>(), [12]);
        assert_eq!(planned(&plan), [3, 4]);
        assert_eq!(plan.new[0].inputs[1].source, Source::Run(12));
    }

    #[test]
    fn a_missing_input_is_refused_by_name() {
        let row = CellRow { id: 1, experiment: 1, config: CellConfig::default_of(CellKind::Train), version: 0 };
        let standings = standings(vec![row], |_| String::new());
        let refused = one(&standings, &runs(&standings, &[]), 1, false).err().unwrap();
        assert!(refused.message.contains("no data cell"), "{}", refused.message);
    }
}
