//! What can go wrong in the store, and how a page hears of it.

use std::path::PathBuf;

use spec::{AppError, ErrorCode};

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database refused: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the database cannot be brought to this version's schema: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    #[error("{what} cannot be read: {problem}")]
    Unreadable { what: String, problem: String },
    #[error("{what} cannot be stored: {problem}")]
    Unstorable { what: String, problem: String },
    #[error("there is no {what} {id}")]
    NotFound { what: &'static str, id: i64 },
    #[error("the database {0} was moved or deleted while the server was running: nothing can be saved")]
    Gone(PathBuf),
    #[error("there is no database {0}")]
    Absent(PathBuf),
    #[error("the database is of {} version of this program", if *is_older { "an earlier" } else { "a later" })]
    OtherVersion { is_older: bool },
}

impl StoreError {
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Sqlite(cause) if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        if error.is_disk_full() {
            return Self::io("The disk is full: nothing more can be saved.", "Free some space, then resume the run.");
        }
        let (code, hint) = match &error {
            StoreError::NotFound { .. } => {
                (ErrorCode::NotFound, "It may have been deleted; go back to the list of experiments.")
            }
            StoreError::Unreadable { .. } => (ErrorCode::Corrupt, "Nothing else is affected. Run that cell again."),
            StoreError::Unstorable { .. } => (
                ErrorCode::NonFinite,
                "A loss or score is NaN or infinite. Lower the learning rate, or check the base model's weights.",
            ),
            StoreError::Gone(_) => {
                (ErrorCode::Io, "Stop the server, put the data folder back, then start the server again.")
            }
            StoreError::Absent(_) => (ErrorCode::NotFound, "Name the data folder with --data DIR."),
            StoreError::OtherVersion { is_older: true } => (
                ErrorCode::Conflict,
                "Start `backtranslate serve` on this data folder once: it brings the database to this version.",
            ),
            StoreError::OtherVersion { is_older: false } => {
                (ErrorCode::Conflict, "Use the version of backtranslate that wrote it, or a later one.")
            }
            StoreError::Sqlite(_) | StoreError::Migration(_) => {
                tracing::error!(%error, "store");
                (ErrorCode::Io, "See the server's log, and check that the data folder can be written to.")
            }
        };
        Self::new(code, sentence(&error), hint)
    }
}

fn sentence(error: &StoreError) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(characters).chain(['.']).collect()
}
