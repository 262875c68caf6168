//! The one error that crosses every boundary: a stable code, what happened, and what to do about it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $constructor:ident $status:literal,)*) => {
        /// Why something was refused or failed. Spelled in snake_case on the wire; spellings are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            pub const ALL: &[ErrorCode] = &[$(Self::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($constructor),)*
                }
            }

            /// The HTTP status of an answer that carries this code.
            pub fn http_status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                }
            }
        }

        impl AppError {
            $(
                $(#[$doc])*
                pub fn $constructor(message: impl Into<String>, hint: impl Into<String>) -> Self {
                    Self::new(ErrorCode::$variant, message, hint)
                }
            )*
        }
    };
}

codes! {
    /// Nothing has this id, path or token.
    NotFound not_found 404,
    /// A setting outside its range.
    InvalidSetting invalid_setting 422,
    /// A file that is not what it says it is.
    MalformedFile malformed_file 422,
    /// A well-formed file or request for something that is not implemented.
    Unsupported unsupported 422,
    /// The base model is not on this machine.
    MissingModel missing_model 422,
    /// A program that a command needs is not installed.
    MissingTool missing_tool 422,
    /// An adapter met another template, tokenizer or base model than it was trained with.
    TemplateLock template_lock 409,
    /// Saved bytes are not those that were saved.
    Corrupt corrupt 422,
    /// Nothing is left to work on.
    Empty empty 422,
    /// No place left in the queue.
    QueueFull queue_full 429,
    /// The state does not allow it now.
    Conflict conflict 409,
    /// An input must run first.
    NeedsRun needs_run 409,
    /// Not signed in, or a request from a foreign page.
    Unauthorised unauthorised 401,
    /// Beyond a size limit.
    TooLarge too_large 413,
    /// A loss, gradient or logit is NaN or infinite.
    NonFinite non_finite 422,
    /// It does not fit into memory.
    Memory memory 422,
    /// The device is absent or does not compute.
    Device device 422,
    /// Reading or writing a file failed.
    Io io 500,
    /// The process ended while the run was active.
    Interrupted interrupted 500,
    /// Stopped on request.
    Stopped stopped 409,
    /// The other side of a network connection did not answer.
    Connection connection 502,
    /// A command line that cannot be parsed.
    Usage usage 400,
    /// A fault of this program, or a code that this version does not know.
    Internal internal 500,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A code that this version does not know is read as `internal`, so that stored errors stay readable.
impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spelling = String::deserialize(deserializer)?;
        Ok(Self::ALL.iter().copied().find(|code| code.as_str() == spelling).unwrap_or(Self::Internal))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppError {
    pub code: ErrorCode,
    /// What happened, with the value and the limit.
    pub message: String,
    /// What the person can do; empty where there is nothing to do.
    pub hint: String,
}

impl AppError {
    pub fn new(code: ErrorCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for AppError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_spelled_alike_both_ways_and_unknown_ones_are_internal() {
        for code in ErrorCode::ALL {
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(text, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<ErrorCode>(&text).unwrap(), *code);
        }
        assert_eq!(serde_json::from_str::<ErrorCode>("\"from_the_future\"").unwrap(), ErrorCode::Internal);
    }
}
