//! What can go wrong in the store, and how a page hears of it.

use spec::AppError;

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database refused: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the database cannot be brought to this version's schema: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    #[error("the database holds something that this version cannot read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("there is no {what} {id}")]
    NotFound { what: &'static str, id: i64 },
    #[error("{0}")]
    Conflict(String),
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => {
                Self::not_found(sentence(&error), "It may have been deleted; go back to the list of experiments.")
            }
            StoreError::Conflict(message) => Self::conflict(message, ""),
            StoreError::Sqlite(ref cause) if is_full(cause) => {
                Self::internal("The disk is full: nothing more can be saved.", "Free some space, then resume the run.")
            }
            StoreError::Sqlite(_) | StoreError::Migration(_) | StoreError::Json(_) => {
                tracing::error!(%error, "store");
                Self::internal(sentence(&error), "Look at the server's log; if the disk is full, free some space.")
            }
        }
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

fn sentence(error: &StoreError) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(characters).chain(['.']).collect()
}
