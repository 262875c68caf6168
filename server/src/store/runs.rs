//! Runs: what was asked for, with which inputs, and in which state it is.

use std::collections::HashMap;

use rusqlite::{Row, Transaction, params};
use serde::{Deserialize, Serialize};
use spec::{AppError, CellConfig, CellKind, GenerateRun, LoggedEvent, RunEvent, RunState, RunView};

use super::experiments::touch;
use super::{Durable, End, Key, Result, Store, StoreError, format, log};
use crate::clock::now_ms;

/// One input of a run, as it was when the run was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRef {
    pub kind: CellKind,
    pub cell: i64,
    pub run: i64,
    pub fingerprint: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    pub id: i64,
    pub experiment: i64,
    pub cell: i64,
    pub state: RunState,
    /// As it was when the run was asked for.
    pub config: CellConfig,
    pub fingerprint: String,
    pub identity: String,
    pub inputs: Vec<InputRef>,
    pub created_ms: i64,
    /// Why the stored row could not be read whole: such a run is shown, but neither resumed nor built on.
    pub unreadable: Option<String>,
}

impl RunRow {
    pub fn check_readable(&self) -> Result<()> {
        match &self.unreadable {
            Some(problem) => {
                Err(StoreError::Unreadable { what: format!("the record of run {}", self.id), problem: problem.clone() })
            }
            None => Ok(()),
        }
    }
}

/// A run to be queued.
#[derive(Clone, Debug)]
pub struct NewRun {
    pub cell: i64,
    pub config: CellConfig,
    pub fingerprint: String,
    pub identity: String,
    pub inputs: Vec<InputPlan>,
}

#[derive(Clone, Debug)]
pub struct InputPlan {
    pub kind: CellKind,
    pub cell: i64,
    pub fingerprint: String,
    pub source: Source,
}

/// Where an input comes from: a run that there is, or one that is queued together with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Run(i64),
    /// Its place in the same plan.
    Planned(usize),
}

const COLUMNS: &str =
    "runs.id, runs.experiment, runs.cell, state, runs.config, fingerprint, identity, inputs, created_ms,
    runs.format, cells.kind";

impl Store {
    /// Writes down, all or none, that these runs are queued: those that are resumed, each with the number of
    /// its last event, and the new ones. Returns the new rows, and the `Queued` event of every run in this order.
    pub fn queue(
        &self,
        experiment: i64,
        resumed: &[(i64, u64)],
        new: &[NewRun],
        key: Key<'_>,
    ) -> Result<(Vec<RunRow>, Vec<LoggedEvent>)> {
        self.write(Durable::PowerCut, |transaction| {
            let at_ms = now_ms();
            let mut events = Vec::with_capacity(resumed.len() + new.len());
            for (run, last) in resumed {
                transaction
                    .prepare_cached("UPDATE runs SET state = ?2, view = NULL WHERE id = ?1")?
                    .execute(params![run, RunState::Queued.as_str()])?;
                events.push(queued(*run, last + 1, at_ms));
            }
            let mut rows: Vec<RunRow> = Vec::with_capacity(new.len());
            for plan in new {
                let row = insert_run(transaction, experiment, plan, &rows, at_ms)?;
                events.push(queued(row.id, 1, at_ms));
                rows.push(row);
            }
            events.iter().try_for_each(|event| log::insert(transaction, event))?;
            key.keep(transaction, experiment)?;
            touch(transaction, experiment)?;
            Ok((rows, events))
        })
    }

