//! Experiments and their cells.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::de::DeserializeOwned;
use spec::{CellConfig, CellKind, ExperimentSummary, RunState};

use super::{Durable, Key, Result, Store, StoreError, now_ms};

#[derive(Clone, Debug, PartialEq)]
pub struct CellRow {
    pub id: i64,
    pub experiment: i64,
    pub config: CellConfig,
}

impl Store {
    /// False only in a data folder in which there never was an experiment.
    pub fn ever_had_experiments(&self) -> Result<bool> {
        self.read(|connection| {
            let known = "SELECT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'experiments')";
            Ok(connection.query_row(known, [], |row| row.get(0))?)
        })
    }

    pub fn create_experiment(&self, name: &str, cells: &[CellConfig], key: Key<'_>) -> Result<i64> {
        self.write(Durable::PowerCut, |transaction| {
            let now = now_ms();
            transaction.execute(
                "INSERT INTO experiments (name, created_ms, updated_ms) VALUES (?1, ?2, ?2)",
                params![name, now],
            )?;
            let experiment = transaction.last_insert_rowid();
            for (position, config) in cells.iter().enumerate() {
                insert_cell(transaction, experiment, position, config)?;
            }
            key.keep(transaction, experiment)?;
            Ok(experiment)
        })
    }

    pub fn rename_experiment(&self, experiment: i64, name: &str) -> Result<()> {
        self.write(Durable::PowerCut, |transaction| {
            let changed = transaction.execute(
                "UPDATE experiments SET name = ?2, updated_ms = ?3 WHERE id = ?1",
                params![experiment, name, now_ms()],
            )?;
            found(changed, "experiment", experiment)
        })
    }

    /// With its cells, runs, logs, pairs, reports and shares. Returns the ids of its runs.
    pub fn delete_experiment(&self, experiment: i64) -> Result<Vec<i64>> {
        self.write(Durable::PowerCut, |transaction| {
            let runs = ids(transaction, "SELECT id FROM runs WHERE experiment = ?1", experiment)?;
            found(
                transaction.execute("DELETE FROM experiments WHERE id = ?1", [experiment])?,
                "experiment",
                experiment,
            )?;
            Ok(runs)
        })
    }

