//! Experiments and their cells.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use spec::{CellConfig, CellKind, ExperimentSummary, NoteConfig, RunState};

use super::{Durable, Key, Result, Store, StoreError, format};
use crate::clock::now_ms;

#[derive(Clone, Debug, PartialEq)]
pub struct CellRow {
    pub id: i64,
    pub experiment: i64,
    pub config: CellConfig,
    /// Of the configuration; increases with every change.
    pub version: u64,
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
        let runs = self.write(Durable::PowerCut, |transaction| {
            let runs = ids(transaction, "SELECT id FROM runs WHERE experiment = ?1", experiment)?;
            found(
                transaction.execute("DELETE FROM experiments WHERE id = ?1", [experiment])?,
                "experiment",
                experiment,
            )?;
            note_deleted(transaction, &runs)?;
            Ok(runs)
        })?;
        self.shrink();
        Ok(runs)
    }

    pub fn runs_of(&self, experiment: i64) -> Result<Vec<i64>> {
        self.read(|connection| ids(connection, "SELECT id FROM runs WHERE experiment = ?1", experiment))
    }

    /// Newest first.
    pub fn experiments(&self) -> Result<Vec<ExperimentSummary>> {
        let ended: HashMap<i64, RunState> = self.unstored().iter().map(|(run, end)| (*run, end.view.state)).collect();
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
                "SELECT cells.kind, runs.id, runs.state FROM cells
                 LEFT JOIN runs ON runs.id = (SELECT max(id) FROM runs WHERE cell = cells.id)
                 WHERE cells.experiment = ?1 AND NOT cells.deleted ORDER BY position",
            )?;
            for summary in &mut summaries {
                let mut rows = cells.query([summary.id])?;
                while let Some(row) = rows.next()? {
                    let kind = format::read_name(row.get(0)?).unwrap_or(CellKind::Note);
                    let stored: Option<String> = row.get(2)?;
                    let state = stored.map(|name| format::read_name(name).unwrap_or(RunState::Failed));
                    let ended = row.get::<_, Option<i64>>(1)?.and_then(|run| ended.get(&run).copied());
                    summary
                        .cells
                        .push((kind, state.map(|state| if state.is_over() { state } else { ended.unwrap_or(state) })));
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
            let query = format!("{CELLS} WHERE experiment = ?1 AND NOT deleted ORDER BY position");
            let mut statement = connection.prepare_cached(&query)?;
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
            let mut statement = connection.prepare_cached(&format!("{CELLS} WHERE id = ?1 AND NOT deleted"))?;
            let mut rows = statement.query([cell])?;
            match rows.next()? {
                Some(row) => cell_row(row),
                None => Err(StoreError::NotFound { what: "cell", id: cell }),
            }
        })
    }

    /// Bytes of all the experiment's configurations but that of this cell.
    pub fn config_bytes_beside(&self, cell: &CellRow) -> Result<u64> {
        self.read(|connection| {
            let sum = "SELECT coalesce(sum(octet_length(config)), 0) FROM cells
                       WHERE experiment = ?1 AND id <> ?2 AND NOT deleted";
            let bytes: i64 = connection.query_row(sum, [cell.experiment, cell.id], |row| row.get(0))?;
            Ok(bytes.unsigned_abs())
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

    /// The newest number under which this client changed each setting of the cell.
    pub fn changes_of(&self, cell: i64, client: &str) -> Result<HashMap<String, u64>> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT setting, number FROM cell_changes WHERE cell = ?1 AND client = ?2")?;
            let changes = statement
                .query_map(params![cell, client], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
            Ok(changes.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Stores the cell's configuration and version, and which settings this client changed under which number.
    pub fn save_cell(&self, cell: &CellRow, client: &str, number: u64, settings: &[&str]) -> Result<()> {
        self.write(Durable::PowerCut, |transaction| {
            let (config, _) = format::write("the configuration", &cell.config)?;
            let changed = transaction.execute(
                "UPDATE cells SET config = ?2, format = ?3, version = ?4 WHERE id = ?1",
                params![cell.id, config, format::RECORD, cell.version as i64],
            )?;
            found(changed, "cell", cell.id)?;
            let mut change = transaction.prepare_cached(
                "INSERT OR REPLACE INTO cell_changes (cell, client, setting, number, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for setting in settings {
                change.execute(params![cell.id, client, setting, number as i64, now_ms()])?;
            }
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

    /// With its runs, but for those whose reports have share links that are open: these stay until the links are
    /// revoked, and so does the cell, as deleted. Returns the ids of the runs that are gone.
    pub fn delete_cell(&self, cell: &CellRow) -> Result<Vec<i64>> {
        let runs = self.write(Durable::PowerCut, |transaction| {
            let deleted =
                transaction.execute("UPDATE cells SET deleted = 1 WHERE id = ?1 AND NOT deleted", [cell.id])?;
            found(deleted, "cell", cell.id)?;
            let runs = delete_unshared(transaction, cell.id)?;
            let order = cell_ids(transaction, cell.experiment)?;
            reorder(transaction, &order)?;
            touch(transaction, cell.experiment)?;
            Ok(runs)
        })?;
        self.shrink();
        Ok(runs)
    }
}

const CELLS: &str = "SELECT id, experiment, kind, config, format, version FROM cells";

/// Deletes those runs of a deleted cell whose reports nobody can open any more, and the cell once none is left.
pub(super) fn delete_unshared(transaction: &Transaction<'_>, cell: i64) -> Result<Vec<i64>> {
    let unshared = "cell = ?1 AND id NOT IN (SELECT run FROM shares WHERE NOT revoked)";
    let runs = ids(transaction, &format!("SELECT id FROM runs WHERE {unshared}"), cell)?;
    transaction.execute(&format!("DELETE FROM runs WHERE {unshared}"), [cell])?;
    transaction
        .execute("DELETE FROM cells WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE cell = ?1)", [cell])?;
    note_deleted(transaction, &runs)?;
    Ok(runs)
}

/// The only runs whose folders the next start removes.
fn note_deleted(transaction: &Transaction<'_>, runs: &[i64]) -> Result<()> {
    let mut statement = transaction.prepare_cached("INSERT OR IGNORE INTO deleted_runs (run) VALUES (?1)")?;
    runs.iter().try_for_each(|run| statement.execute([run]).map(drop))?;
    Ok(())
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

pub(super) fn ids(connection: &Connection, query: &str, of: i64) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(query)?;
    let ids = statement.query_map([of], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(ids)
}

fn cell_ids(connection: &Connection, experiment: i64) -> Result<Vec<i64>> {
    ids(connection, "SELECT id FROM cells WHERE experiment = ?1 AND NOT deleted ORDER BY position", experiment)
}

fn insert_cell(transaction: &Transaction<'_>, experiment: i64, position: usize, config: &CellConfig) -> Result<()> {
    transaction
        .prepare_cached("INSERT INTO cells (experiment, position, kind, config, format) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            experiment,
            position as i64,
            config.kind().as_str(),
            format::write("the configuration", config)?.0,
            format::RECORD
        ])?;
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
    let (id, kind): (i64, String) = (row.get(0)?, row.get(2)?);
    let config = match format::read_name(kind.clone()) {
        Some(kind) => {
            let (config, problem) =
                format::read_config(kind, row.get(4)?, row.get_ref(3)?.as_str().unwrap_or_default());
            if let Some(problem) = problem {
                tracing::warn!(
                    cell = id,
                    problem,
                    "fields of the cell's settings cannot be read and have their defaults"
                );
            }
            config
        }
        None => CellConfig::Note(NoteConfig { text: format!("This cell cannot be read: its kind is {kind:?}.") }),
    };
    Ok(CellRow { id, experiment: row.get(1)?, config, version: row.get::<_, i64>(5)?.unsigned_abs() })
}
