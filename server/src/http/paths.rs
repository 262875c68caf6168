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
/// Followed by the number of a report's run.
pub const REPORTS: &str = "/reports/";

/// What can be downloaded of a report, behind its address.
pub const REPORT_JSON: &str = "/report.json";
pub const REPORT_HTML: &str = "/offline.html";

/// What needs no session: it holds nothing of a person's, or a share link's token says who may see it. The files of
/// the site are open as well.
pub fn is_public(path: &str) -> bool {
    path == HEALTH || path.starts_with(SHARED_REPORTS) || path.strip_prefix(COMMANDS).is_some_and(Command::is_public)
}

/// The token in the address of a shared report or of one of its downloads; anything that is none of these is taken for a
/// token, which opens nothing.
pub fn share_token(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(SHARED_REPORTS)?;
    let token = [REPORT_JSON, REPORT_HTML, SHARED_DOWNLOAD].into_iter().find_map(|file| rest.strip_suffix(file));
    Some(token.unwrap_or(rest))
}

/// A shared report as a whole.
pub fn is_whole_shared_report(path: &str) -> bool {
    path.starts_with(SHARED_REPORTS) && (path.ends_with(REPORT_JSON) || path.ends_with(REPORT_HTML))
}

/// The page of a shared report, or the command that its page sends.
pub fn is_shared_report(path: &str) -> bool {
    path.starts_with(SHARED_REPORTS) || path.strip_prefix(COMMANDS) == Some(OpenSharedReport::NAME)
}