    /// Newest first.
    pub fn experiments(&self) -> Result<Vec<ExperimentSummary>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, name, created_ms, updated_ms FROM experiments ORDER BY created_ms DESC, id DESC",
            )?;
            let mut summaries = statement
                .query_map([], |row| {
                    Ok(ExperimentSummary {
                        id: row.get(0)?,
                        name: row.get(1)?,
                        created_ms: row.get(2)?,
                        updated_ms: row.get(3)?,
                        cells: Vec::new(),
                    })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let mut cells = connection.prepare_cached(
                "SELECT kind, (SELECT state FROM runs WHERE runs.cell = cells.id ORDER BY runs.id DESC LIMIT 1)
                 FROM cells WHERE experiment = ?1 ORDER BY position",
            )?;
            for summary in &mut summaries {
                let mut rows = cells.query([summary.id])?;
                while let Some(row) = rows.next()? {
                    let kind: CellKind = word(row.get(0)?)?;
                    let state = row.get::<_, Option<String>>(1)?.map(word::<RunState>).transpose()?;
                    summary.cells.push((kind, state));
                }
            }
            Ok(summaries)
        })
    }

    pub fn experiment_name(&self, experiment: i64) -> Result<String> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT name FROM experiments WHERE id = ?1")?;
            let name = statement.query_row([experiment], |row| row.get(0)).optional()?;
            name.ok_or(StoreError::NotFound { what: "experiment", id: experiment })
        })
    }

    /// In order.
    pub fn cells(&self, experiment: i64) -> Result<Vec<CellRow>> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT id, experiment, config FROM cells WHERE experiment = ?1 ORDER BY position")?;
            let mut rows = statement.query([experiment])?;
            let mut cells = Vec::new();
            while let Some(row) = rows.next()? {
                cells.push(cell_row(row)?);
            }
            Ok(cells)
        })
    }

    pub fn cell(&self, cell: i64) -> Result<CellRow> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT id, experiment, config FROM cells WHERE id = ?1")?;
            let mut rows = statement.query([cell])?;
            match rows.next()? {
                Some(row) => cell_row(row),
                None => Err(StoreError::NotFound { what: "cell", id: cell }),
            }
        })
    }

    /// `position` is 0-based; beyond the end means at the end.
    pub fn add_cell(&self, experiment: i64, config: &CellConfig, position: usize) -> Result<i64> {
        self.write(Durable::PowerCut, |transaction| {
            let mut order = cell_ids(transaction, experiment)?;
            insert_cell(transaction, experiment, order.len(), config)?;
            let cell = transaction.last_insert_rowid();
            order.insert(position.min(order.len()), cell);
            reorder(transaction, &order)?;
            touch(transaction, experiment)?;
            Ok(cell)
        })
    }

    pub fn save_cell(&self, cell: &CellRow) -> Result<()> {
        self.write(Durable::PowerCut, |transaction| {
            let config = serde_json::to_string(&cell.config)?;
            let changed =
                transaction.execute("UPDATE cells SET config = ?2 WHERE id = ?1", params![cell.id, config])?;
            found(changed, "cell", cell.id)?;
            touch(transaction, cell.experiment)
        })
    }

    pub fn move_cell(&self, cell: &CellRow, position: usize) -> Result<()> {
        self.write(Durable::PowerCut, |transaction| {
            let mut order = cell_ids(transaction, cell.experiment)?;
            order.retain(|id| *id != cell.id);
            order.insert(position.min(order.len()), cell.id);
            reorder(transaction, &order)?;
            touch(transaction, cell.experiment)
        })
    }

    /// With its runs, whose ids it returns.
    pub fn delete_cell(&self, cell: &CellRow) -> Result<Vec<i64>> {
        self.write(Durable::PowerCut, |transaction| {
            let runs = ids(transaction, "SELECT id FROM runs WHERE cell = ?1", cell.id)?;
            found(transaction.execute("DELETE FROM cells WHERE id = ?1", [cell.id])?, "cell", cell.id)?;
            let order = cell_ids(transaction, cell.experiment)?;
            reorder(transaction, &order)?;
            touch(transaction, cell.experiment)?;
            Ok(runs)
        })
    }
}

/// The experiment has changed now.
pub(super) fn touch(transaction: &Transaction<'_>, experiment: i64) -> Result<()> {
    transaction
        .prepare_cached("UPDATE experiments SET updated_ms = ?2 WHERE id = ?1")?
        .execute(params![experiment, now_ms()])?;
    Ok(())
}

pub(super) fn found(changed: usize, what: &'static str, id: i64) -> Result<()> {
    if changed == 0 { Err(StoreError::NotFound { what, id }) } else { Ok(()) }
}

/// An enum of the wire that is spelled as one word.
pub(super) fn word<T: DeserializeOwned>(text: String) -> Result<T> {
    Ok(serde_json::from_value(serde_json::Value::String(text))?)
}

pub(super) fn ids(connection: &Connection, query: &str, of: i64) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(query)?;
    let ids = statement.query_map([of], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(ids)
}

fn cell_ids(connection: &Connection, experiment: i64) -> Result<Vec<i64>> {
    ids(connection, "SELECT id FROM cells WHERE experiment = ?1 ORDER BY position", experiment)
}

fn insert_cell(transaction: &Transaction<'_>, experiment: i64, position: usize, config: &CellConfig) -> Result<()> {
    transaction
        .prepare_cached("INSERT INTO cells (experiment, position, kind, config) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![experiment, position as i64, config.kind().as_str(), serde_json::to_string(config)?])?;
    Ok(())
}

fn reorder(transaction: &Transaction<'_>, order: &[i64]) -> Result<()> {
    let mut statement = transaction.prepare_cached("UPDATE cells SET position = ?2 WHERE id = ?1")?;
    for (position, cell) in order.iter().enumerate() {
        statement.execute(params![cell, position as i64])?;
    }
    Ok(())
}

fn cell_row(row: &Row<'_>) -> Result<CellRow> {
    let config: String = row.get(2)?;
    Ok(CellRow { id: row.get(0)?, experiment: row.get(1)?, config: serde_json::from_str(&config)? })
}