    /// Every generate run with pairs, newest first.
    pub fn generate_runs(&self) -> Result<Vec<GenerateRun>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT runs.id, experiments.name, runs.created_ms, (SELECT count(*) FROM pairs WHERE run = runs.id) AS pairs
                 FROM runs JOIN cells ON cells.id = runs.cell JOIN experiments ON experiments.id = runs.experiment
                 WHERE cells.kind = 'generate' AND pairs > 0 ORDER BY runs.id DESC",
            )?;
            let runs = statement.query_map([], |row| {
                let pairs: i64 = row.get(3)?;
                Ok(GenerateRun {
                    run: row.get(0)?,
                    experiment: row.get(1)?,
                    created_ms: row.get(2)?,
                    pairs: pairs.unsigned_abs(),
                })
            })?;
            Ok(runs.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// What a run read that its configuration does not name, as it was when the run read it.
    pub fn set_identity(&self, run: i64, identity: &str) -> Result<()> {
        self.write(Durable::PowerCut, |transaction| {
            transaction.execute("UPDATE runs SET identity = ?2 WHERE id = ?1", params![run, identity])?;
            Ok(())
        })
    }

    pub fn run(&self, run: i64) -> Result<RunRow> {
        self.runs("runs.id = ?1", run)?.pop().ok_or(StoreError::NotFound { what: "run", id: run })
    }

    /// Every run, the newest first.
    pub fn all_runs(&self) -> Result<Vec<RunRow>> {
        self.runs("?1 = 0 ORDER BY runs.id DESC", 0)
    }

    /// The newest run of each cell of the experiment.
    pub fn newest_runs(&self, experiment: i64) -> Result<HashMap<i64, RunRow>> {
        let newest = "runs.id IN (SELECT max(id) FROM runs WHERE experiment = ?1 GROUP BY cell)";
        Ok(self.runs(newest, experiment)?.into_iter().map(|row| (row.cell, row)).collect())
    }

    /// The experiment's runs that are queued or under way, oldest first.
    pub fn active_runs(&self, experiment: i64) -> Result<Vec<RunRow>> {
        let active = "runs.experiment = ?1 AND state IN ('queued', 'running', 'stopping') ORDER BY runs.id";
        let mut runs = self.runs(active, experiment)?;
        runs.retain(|run| !run.state.is_over());
        Ok(runs)
    }

    /// Runs that no process works on any more although their state says so, oldest first. Right only at start.
    pub fn cut_off_runs(&self) -> Result<Vec<RunRow>> {
        self.runs("?1 = 0 AND state IN ('queued', 'running', 'stopping') ORDER BY runs.id", 0)
    }

    pub fn run_exists(&self, run: i64) -> Result<bool> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)")?;
            Ok(statement.query_row([run], |row| row.get(0))?)
        })
    }

    /// New runs get numbers above this one.
    pub fn number_runs_above(&self, run: i64) -> Result<()> {
        self.write(Durable::PowerCut, |transaction| {
            let table = "SELECT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'runs')";
            if transaction.query_row(table, [], |row| row.get::<_, bool>(0))? {
                transaction.execute("UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'runs'", [run])?;
            } else {
                transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('runs', ?1)", [run])?;
            }
            Ok(())
        })
    }

    /// Runs that were deleted while their folders may still be there.
    pub fn deleted_runs(&self) -> Result<Vec<i64>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT run FROM deleted_runs")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
        })
    }

    pub fn forget_deleted(&self, runs: &[i64]) -> Result<()> {
        self.write(Durable::ProcessEnd, |transaction| {
            let mut statement = transaction.prepare_cached("DELETE FROM deleted_runs WHERE run = ?1")?;
            runs.iter().try_for_each(|run| statement.execute([run]).map(drop))?;
            Ok(())
        })
    }

    fn runs(&self, condition: &str, value: i64) -> Result<Vec<RunRow>> {
        let ended: HashMap<i64, RunState> = self.unstored().iter().map(|(run, end)| (*run, end.view.state)).collect();
        self.read(|connection| {
            let query = format!("SELECT {COLUMNS} FROM runs JOIN cells ON cells.id = runs.cell WHERE {condition}");
            let mut statement = connection.prepare_cached(&query)?;
            let mut rows = statement.query([value])?;
            let mut runs = Vec::new();
            while let Some(row) = rows.next()? {
                let mut run = run_row(row)?;
                if let (false, Some(state)) = (run.state.is_over(), ended.get(&run.id)) {
                    run.state = *state;
                }
                runs.push(run);
            }
            Ok(runs)
        })
    }

    /// The folded log: as it was kept when the run ended, else folded now. What cannot be read of it is left out, and
    /// the view's error says so.
    pub fn view(&self, run: &RunRow) -> Result<RunView> {
        let unstored = self.unstored().get(&run.id).map(|End { view, .. }| view.clone());
        if let Some(view) = unstored {
            return Ok(view);
        }
        if run.unreadable.is_none()
            && let Some(kept) = self.read(|connection| log::kept_view(connection, run.id))?
        {
            return Ok(kept);
        }
        let mut view = RunView::new(run.id, run.cell, run.config.clone(), run.created_ms);
        let mut problem = run.unreadable.clone();
        loop {
            let (events, unreadable) = self.read_events(run.id, view.seq, 1_000)?;
            problem = problem.or(unreadable);
            if events.is_empty() {
                break;
            }
            for event in &events {
                if event.seq != view.seq + 1 {
                    problem.get_or_insert_with(|| format!("event {} is missing", view.seq + 1));
                    view.seq = event.seq - 1;
                }
                view.apply(event);
            }
        }
        if let Some(problem) = problem {
            view.state = run.state;
            view.error.get_or_insert_with(|| unreadable(&problem));
        }
        if run.state.is_over() {
            self.keep_view(run, &view);
        }
        Ok(view)
    }

    /// So that it is not folded again. Only a cache: a run that went on meanwhile keeps its own.
    fn keep_view(&self, run: &RunRow, view: &RunView) {
        let Ok((text, _)) = format::write("the folded log", view) else { return };
        let kept = self.write(Durable::ProcessEnd, |transaction| {
            let unchanged = "id = ?1 AND state = ?2 AND (view IS NULL OR view_format <> ?4)";
            transaction
                .prepare_cached(&format!("UPDATE runs SET view = ?3, view_format = ?4 WHERE {unchanged}"))?
                .execute(params![run.id, run.state.as_str(), text, format::VIEW])?;
            Ok(())
        });
        if let Err(error) = kept {
            tracing::debug!(run = run.id, %error, "the folded log was not kept");
        }
    }
}

