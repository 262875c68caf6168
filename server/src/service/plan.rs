//! Which runs a request to run means: the cell itself, and what must run before it.
//!
//! Decides only; nothing is queued here. What was interrupted is resumed. A training is repeated, or saved work set aside,
//! as a side effect only if the person confirmed it.

use std::collections::HashMap;

use spec::{AppError, CellKind, Discards, ErrorCode, RunState, RunView};

use super::fingerprint::CellStatus;
use crate::store::{InputPlan, NewRun, RunRow, Source};

/// The newest run of each cell of the experiment.
pub type Newest = HashMap<i64, NewestRun>;

/// The newest run of a cell, with what decides whether it is used, resumed or replaced.
pub struct NewestRun {
    /// Its fingerprints are those of this version.
    pub row: RunRow,
    pub view: RunView,
    /// What a training or a generation has saved.
    pub saved: Option<Discards>,
    /// The runs that it reads are there and done.
    pub has_inputs: bool,
}

impl NewestRun {
    /// It used the settings and inputs that the cell has now, as far as they can be read.
    pub fn matches(&self, status: &CellStatus) -> bool {
        self.row.unreadable.is_none() && self.row.fingerprint == status.fingerprint
    }

    pub fn can_resume(&self, status: &CellStatus) -> bool {
        let ended_early = match self.row.state {
            RunState::Stopped | RunState::Interrupted => true,
            RunState::Failed => self.view.error.as_ref().is_none_or(|error| !recurs(error.code)),
            RunState::Queued | RunState::Running | RunState::Stopping | RunState::Done => false,
        };
        ended_early && self.saved.is_some() && self.has_inputs && self.matches(status)
    }

    /// What a new run of the cell replaces or repeats. A finished run with other settings is what a new one is for.
    pub fn discards(&self, status: &CellStatus) -> Option<Discards> {
        let replaced = match self.row.state {
            RunState::Queued | RunState::Running | RunState::Stopping => false,
            RunState::Done => self.matches(status),
            RunState::Stopped | RunState::Interrupted | RunState::Failed => true,
        };
        self.saved.filter(|_| replaced)
    }

    /// Whether running it again as a side effect needs a confirmation: every training, and pairs of an unfinished run.
    fn asks(&self) -> bool {
        self.saved.is_some() && (self.row.config.kind() == CellKind::Train || self.row.state != RunState::Done)
    }
}

/// The same settings and inputs fail in the same way again.
fn recurs(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::InvalidSetting
            | ErrorCode::MalformedFile
            | ErrorCode::Unsupported
            | ErrorCode::TemplateLock
            | ErrorCode::Corrupt
            | ErrorCode::Empty
            | ErrorCode::NonFinite
    )
}

#[derive(Default)]
pub struct Plan {
    /// Runs that are over and continue from what they saved, before the new ones.
    pub resume: Vec<RunRow>,
    pub new: Vec<NewRun>,
    sources: HashMap<i64, Source>,
}

/// Runs `target` from the beginning. Before it, inputs that were interrupted are resumed, and those that are stale or never ran are run.
/// Without `retrain`, what would repeat a training or set saved work aside is refused with `needs_run`.
pub fn one(statuses: &[CellStatus], newest: &Newest, target: i64, retrain: bool) -> Result<Plan, AppError> {
    let mut plan = Plan::default();
    let status = find(statuses, target)?;
    if status.cell.config.kind() == CellKind::Note {
        return Err(AppError::invalid_setting("A note has nothing to run.", "Run the cells around it."));
    }
    if let Some(run) = active(newest, target) {
        return Err(AppError::conflict(
            format!("This {} cell is {} already.", status.cell.config.kind().as_str(), run.state.as_str()),
            "Wait until it has finished, or stop it first.",
        ));
    }
    let mut wanted = vec![target];
    for (_, input, _) in &status.inputs {
        plan.require(statuses, newest, *input, retrain, &mut wanted)?;
    }
    for status in statuses.iter().filter(|status| wanted.contains(&status.cell.id)) {
        plan.add(status)?;
    }
    Ok(plan)
}

