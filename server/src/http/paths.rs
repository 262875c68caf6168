//! The addresses that more than one module names.

use spec::{Command, OpenSharedReport, Request};

pub const HEALTH: &str = "/healthz";
pub const SOCKET: &str = "/ws";
pub const UPLOAD: &str = "/upload";
/// Followed by a command's name.
pub const COMMANDS: &str = "/api/";
/// Followed by a share link's token.
pub const SHARED_REPORTS: &str = "/r/";

/// What needs no session: it holds nothing of a person's, or a share link's token says who may see it. The files of
/// the site are open as well.
pub fn is_public(path: &str) -> bool {
    path == HEALTH || path.starts_with(SHARED_REPORTS) || path.strip_prefix(COMMANDS).is_some_and(Command::is_public)
}

/// The page of a shared report, or the command that its page sends.
pub fn is_shared_report(path: &str) -> bool {
    path.starts_with(SHARED_REPORTS) || path.strip_prefix(COMMANDS) == Some(OpenSharedReport::NAME)
}
