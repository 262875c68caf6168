//! The one error that a page sees: a stable code, what happened, and what to do about it.

use serde::{Deserialize, Serialize};
use server_fn::codec::JsonEncoding;
use server_fn::error::{FromServerFnError, ServerFnErrorErr};

/// Codes are stable: `not_found`, `invalid_setting`, `malformed_file`, `missing_model`, `template_lock`,
/// `queue_full`, `conflict`, `needs_run`, `unauthorised`, `too_large`, `non_finite`, `memory`, `interrupted`, `internal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AppError {
    pub code: String,
    /// What happened, with the value and the limit.
    pub message: String,
    /// What the person can do; empty where there is nothing to do.
    pub hint: String,
}

impl AppError {
    pub fn new(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), hint: hint.into() }
    }
}

impl FromServerFnError for AppError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        match error {
            ServerFnErrorErr::Request(why) => Self::new(
                "connection",
                format!("The server did not answer: {why}"),
                "Check that it is running, then try again.",
            ),
            other => {
                Self::new("internal", other.to_string(), "Reload the page; if it happens again, see the server's log.")
            }
        }
    }
}
