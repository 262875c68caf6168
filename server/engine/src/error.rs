//! The engine's one error type. Messages say what, the value, and the limit; `code` is stable.

use std::path::{Path, PathBuf};

use spec::ErrorCode;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A file that is not what it says it is. `place` is a line, a field, a tensor's name, ….
    #[error("{}: {place}: {problem}", path.display())]
    Malformed { path: PathBuf, place: String, problem: String },
    /// A file that is well formed and asks for something this engine does not do.
    #[error("{}: {what} is not supported; {supported}", path.display())]
    Unsupported { path: PathBuf, what: String, supported: String },
    /// A setting out of its range.
    #[error("{field} is {value}; it must be {limit}")]
    Invalid { field: &'static str, value: String, limit: String },
    /// An adapter met another template, tokenizer or base model than the one it was trained with.
    #[error("the adapter was trained with {what} {trained}, but this is {given}")]
    TemplateLock { what: &'static str, trained: String, given: String },
    /// A saved artifact whose bytes are not those that were saved.
    #[error("{}: its sha256 is {found}, but its manifest says {expected}", path.display())]
    Corrupt { path: PathBuf, expected: String, found: String },
    #[error("{what} is not finite at step {step}: {detail}")]
    NonFinite { what: &'static str, step: u32, detail: String },
    /// A batch that does not fit, in bytes, found before the first step. `available` is None where it was the allocator that refused.
    #[error("the largest batch, of {tokens} tokens, needs {:.1} GiB of memory{}", gib(*needed), free(*available))]
    Memory { tokens: usize, needed: u64, available: Option<u64> },
    /// Nothing to work on: "no pairs are left after the pair rule".
    #[error("{0}")]
    Empty(String),
    #[error("device {spec}: {problem}")]
    Device { spec: String, problem: String },
    /// Stopped by its [`crate::Control`] without saving.
    #[error("stopped")]
    Stopped,
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn free(available: Option<u64>) -> String {
    match available {
        Some(bytes) => format!("; {:.1} GiB are free", gib(bytes)),
        None => ", which the system does not give".to_owned(),
    }
}

impl Error {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorCode::NotFound,
            Self::Io { .. } => ErrorCode::Io,
            Self::Malformed { .. } => ErrorCode::MalformedFile,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::Invalid { .. } => ErrorCode::InvalidSetting,
            Self::TemplateLock { .. } => ErrorCode::TemplateLock,
            Self::Corrupt { .. } => ErrorCode::Corrupt,
            Self::NonFinite { .. } => ErrorCode::NonFinite,
            Self::Memory { .. } => ErrorCode::Memory,
            Self::Empty(_) => ErrorCode::Empty,
            Self::Device { .. } => ErrorCode::Device,
            Self::Stopped => ErrorCode::Stopped,
        }
    }

    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    pub fn malformed(path: impl AsRef<Path>, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed { path: path.as_ref().to_owned(), place: place.into(), problem: problem.into() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers pass numbers; a reference would be noise at each call")]
    pub fn invalid(field: &'static str, value: impl ToString, limit: impl Into<String>) -> Self {
        Self::Invalid { field, value: value.to_string(), limit: limit.into() }
    }
}
