//! What must outlive the process: experiments, cells, runs with their logs, pairs, reports, share links.
//!
//! One SQLite file in WAL mode: one writer behind a lock, readers beside it. All of it blocks, so callers on
//! tokio use a blocking thread. Knows nothing of queues, HTTP or run folders.
//!
//! The end of a run is never lost while the process lives: where it cannot be written (a full disk) it is kept in
//! memory, all reads answer with it, and the next write that succeeds stores it.

mod curation;
mod error;
mod experiments;
mod format;
mod keys;
mod log;
mod pairs;
mod ratings;
mod runs;
mod schema;
mod shares;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction};
use spec::{LoggedEvent, RunView};

pub use curation::CurationDigest;
pub use error::{Result, StoreError};
pub use experiments::CellRow;
pub use keys::Key;
pub use pairs::{PairSource, Ranked};
#[cfg(test)]
pub use runs::InputRef;
pub use runs::{InputPlan, NewRun, RunRow, Source};

/// Readers kept open between reads.
const IDLE_READERS: usize = 4;
/// The write-ahead log is cut back to this size after a checkpoint.
const WAL_BYTES: u32 = 16 << 20;

/// Locking: `writer` before `unstored`; `readers` and `unstored` are held for moments only.
pub struct Store {
    path: PathBuf,
    /// Which file `path` was when it was opened.
    opened: Option<FileId>,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    unstored: Mutex<HashMap<i64, End>>,
}

/// The last event of a run, and its log folded up to that.
#[derive(Clone)]
struct End {
    logged: LoggedEvent,
    view: RunView,
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
    /// True where there is no database yet, or one without any table.
    pub fn is_new(path: &Path) -> Result<bool> {
        if std::fs::metadata(path).map_or(0, |file| file.len()) == 0 {
            return Ok(true);
        }
        let tables = "SELECT count(*) FROM sqlite_schema";
        Ok(connect(path)?.query_row(tables, [], |row| row.get::<_, i64>(0))? == 0)
    }

    /// Opens the file and brings it to the newest schema; makes it where it is absent.
    pub fn open(path: &Path) -> Result<Self> {
        let mut writer = connect(path)?;
        // Without effect once there are tables; `shrink_on_delete` converts those that were made without it.
        writer.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
        schema::migrate(&mut writer)?;
        shrink_on_delete(&writer);
        private(path);
        Ok(Self {
            path: path.to_owned(),
            opened: file_id(path),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            unstored: Mutex::default(),
        })
    }

    /// Opens the file to read it only, beside whoever serves it: takes no lock, makes nothing and migrates nothing.
    /// Whatever would write is refused.
    pub fn open_to_read(path: &Path) -> Result<Self> {
        if file_id(path).is_none() && !path.is_file() {
            return Err(StoreError::Absent(path.to_owned()));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = prepared(Connection::open_with_flags(path, flags)?)?;
        connection.pragma_update(None, "query_only", true)?;
        schema::check(&connection)?;
        Ok(Self {
            path: path.to_owned(),
            opened: file_id(path),
            writer: Mutex::new(connection),
            readers: Mutex::default(),
            unstored: Mutex::default(),
        })
    }

    fn write<T>(&self, durable: Durable, change: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut writer = self.writer();
        self.check_writable()?;
        self.store_ends_with(&mut writer)?;
        commit(&mut writer, durable, change)
    }

    /// Refuses to write into a file that nobody can open again.
    fn check_writable(&self) -> Result<()> {
        if self.opened == file_id(&self.path) { Ok(()) } else { Err(StoreError::Gone(self.path.clone())) }
    }

    /// Tries again to store the ends of runs that could not be stored; true where none is left.
    pub fn store_ends(&self) -> bool {
        if self.unstored().is_empty() {
            return true;
        }
        let mut writer = self.writer();
        self.check_writable().and_then(|()| self.store_ends_with(&mut writer)).is_ok()
    }

    fn store_ends_with(&self, writer: &mut Connection) -> Result<()> {
        let mut unstored = self.unstored();
        if unstored.is_empty() {
            return Ok(());
        }
        commit(writer, Durable::PowerCut, |transaction| {
            unstored.values().try_for_each(|end| log::insert_end(transaction, end))
        })?;
        tracing::info!(runs = ?unstored.keys().collect::<Vec<_>>(), "the ends of these runs are stored now");
        unstored.clear();
        Ok(())
    }

    fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.readers().pop();
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
        let mut readers = self.readers();
        if readers.len() < IDLE_READERS {
            readers.push(reader);
        }
        value
    }

    /// Gives pages that a deletion freed back to the file system, as far as readers allow it now.
    fn shrink(&self) {
        let writer = self.writer();
        // Each row that is read frees one page.
        let freed = writer.prepare("PRAGMA incremental_vacuum").and_then(|mut statement| {
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        });
        if let Err(error) = freed.and_then(|()| checkpoint(&writer)) {
            tracing::debug!(%error, "the database was not shrunk");
        }
    }

    /// Brings everything into the one file, so that a copy of it alone is whole.
    pub fn close(&self) {
        if !self.store_ends() {
            tracing::error!("the ends of some runs could not be stored; the next start marks them as interrupted");
        }
        self.readers().clear();
        if let Err(error) = checkpoint(&self.writer()) {
            tracing::warn!(%error, "the write-ahead log stays beside the database: copy both");
        }
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unstored(&self) -> MutexGuard<'_, HashMap<i64, End>> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(path: &Path) -> Result<Connection> {
    prepared(Connection::open(path)?)
}

fn prepared(connection: Connection) -> Result<Connection> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn commit<T>(
    writer: &mut Connection,
    durable: Durable,
    change: impl FnOnce(&Transaction<'_>) -> Result<T>,
) -> Result<T> {
    let level = if durable == Durable::PowerCut { "FULL" } else { "NORMAL" };
    writer.pragma_update(None, "synchronous", level)?;
    let transaction = writer.transaction()?;
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

fn checkpoint(writer: &Connection) -> rusqlite::Result<()> {
    // The row says whether readers were in the way; what they left is a matter for the next checkpoint.
    writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Databases of version 0.1.0 keep the pages of what was deleted; rewriting them once changes that.
fn shrink_on_delete(writer: &Connection) {
    const INCREMENTAL: i64 = 2;
    let converted = writer.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0)).and_then(|mode| {
        if mode == INCREMENTAL { Ok(()) } else { writer.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM") }
    });
    if let Err(error) = converted {
        tracing::warn!(%error, "the database could not be rewritten; it will not shrink when experiments are deleted");
    }
}

/// Experiments are nobody else's to read.
fn private(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(suffix);
            match std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(file = %file.display(), %error, "other users of this machine may read it");
                }
                _ => {}
            }
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Device and inode.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}