/// Runs every cell that is stale, failed or never ran; what was interrupted is resumed.
pub fn all(statuses: &[CellStatus], newest: &Newest) -> Result<Plan, AppError> {
    let mut plan = Plan::default();
    for status in statuses.iter().filter(|status| status.cell.config.kind() != CellKind::Note) {
        if !plan.take_known(status, newest)? && !plan.take_resumable(status, newest) {
            plan.add(status)?;
        }
    }
    Ok(plan)
}

impl Plan {
    /// Finds out whether an input is there already or can be resumed; if not, wants it, and in turn what it reads.
    fn require(
        &mut self,
        statuses: &[CellStatus],
        newest: &Newest,
        cell: i64,
        retrain: bool,
        wanted: &mut Vec<i64>,
    ) -> Result<(), AppError> {
        let status = find(statuses, cell)?;
        if wanted.contains(&cell)
            || self.sources.contains_key(&cell)
            || self.take_known(status, newest)?
            || self.take_resumable(status, newest)
        {
            return Ok(());
        }
        if let Some(run) = newest.get(&cell).filter(|run| run.asks() && !retrain) {
            return Err(needs_confirmation(run));
        }
        for (_, input, _) in &status.inputs {
            self.require(statuses, newest, *input, retrain, wanted)?;
        }
        wanted.push(cell);
        Ok(())
    }

    /// Uses the cell's newest run if it has finished or is active. False: the cell has to run.
    fn take_known(&mut self, status: &CellStatus, newest: &Newest) -> Result<bool, AppError> {
        let Some(run) = newest.get(&status.cell.id) else { return Ok(false) };
        let state = run.row.state;
        if !state.is_over() && !run.matches(status) {
            let kind = status.cell.config.kind().as_str();
            return Err(AppError::conflict(
                format!("The {kind} cell is {} with earlier settings.", state.as_str()),
                format!("Wait until it has finished, or stop it, then run the {kind} cell with its new settings."),
            ));
        }
        let known = run.matches(status) && (state == RunState::Done || !state.is_over());
        if known {
            self.sources.insert(status.cell.id, Source::Run(run.row.id));
        }
        Ok(known)
    }

    /// Resumes the cell's newest run if it was interrupted. False: the cell has to run from the beginning.
    fn take_resumable(&mut self, status: &CellStatus, newest: &Newest) -> bool {
        let Some(run) = newest.get(&status.cell.id).filter(|run| run.can_resume(status)) else { return false };
        self.sources.insert(status.cell.id, Source::Run(run.row.id));
        self.resume.push(run.row.clone());
        true
    }

    fn add(&mut self, status: &CellStatus) -> Result<(), AppError> {
        let kind = status.cell.config.kind();
        if let Some(missing) = status.missing_input {
            return Err(AppError::conflict(
                format!("The {} cell has no {} cell above it.", kind.as_str(), missing.as_str()),
                format!("Add a {} cell above it, or move one there.", missing.as_str()),
            ));
        }
        let mut inputs = Vec::with_capacity(status.inputs.len());
        for (kind, cell, fingerprint) in &status.inputs {
            // Cells are planned from the top, so inputs come first.
            let Some(source) = self.sources.get(cell).copied() else {
                return Err(AppError::internal(
                    format!("The {} cell was not planned.", kind.as_str()),
                    "Run it first.",
                ));
            };
            inputs.push(InputPlan { kind: *kind, cell: *cell, fingerprint: fingerprint.clone(), source });
        }
        self.sources.insert(status.cell.id, Source::Planned(self.new.len()));
        self.new.push(NewRun {
            cell: status.cell.id,
            config: status.cell.config.clone(),
            fingerprint: status.fingerprint.clone(),
            identity: status.identity.clone(),
            inputs,
        });
        Ok(())
    }
}

