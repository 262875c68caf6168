//! What must outlive the process: experiments, cells, runs with their logs, pairs, reports, share links.
//!
//! One SQLite file in WAL mode: one writer behind a lock, readers beside it. All of it blocks, so callers on
//! tokio go through a blocking thread. Knows nothing of queues, HTTP or files of runs; it keeps what it is given.

mod error;
mod experiments;
mod keys;
mod log;
mod pairs;
mod runs;
mod schema;
mod shares;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction};

pub use error::{Result, StoreError};
pub use experiments::CellRow;
pub use keys::Key;
pub use runs::{InputPlan, InputRef, NewRun, RunRow, Source};

/// Readers kept open between reads.
const IDLE_READERS: usize = 4;

pub struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

/// How far a commit must have got before it counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    /// On the disk: what a person was shown as saved.
    PowerCut,
    /// In the system's hands: a killed process loses nothing, a power cut may lose the last moments.
    ProcessEnd,
}

impl Store {
    /// Opens the file and brings it to the newest schema; makes it where it is absent.
    pub fn open(path: &Path) -> Result<Self> {
        let mut writer = connect(path)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        schema::migrate(&mut writer)?;
        Ok(Self { path: path.to_owned(), writer: Mutex::new(writer), readers: Mutex::new(Vec::new()) })
    }

    fn write<T>(&self, durable: Durable, change: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let level = if durable == Durable::PowerCut { "FULL" } else { "NORMAL" };
        writer.pragma_update(None, "synchronous", level)?;
        let transaction = writer.transaction()?;
        let value = change(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => {
                let reader = connect(&self.path)?;
                reader.pragma_update(None, "query_only", true)?;
                reader
            }
        };
        // One snapshot for all of a read's statements.
        reader.execute_batch("BEGIN")?;
        let value = look(&reader);
        reader.execute_batch("COMMIT")?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS {
            readers.push(reader);
        }
        value
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
