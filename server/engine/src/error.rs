//! The engine's one error type. A message says what, the value and the limit; `code` is stable; `hint` says what to do.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use spec::ErrorCode;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A file that is not what it should be. `place` is a line, a field, a tensor's name, ….
    #[error("{}: {place}: {problem}", path.display())]
    Malformed { path: PathBuf, place: String, problem: String, hint: &'static str },
    /// A file that is well formed and asks for something this engine does not do.
    #[error("{}: {what} is not supported; {supported}", path.display())]
    Unsupported { path: PathBuf, what: String, supported: String, hint: &'static str },
    /// A setting out of its range.
    #[error("{field} is {value}; it must be {limit}")]
    Invalid { field: &'static str, value: String, limit: String },
    /// The same, found by the table of settings.
    #[error("{0}")]
    Setting(#[from] spec::AppError),
    /// An adapter met another template, tokenizer or base model than the one it was trained with.
    #[error("the adapter was trained with {what} {trained}, but this is {given}")]
    TemplateLock { what: &'static str, trained: String, given: String },
    /// A file whose bytes are not those that were saved.
    #[error("{}: its sha256 is {found}, but {expected} is expected", path.display())]
    Corrupt { path: PathBuf, expected: String, found: String },
    /// A saved artifact that is not what its manifest describes.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
    /// What is saved under `path` belongs to another job, and cannot be continued by this one.
    #[error("{} belongs to another job: {}", path.display(), differences.join("; "))]
    OtherJob { path: PathBuf, differences: Vec<String> },
    /// NaN or infinity, where a number was computed: "the loss at step 5".
    #[error("{what} is not finite: {detail}")]
    NonFinite { what: String, detail: String },
    /// A batch that does not fit, in bytes, found before the first step. `available` is None if the allocator refused.
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

const MALFORMED_HINT: &str = "Correct the file at that place, or replace it.";
pub(crate) const TRUNCATED_HINT: &str =
    "The file is incomplete: a download or copy was probably cut off. Get it again.";
const UNSUPPORTED_HINT: &str = "Choose a file or model of a supported kind.";

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
            Self::Io { source, .. } if source.kind() == ErrorKind::NotFound => ErrorCode::NotFound,
            Self::Io { .. } => ErrorCode::Io,
            Self::Malformed { .. } => ErrorCode::MalformedFile,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::Invalid { .. } => ErrorCode::InvalidSetting,
            Self::Setting(error) => error.code,
            Self::TemplateLock { .. } => ErrorCode::TemplateLock,
            Self::Corrupt { .. } | Self::Damaged { .. } => ErrorCode::Corrupt,
            Self::OtherJob { .. } => ErrorCode::Conflict,
            Self::NonFinite { .. } => ErrorCode::NonFinite,
            Self::Memory { .. } => ErrorCode::Memory,
            Self::Empty(_) => ErrorCode::Empty,
            Self::Device { .. } => ErrorCode::Device,
            Self::Stopped => ErrorCode::Stopped,
        }
    }

    /// What a person can do about it; empty if there is nothing to do.
    pub fn hint(&self) -> &str {
        match self {
            Self::Io { source, .. } => match source.kind() {
                ErrorKind::NotFound => "Check the path: nothing is there.",
                ErrorKind::PermissionDenied => "Give this user the right to read (or write) it.",
                ErrorKind::StorageFull => "Free some disk space, then resume: what was saved is intact.",
                ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
                    "Check the path: one of file and folder is meant."
                }
                _ => "Check the disk and the path, then try again.",
            },
            Self::Malformed { hint, .. } | Self::Unsupported { hint, .. } => hint,
            Self::Invalid { .. } => "Change this setting, then run again.",
            Self::Setting(error) => &error.hint,
            Self::OtherJob { .. } => {
                "Give that job's settings and inputs to resume it, or another output folder to start a new job."
            }
            Self::TemplateLock { .. } => {
                "Use the template, tokenizer and base model that the adapter was trained with, or train again."
            }
            Self::Corrupt { .. } | Self::Damaged { .. } => {
                "The file was damaged or changed after it was saved: restore it or make it again."
            }
            Self::NonFinite { .. } => {
                "Lower the learning rate or turn gradient clipping on; the last checkpoint before this step is intact. \
                 If it happens without training, the weights of the model hold NaN or infinity."
            }
            Self::Memory { .. } => {
                "Lower the batch size (gradient accumulation keeps the effective batch size) or the max sequence \
                 length, or turn gradient checkpointing on."
            }
            Self::Empty(_) => "Choose another file, or loosen the pair rule.",
            Self::Device { .. } => "Start with a device that this machine has; `flex` (the CPU) always works.",
            Self::Stopped => "",
        }
    }

    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    pub fn malformed(path: impl AsRef<Path>, place: impl Into<String>, problem: impl Into<String>) -> Self {
        let (place, problem) = (place.into(), problem.into());
        Self::Malformed { path: path.as_ref().to_owned(), place, problem, hint: MALFORMED_HINT }
    }

    /// A file that ends before it is complete.
    pub fn truncated(path: impl AsRef<Path>, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::malformed(path, place, problem).with_hint(TRUNCATED_HINT)
    }

    pub fn unsupported(path: impl AsRef<Path>, what: impl Into<String>, supported: impl Into<String>) -> Self {
        let (what, supported) = (what.into(), supported.into());
        Self::Unsupported { path: path.as_ref().to_owned(), what, supported, hint: UNSUPPORTED_HINT }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers pass numbers; a reference would be noise at each call")]
    pub fn invalid(field: &'static str, value: impl ToString, limit: impl Into<String>) -> Self {
        Self::Invalid { field, value: value.to_string(), limit: limit.into() }
    }

    /// Replaces the general hint of an error about a file by one about this problem.
    #[must_use]
    pub fn with_hint(mut self, better: &'static str) -> Self {
        if let Self::Malformed { hint, .. } | Self::Unsupported { hint, .. } = &mut self {
            *hint = better;
        }
        self
    }
}