fn find(statuses: &[CellStatus], cell: i64) -> Result<&CellStatus, AppError> {
    let found = statuses.iter().find(|status| status.cell.id == cell);
    found.ok_or_else(|| AppError::not_found(format!("There is no cell {cell}."), "Reload the page."))
}

fn active(newest: &Newest, cell: i64) -> Option<&RunRow> {
    newest.get(&cell).map(|run| &run.row).filter(|row| !row.state.is_over())
}

/// The question that a page asks before it sends the command again with `retrain`.
fn needs_confirmation(run: &NewestRun) -> AppError {
    let kind = run.row.config.kind().as_str();
    let saved = match run.saved {
        Some(Discards::Steps(steps)) => format!("{steps} optimizer steps"),
        Some(Discards::Pairs(pairs)) => format!("{pairs} generated pairs"),
        None => "results".to_owned(),
    };
    let why = match run.row.state {
        RunState::Done => "is stale: its settings or inputs have changed since it ran".to_owned(),
        state => {
            format!("was {} and cannot be resumed: it failed on its settings, or they have changed", state.as_str())
        }
    };
    AppError::needs_run(
        format!(
            "The {kind} cell above {why}. Running this cell runs it again from the start; its {saved} are not used."
        ),
        format!("Confirm to run the {kind} cell again, or undo the change to its settings."),
    )
}

#[cfg(test)]
mod tests {
    use spec::{CellConfig, TrainConfig};

    use super::super::fingerprint::statuses;
    use super::*;
    use crate::store::{CellRow, InputRef};

    const DATA: i64 = 0;
    const TRAIN: i64 = 2;
    const GENERATE: i64 = 3;
    const REPORT: i64 = 4;

    fn pipeline() -> Vec<CellStatus> {
        let kinds = [CellKind::Data, CellKind::Model, CellKind::Train, CellKind::Generate, CellKind::Report];
        let row = |(id, kind): (usize, CellKind)| CellRow {
            id: id as i64,
            experiment: 1,
            config: CellConfig::default_of(kind),
            version: 0,
        };
        statuses(kinds.into_iter().enumerate().map(row).collect(), |_, _| String::new())
    }

    /// Run `10 + cell` of each cell in this state. Trainings and generations have saved something.
    fn runs(statuses: &[CellStatus], states: &[(i64, RunState)]) -> Newest {
        let run = |(cell, state): &(i64, RunState)| {
            let status = find(statuses, *cell).unwrap();
            let input = |(kind, cell, fingerprint): &(CellKind, i64, String)| InputRef {
                kind: *kind,
                cell: *cell,
                run: 10 + cell,
                fingerprint: fingerprint.clone(),
            };
            let row = RunRow {
                id: 10 + cell,
                experiment: 1,
                cell: *cell,
                state: *state,
                config: status.cell.config.clone(),
                fingerprint: status.fingerprint.clone(),
                identity: String::new(),
                inputs: status.inputs.iter().map(input).collect(),
                created_ms: 0,
                unreadable: None,
            };
            let view = RunView::new(row.id, *cell, row.config.clone(), 0);
            let saved = match row.config.kind() {
                CellKind::Train => Some(Discards::Steps(20)),
                CellKind::Generate => Some(Discards::Pairs(9_000)),
                _ => None,
            };
            (*cell, NewestRun { row, view, saved, has_inputs: true })
        };
        states.iter().map(run).collect()
    }

    /// The model and data cells are done, and training and generation are in these states.
    fn upper_done(statuses: &[CellStatus], train: RunState, generate: RunState) -> Newest {
        runs(statuses, &[(0, RunState::Done), (1, RunState::Done), (TRAIN, train), (GENERATE, generate)])
    }

    fn planned(plan: &Plan) -> Vec<i64> {
        plan.new.iter().map(|run| run.cell).collect()
    }

    fn resumed(plan: &Plan) -> Vec<i64> {
        plan.resume.iter().map(|run| run.cell).collect()
    }

