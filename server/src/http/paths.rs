//! The addresses that more than one module names.

use spec::{Command, OpenSharedReport, Request};

pub const HEALTH: &str = "/healthz";
pub const SOCKET: &str = "/ws";
pub const UPLOAD: &str = "/upload";
/// Followed by a command's name.
pub const COMMANDS: &str = "/api/";
/// Followed by a share link's token.
pub const SHARED_REPORTS: &str = "/r/";
/// Followed by the number of a run.
pub const DOWNLOADS: &str = "/download/";
/// Behind a share link: its report's pairs as a file.
pub const SHARED_DOWNLOAD: &str = "/download";

/// The token in the address of a shared report, or of the download of its pairs.
pub fn share_token(path: &str) -> Option<&str> {
    let behind = path.strip_prefix(SHARED_REPORTS)?;
    Some(behind.strip_suffix(SHARED_DOWNLOAD).unwrap_or(behind))
}

/// What needs no session: it holds nothing of a person's, or a share link's token says who may see it. The files of
/// the site are open as well.
pub fn is_public(path: &str) -> bool {
    path == HEALTH || path.starts_with(SHARED_REPORTS) || path.strip_prefix(COMMANDS).is_some_and(Command::is_public)
}

/// The page of a shared report, or the command that its page sends.
pub fn is_shared_report(path: &str) -> bool {
    path.starts_with(SHARED_REPORTS) || path.strip_prefix(COMMANDS) == Some(OpenSharedReport::NAME)
}