fn queued(run: i64, seq: u64, at_ms: i64) -> LoggedEvent {
    LoggedEvent { run, seq, at_ms, event: RunEvent::State { state: RunState::Queued, error: None } }
}

fn unreadable(problem: &str) -> AppError {
    AppError::corrupt(
        format!("This run's record cannot be read: {problem}."),
        "Run the cell again. Other runs are not affected.",
    )
}

fn insert_run(
    transaction: &Transaction<'_>,
    experiment: i64,
    plan: &NewRun,
    before: &[RunRow],
    created_ms: i64,
) -> Result<RunRow> {
    let input = |input: &InputPlan| InputRef {
        kind: input.kind,
        cell: input.cell,
        run: match input.source {
            Source::Run(run) => run,
            Source::Planned(place) => before[place].id,
        },
        fingerprint: input.fingerprint.clone(),
    };
    let inputs: Vec<InputRef> = plan.inputs.iter().map(input).collect();
    let (config, _) = format::write("the cell's configuration", &plan.config)?;
    transaction
        .prepare_cached(
            "INSERT INTO runs (experiment, cell, state, config, fingerprint, identity, inputs, created_ms, format)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            experiment,
            plan.cell,
            RunState::Queued.as_str(),
            config,
            plan.fingerprint,
            plan.identity,
            format::write("the run's inputs", &inputs)?.0,
            created_ms,
            format::RECORD
        ])?;
    Ok(RunRow {
        id: transaction.last_insert_rowid(),
        experiment,
        cell: plan.cell,
        state: RunState::Queued,
        config: plan.config.clone(),
        fingerprint: plan.fingerprint.clone(),
        identity: plan.identity.clone(),
        inputs,
        created_ms,
        unreadable: None,
    })
}

fn run_row(row: &Row<'_>) -> Result<RunRow> {
    let record: i64 = row.get(9)?;
    let kind = format::read_name(row.get(10)?).unwrap_or(CellKind::Note);
    let (config, mut problem) = format::read_config(kind, record, row.get_ref(4)?.as_str().unwrap_or_default());
    problem = problem.map(|problem| format!("its configuration: {problem}"));
    let inputs = format::read(record, row.get_ref(7)?.as_str().unwrap_or_default()).unwrap_or_else(|what| {
        problem.get_or_insert_with(|| format!("its inputs: {what}"));
        Vec::new()
    });
    let state: String = row.get(3)?;
    let state = format::read_name(state.clone()).unwrap_or_else(|| {
        problem.get_or_insert_with(|| format!("its state: {state:?}"));
        RunState::Failed
    });
    Ok(RunRow {
        id: row.get(0)?,
        experiment: row.get(1)?,
        cell: row.get(2)?,
        state,
        config,
        fingerprint: row.get(5)?,
        identity: row.get(6)?,
        inputs,
        created_ms: row.get(8)?,
        unreadable: problem,
    })
}
