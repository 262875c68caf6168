//! Runs: what was asked for, with which inputs, and in which state it is.

use std::collections::HashMap;

use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};
use spec::{CellConfig, CellKind, RunEvent, RunState, RunView};

use super::experiments::{touch, word};
use super::{Durable, Key, Result, Store, StoreError, log, now_ms};

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

const COLUMNS: &str = "id, experiment, cell, state, config, fingerprint, identity, inputs, created_ms";

impl Store {
    /// Writes all of them down as queued, each with the first event of its log, or none.
    pub fn insert_runs(&self, experiment: i64, plans: &[NewRun], key: Key<'_>) -> Result<Vec<RunRow>> {
        self.write(Durable::PowerCut, |transaction| {
            let mut rows: Vec<RunRow> = Vec::with_capacity(plans.len());
            for plan in plans {
                let inputs = plan.inputs.iter().map(|input| InputRef {
                    kind: input.kind,
                    cell: input.cell,
                    run: match input.source {
                        Source::Run(run) => run,
                        Source::Planned(place) => rows[place].id,
                    },
                    fingerprint: input.fingerprint.clone(),
                });
                let inputs: Vec<InputRef> = inputs.collect();
                let created_ms = now_ms();
                transaction
                    .prepare_cached(
                        "INSERT INTO runs (experiment, cell, state, config, fingerprint, identity, inputs, created_ms)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )?
                    .execute(params![
                        experiment,
                        plan.cell,
                        RunState::Queued.as_str(),
                        serde_json::to_string(&plan.config)?,
                        plan.fingerprint,
                        plan.identity,
                        serde_json::to_string(&inputs)?,
                        created_ms
                    ])?;
                let id = transaction.last_insert_rowid();
                log::insert(transaction, id, 1, created_ms, &RunEvent::State { state: RunState::Queued, error: None })?;
                rows.push(RunRow {
                    id,
                    experiment,
                    cell: plan.cell,
                    state: RunState::Queued,
                    config: plan.config.clone(),
                    fingerprint: plan.fingerprint.clone(),
                    identity: plan.identity.clone(),
                    inputs,
                    created_ms,
                });
            }
            key.keep(transaction, experiment)?;
            touch(transaction, experiment)?;
            Ok(rows)
        })
    }

    pub fn keep_key(&self, key: Key<'_>, result: i64) -> Result<()> {
        self.write(Durable::ProcessEnd, |transaction| key.keep(transaction, result))
    }

    pub fn run(&self, run: i64) -> Result<RunRow> {
        self.runs("id = ?1", run)?.pop().ok_or(StoreError::NotFound { what: "run", id: run })
    }

    /// The newest run of each cell of the experiment.
    pub fn newest_runs(&self, experiment: i64) -> Result<HashMap<i64, RunRow>> {
        let newest = "id IN (SELECT max(id) FROM runs WHERE experiment = ?1 GROUP BY cell)";
        Ok(self.runs(newest, experiment)?.into_iter().map(|row| (row.cell, row)).collect())
    }

    /// The cell's finished runs, newest first.
    pub fn done_runs(&self, cell: i64) -> Result<Vec<RunRow>> {
        self.runs("cell = ?1 AND state = 'done' ORDER BY id DESC", cell)
    }

    /// The experiment's runs that are queued or under way, oldest first.
    pub fn active_runs(&self, experiment: i64) -> Result<Vec<RunRow>> {
        self.runs("experiment = ?1 AND state IN ('queued', 'running', 'stopping') ORDER BY id", experiment)
    }

    /// Runs that no process works on any more although their state says so, oldest first. Right only at start.
    pub fn cut_off_runs(&self) -> Result<Vec<RunRow>> {
        self.runs("?1 = 0 AND state IN ('queued', 'running', 'stopping') ORDER BY id", 0)
    }

    pub fn run_exists(&self, run: i64) -> Result<bool> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)")?;
            Ok(statement.query_row([run], |row| row.get(0))?)
        })
    }

    fn runs(&self, condition: &str, value: i64) -> Result<Vec<RunRow>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM runs WHERE {condition}"))?;
            let mut rows = statement.query([value])?;
            let mut runs = Vec::new();
            while let Some(row) = rows.next()? {
                runs.push(run_row(row)?);
            }
            Ok(runs)
        })
    }

    /// The folded log: as it was kept when the run ended, else folded now. A kept view without its curve is of a
    /// version that thinned steps: it is folded again, once.
    pub fn view(&self, run: &RunRow) -> Result<RunView> {
        let kept: Option<String> = self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT view FROM runs WHERE id = ?1")?;
            Ok(statement.query_row([run.id], |row| row.get(0))?)
        })?;
        let Some(kept) = kept else { return self.fold(run) };
        let kept: RunView = serde_json::from_str(&kept)?;
        if !kept.lacks_curve() {
            return Ok(kept);
        }
        let view = self.fold(run)?;
        let text = serde_json::to_string(&view)?;
        // Where this fails, the next reader folds it again.
        let _ = self.write(Durable::ProcessEnd, |transaction| {
            transaction
                .execute("UPDATE runs SET view = ?2 WHERE id = ?1 AND view IS NOT NULL", params![run.id, text])?;
            Ok(())
        });
        Ok(view)
    }

    fn fold(&self, run: &RunRow) -> Result<RunView> {
        let mut view = RunView::new(run.id, run.cell, run.config.clone(), run.created_ms);
        loop {
            let events = self.events(run.id, view.seq, 1_000)?;
            if events.is_empty() {
                return Ok(view);
            }
            for event in &events {
                if !view.apply(event) {
                    return Err(StoreError::Conflict(format!(
                        "The log of run {} has a gap after event {}.",
                        run.id, view.seq
                    )));
                }
            }
        }
    }
}

fn run_row(row: &Row<'_>) -> Result<RunRow> {
    let config: String = row.get(4)?;
    let inputs: String = row.get(7)?;
    Ok(RunRow {
        id: row.get(0)?,
        experiment: row.get(1)?,
        cell: row.get(2)?,
        state: word(row.get(3)?)?,
        config: serde_json::from_str(&config)?,
        fingerprint: row.get(5)?,
        identity: row.get(6)?,
        inputs: serde_json::from_str(&inputs)?,
        created_ms: row.get(8)?,
    })
}
