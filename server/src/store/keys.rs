//! Idempotency keys: what a command answered the first time, so that asking again does nothing.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Durable, Result, Store};
use crate::clock::now_ms;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// A repeated command comes within seconds.
const KEYS_KEPT_MS: i64 = DAY_MS;
/// A page may be offline for long before it repeats a save.
const CHANGES_KEPT_MS: i64 = 30 * DAY_MS;

/// A command's name and the caller's key for this call of it. An empty key promises nothing and is not kept.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    pub command: &'static str,
    pub key: &'a str,
}

impl Key<'_> {
    pub(super) fn keep(self, connection: &Connection, result: i64) -> Result<()> {
        if !self.key.is_empty() {
            connection
                .prepare_cached("INSERT OR IGNORE INTO keys (command, key, result, at_ms) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![self.command, self.key, result, now_ms()])?;
        }
        Ok(())
    }
}

impl Store {
    /// What the first call with this key resulted in.
    pub fn known_key(&self, key: Key<'_>) -> Result<Option<i64>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT result FROM keys WHERE command = ?1 AND key = ?2")?;
            Ok(statement.query_row(params![key.command, key.key], |row| row.get(0)).optional()?)
        })
    }

    pub fn forget_old_keys(&self) -> Result<()> {
        self.write(Durable::ProcessEnd, |transaction| {
            transaction.execute("DELETE FROM keys WHERE at_ms < ?1", [now_ms() - KEYS_KEPT_MS])?;
            transaction.execute("DELETE FROM cell_changes WHERE at_ms < ?1", [now_ms() - CHANGES_KEPT_MS])?;
            Ok(())
        })
    }
}
