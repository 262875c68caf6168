//! Run logs: append, and read after a number.

use rusqlite::{Transaction, params};
use spec::{LoggedEvent, RunEvent, RunView};

use super::{Durable, Result, Store, StoreError, pairs};

impl Store {
    /// Appends one event together with what follows from it: the run's state, a finished pair, and, when the run
    /// is over, its folded log.
    pub fn append(&self, logged: &LoggedEvent, ended: Option<&RunView>) -> Result<()> {
        self.write(durable(&logged.event), |transaction| {
            insert(transaction, logged.run, logged.seq, logged.at_ms, &logged.event)?;
            match &logged.event {
                RunEvent::State { state, .. } => {
                    let view = ended.map(serde_json::to_string).transpose()?;
                    transaction
                        .prepare_cached("UPDATE runs SET state = ?2, view = ?3 WHERE id = ?1")?
                        .execute(params![logged.run, state.as_str(), view])?;
                    transaction
                        .prepare_cached("UPDATE experiments SET updated_ms = ?2 WHERE id = (SELECT experiment FROM runs WHERE id = ?1)")?
                        .execute(params![logged.run, logged.at_ms])?;
                }
                RunEvent::Pair { pair } => pairs::insert(transaction, logged.run, pair)?,
                _ => {}
            }
            Ok(())
        })
    }

    /// Number of the last event; every run has at least one.
    pub fn last_seq(&self, run: i64) -> Result<u64> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT max(seq) FROM events WHERE run = ?1")?;
            let last: Option<i64> = statement.query_row([run], |row| row.get(0))?;
            last.map(i64::unsigned_abs).ok_or(StoreError::NotFound { what: "run", id: run })
        })
    }

    /// At most `limit` events after number `after`, in order.
    pub fn events(&self, run: i64, after: u64, limit: u32) -> Result<Vec<LoggedEvent>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT seq, at_ms, event FROM events WHERE run = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )?;
            // A number beyond what SQLite counts has nothing after it.
            let mut rows = statement.query(params![run, i64::try_from(after).unwrap_or(i64::MAX), limit])?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                let event: String = row.get(2)?;
                events.push(LoggedEvent {
                    run,
                    seq: row.get::<_, i64>(0)?.unsigned_abs(),
                    at_ms: row.get(1)?,
                    event: serde_json::from_str(&event)?,
                });
            }
            Ok(events)
        })
    }
}

pub(super) fn insert(transaction: &Transaction<'_>, run: i64, seq: u64, at_ms: i64, event: &RunEvent) -> Result<()> {
    transaction
        .prepare_cached("INSERT INTO events (run, seq, at_ms, event) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![run, i64::try_from(seq).unwrap_or(i64::MAX), at_ms, serde_json::to_string(event)?])?;
    Ok(())
}

/// What is shown as saved or finished waits for the disk; what only says how far things are does not.
fn durable(event: &RunEvent) -> Durable {
    match event {
        RunEvent::State { .. } | RunEvent::Checkpoint { .. } | RunEvent::Pair { .. } | RunEvent::Output { .. } => {
            Durable::PowerCut
        }
        RunEvent::Phase { .. }
        | RunEvent::Progress { .. }
        | RunEvent::Integrity { .. }
        | RunEvent::Step { .. }
        | RunEvent::Evaluation { .. }
        | RunEvent::Sample { .. }
        | RunEvent::Tokens { .. } => Durable::ProcessEnd,
    }
}