    #[test]
    fn a_fresh_cell_brings_its_inputs_along() {
        let statuses = pipeline();
        let plan = one(&statuses, &runs(&statuses, &[]), GENERATE, false).unwrap();
        assert_eq!(planned(&plan), [0, 1, 2, 3]);
        let sources: Vec<Source> = plan.new[3].inputs.iter().map(|input| input.source).collect();
        assert_eq!(sources, [Source::Planned(1), Source::Planned(2)]);
    }

    #[test]
    fn finished_inputs_are_used_as_they_are() {
        let statuses = pipeline();
        let newest = runs(&statuses, &[(0, RunState::Done), (1, RunState::Done)]);
        let plan = one(&statuses, &newest, TRAIN, false).unwrap();
        assert_eq!(planned(&plan), [TRAIN]);
        assert_eq!(plan.new[0].inputs[0].source, Source::Run(10));
    }

    #[test]
    fn a_stale_training_asks_before_it_runs_again_and_runs_when_confirmed() {
        let mut statuses = pipeline();
        let newest = runs(&statuses, &[(0, RunState::Done), (1, RunState::Done), (2, RunState::Done)]);
        statuses[2].fingerprint = "changed".to_owned();
        let refused = one(&statuses, &newest, GENERATE, false).err().unwrap();
        assert_eq!(refused.code, ErrorCode::NeedsRun);
        assert!(refused.message.contains("20 optimizer steps"), "{}", refused.message);
        assert_eq!(planned(&one(&statuses, &newest, GENERATE, true).unwrap()), [TRAIN, GENERATE]);
        assert_eq!(planned(&one(&statuses, &newest, TRAIN, false).unwrap()), [TRAIN]);
        assert_eq!(planned(&all(&statuses, &newest).unwrap()), [2, 3, 4]);
    }

    #[test]
    fn what_a_finished_input_was_built_on_does_not_run_again() {
        let statuses = pipeline();
        let states = [(0, RunState::Failed), (1, RunState::Done), (2, RunState::Done)];
        assert_eq!(planned(&one(&statuses, &runs(&statuses, &states), GENERATE, false).unwrap()), [GENERATE]);
    }

    #[test]
    fn an_active_run_is_waited_for() {
        let statuses = pipeline();
        let states = [(0, RunState::Done), (1, RunState::Done), (2, RunState::Running)];
        let plan = one(&statuses, &runs(&statuses, &states), GENERATE, false).unwrap();
        assert_eq!(planned(&plan), [GENERATE]);
        assert_eq!(plan.new[0].inputs[1].source, Source::Run(12));
    }

    #[test]
    fn a_cell_that_runs_cannot_be_run_again() {
        let statuses = pipeline();
        let refused = one(&statuses, &runs(&statuses, &[(0, RunState::Queued)]), DATA, true).err().unwrap();
        assert_eq!(refused.code, ErrorCode::Conflict);
    }

    #[test]
    fn an_active_run_with_earlier_settings_is_a_conflict() {
        let mut cells: Vec<CellRow> = pipeline().into_iter().map(|status| status.cell).collect();
        let earlier = runs(&pipeline(), &[(0, RunState::Done), (1, RunState::Done), (2, RunState::Running)]);
        cells[2].config = CellConfig::Train(TrainConfig { rank: 8, ..TrainConfig::default() });
        let now = statuses(cells, |_, _| String::new());
        assert_eq!(all(&now, &earlier).err().unwrap().code, ErrorCode::Conflict);
    }

    #[test]
    fn run_all_resumes_a_training_that_was_cut_off() {
        let statuses = pipeline();
        let states = [(0, RunState::Done), (1, RunState::Done), (2, RunState::Interrupted)];
        let plan = all(&statuses, &runs(&statuses, &states)).unwrap();
        assert_eq!(resumed(&plan), [TRAIN]);
        assert_eq!(planned(&plan), [3, 4]);
        assert_eq!(plan.new[0].inputs[1].source, Source::Run(12));
    }

    #[test]
    fn a_report_resumes_a_generation_or_training_that_was_cut_off() {
        let statuses = pipeline();
        for state in [RunState::Stopped, RunState::Interrupted] {
            let plan = one(&statuses, &upper_done(&statuses, RunState::Done, state), REPORT, false).unwrap();
            assert_eq!((resumed(&plan), planned(&plan)), (vec![GENERATE], vec![REPORT]), "{state:?}");
            assert_eq!(plan.new[0].inputs[3].source, Source::Run(13));
            let newest = runs(&statuses, &[(0, RunState::Done), (1, RunState::Done), (TRAIN, state)]);
            let plan = one(&statuses, &newest, REPORT, false).unwrap();
            assert_eq!((resumed(&plan), planned(&plan)), (vec![TRAIN], vec![GENERATE, REPORT]), "{state:?}");
        }
    }

    #[test]
    fn pairs_of_an_unfinished_generation_with_other_settings_are_not_set_aside_without_a_question() {
        let mut statuses = pipeline();
        let newest = upper_done(&statuses, RunState::Done, RunState::Stopped);
        statuses[GENERATE as usize].fingerprint = "changed".to_owned();
        let refused = one(&statuses, &newest, REPORT, false).err().unwrap();
        assert_eq!(refused.code, ErrorCode::NeedsRun);
        assert!(refused.message.contains("9000 generated pairs"), "{}", refused.message);
        assert_eq!(planned(&one(&statuses, &newest, REPORT, true).unwrap()), [GENERATE, REPORT]);
        let run = &newest[&GENERATE];
        let status = &statuses[GENERATE as usize];
        assert_eq!((run.can_resume(status), run.discards(status)), (false, Some(Discards::Pairs(9_000))));
    }

    #[test]
    fn only_a_run_that_can_end_otherwise_and_saved_something_can_be_resumed() {
        let statuses = pipeline();
        let train = &statuses[TRAIN as usize];
        let mut run = upper_done(&statuses, RunState::Failed, RunState::Done).remove(&TRAIN).unwrap();
        assert!(run.can_resume(train), "a fault of the machine");
        run.view.error = Some(AppError::invalid_setting("rank is 0", ""));
        assert!(!run.can_resume(train), "its settings are refused again");
        assert_eq!(run.discards(train), Some(Discards::Steps(20)));
        run.view.error = Some(AppError::io("The disk is full.", ""));
        assert!(run.can_resume(train));
        run.has_inputs = false;
        assert!(!run.can_resume(train));
        run.has_inputs = true;
        run.saved = None;
        assert!(!run.can_resume(train), "nothing is saved");
        assert_eq!(run.discards(train), None);
    }

    #[test]
    fn a_training_that_saved_nothing_is_run_without_a_question() {
        let statuses = pipeline();
        let mut newest = runs(&statuses, &[(0, RunState::Done), (1, RunState::Done), (TRAIN, RunState::Stopped)]);
        newest.get_mut(&TRAIN).unwrap().saved = None;
        let plan = one(&statuses, &newest, GENERATE, false).unwrap();
        assert_eq!((resumed(&plan), planned(&plan)), (vec![], vec![TRAIN, GENERATE]));
    }

    #[test]
    fn running_a_finished_cell_again_repeats_its_work_unless_its_settings_changed() {
        let mut statuses = pipeline();
        let run = upper_done(&statuses, RunState::Done, RunState::Done).remove(&TRAIN).unwrap();
        assert_eq!(run.discards(&statuses[TRAIN as usize]), Some(Discards::Steps(20)));
        statuses[TRAIN as usize].fingerprint = "changed".to_owned();
        assert_eq!(run.discards(&statuses[TRAIN as usize]), None);
    }

    #[test]
    fn a_missing_input_is_refused_by_name() {
        let row = CellRow { id: 1, experiment: 1, config: CellConfig::default_of(CellKind::Train), version: 0 };
        let statuses = statuses(vec![row], |_, _| String::new());
        let refused = one(&statuses, &runs(&statuses, &[]), 1, false).err().unwrap();
        assert!(refused.message.contains("no data cell"), "{}", refused.message);
    }
}
