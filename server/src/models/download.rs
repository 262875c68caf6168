//! One file over HTTP: resumed after an interruption, checked against its hash, visible only after that.
//!
//! Trusts nothing that a server says but the hash: a 200 in place of a 206, another ETag, too many bytes and wrong
//! bytes all end in a fresh start or an error, never in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::Control;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use spec::AppError;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::{Result, check, io_error, pause, publish};

/// Attempts in a row that bring nothing new.
const MOST_FAILURES: u32 = 5;
/// Fresh starts of one download, whatever each of them brought.
const MAX_RESTARTS: u32 = 3;
const MOST_REDIRECTS: u32 = 5;

/// What the bytes must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha256(String),
    /// As git names a file's content: sha1 over `blob LENGTH\0` and the content.
    GitBlob(String),
}

impl Hash {
    /// From an ETag (`"…"`, `W/"…"`) or a plain hexadecimal text; None if it is no hash.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches("W/").trim_matches('"');
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        match text.len() {
            64 => Some(Self::Sha256(text.to_ascii_lowercase())),
            40 => Some(Self::GitBlob(text.to_ascii_lowercase())),
            _ => None,
        }
    }

    fn expected(&self) -> &str {
        match self {
            Self::Sha256(hash) | Self::GitBlob(hash) => hash,
        }
    }

    fn of_file(&self, path: &Path) -> Result<String> {
        match self {
            Self::Sha256(_) => digest(Sha256::new(), path),
            Self::GitBlob(_) => {
                let size = fs::metadata(path).map_err(io_error(path))?.len();
                digest(Sha1::new_with_prefix(format!("blob {size}\0")), path)
            }
        }
    }
}

fn digest(mut hasher: impl sha2::Digest, path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(io_error(path))?;
    let mut block = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut block).map_err(io_error(path))?;
        if read == 0 {
            return Ok(engine::artifact::hex(&hasher.finalize()));
        }
        hasher.update(&block[..read]);
    }
}

/// One file to be had.
pub struct Remote<'a> {
    pub agent: &'a Agent,
    pub url: &'a str,
    /// The header's value; sent to the URL's own host only, never to where it redirects.
    pub authorization: Option<&'a str>,
    /// From a listing; else the server's ETag must be a hash.
    pub hash: Option<Hash>,
    pub size: Option<u64>,
    /// Larger is refused before it is read.
    pub limit: u64,
}

/// What the answers said beside the bytes.
#[derive(Default)]
pub struct Fetched {
    /// The commit that `main` is now.
    pub commit: Option<String>,
}

enum Attempt {
    Complete(Fetched, Hash),
    /// Cut off, refused for now: worth another try.
    Again(String),
    /// What is here of the file belongs to another version.
    Restart(String),
}

impl Remote<'_> {
    /// Downloads to `target`; `progress` gets this file's bytes.
    pub fn download(&self, target: &Path, control: &Control, progress: &mut dyn FnMut(u64, u64)) -> Result<Fetched> {
        let partial = with_suffix(target, ".partial");
        let etag_file = with_suffix(target, ".etag");
        let (mut failures, mut restarts) = (0, 0);
        loop {
            check(control)?;
            let before = length(&partial);
            let why = match self.attempt(&partial, &etag_file, control, progress)? {
                Attempt::Complete(fetched, hash) => {
                    let found = hash.of_file(&partial)?;
                    if found == hash.expected() {
                        publish(&partial, target)?;
                        remove(&etag_file)?;
                        return Ok(fetched);
                    }
                    restarts += 1;
                    remove(&partial)?;
                    if restarts >= 2 {
                        let expected = hash.expected().to_owned();
                        return Err(crate::adapter::error(engine::Error::Corrupt {
                            path: target.to_owned(),
                            expected,
                            found,
                        }));
                    }
                    continue;
                }
                Attempt::Again(why) => why,
                Attempt::Restart(why) => {
                    remove(&partial)?;
                    remove(&etag_file)?;
                    restarts += 1;
                    if restarts > MAX_RESTARTS {
                        return Err(AppError::connection(
                            format!("{} was restarted {MAX_RESTARTS} times and is still incomplete: {why}", self.url),
                            "Try again later.",
                        ));
                    }
                    why
                }
            };
            failures = if length(&partial) > before { 1 } else { failures + 1 };
            if failures > MOST_FAILURES {
                return Err(AppError::connection(
                    format!("{} could not be downloaded: {why}", self.url),
                    "Check the network connection and try again: what has arrived is kept.",
                ));
            }
            tracing::debug!(url = self.url, why, "download interrupted, trying again");
            pause(control, 100 << failures)?;
        }
    }

    fn attempt(
        &self,
        partial: &Path,
        etag_file: &Path,
        control: &Control,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Attempt> {
        let known_etag = fs::read_to_string(etag_file).ok();
        let start = if known_etag.is_some() { length(partial) } else { 0 };
        let answer = match self.get(start)? {
            Ok(answer) => answer,
            Err(why) => return Ok(Attempt::Again(why)),
        };
        let Answer { response, etag, commit, linked_size } = answer;
        let status = response.status().as_u16();
        let from = match status {
            200 => 0,
            206 => {
                let range = header(&response, "content-range").and_then(|range| parse_range(&range));
                if range.is_none_or(|(from, _)| from != start) || known_etag != etag {
                    return Ok(Attempt::Restart("the file changed while it was being fetched".to_owned()));
                }
                start
            }
            416 => return Ok(Attempt::Restart("the server has fewer bytes than are here already".to_owned())),
            429 | 500..=599 => return Ok(Attempt::Again(format!("the server answered {status}"))),
            _ => return Err(refused(self.url, status)),
        };
        let Some(hash) = self.hash.clone().or_else(|| etag.as_deref().and_then(Hash::parse)) else {
            return Err(AppError::corrupt(
                format!("{}: the server names no hash for this file, so it cannot be checked", self.url),
                "Fetch it by hand, and give the path of its folder.",
            ));
        };
        let total = header(&response, "content-range")
            .and_then(|range| parse_range(&range).and_then(|(_, total)| total))
            .filter(|_| status == 206)
            .or_else(|| content_length(&response).map(|length| from + length))
            .or(linked_size)
            .or(self.size);
        if let (Some(total), Some(size)) = (total, self.size)
            && total != size
        {
            return Ok(Attempt::Restart(format!("the server gives {total} bytes, but the listing says {size}")));
        }
        if let Some(total) = total.filter(|total| *total > self.limit) {
            return Err(too_large(self.url, total, self.limit));
        }
        if let Some(etag) = &etag {
            engine::artifact::write(etag_file, etag.as_bytes()).map_err(crate::adapter::error)?;
        }
        let mut shown = |done| progress(done, total.unwrap_or(done));
        match receive(response, partial, from, total.unwrap_or(self.limit), control, &mut shown)? {
            Received::TooMuch => Err(too_large(self.url, total.unwrap_or(self.limit) + 1, total.unwrap_or(self.limit))),
            Received::Cut(why) => Ok(Attempt::Again(why)),
            Received::End(length) if total.is_some_and(|total| length < total) => {
                Ok(Attempt::Again(format!("the connection ended after {length} bytes")))
            }
            Received::End(_) => Ok(Attempt::Complete(Fetched { commit }, hash)),
        }
    }

    /// Follows redirects by hand: what names the file's hash comes with the first answer, not with the last.
    /// The inner error is a connection that failed.
    fn get(&self, start: u64) -> Result<std::result::Result<Answer, String>> {
        let mut url = self.url.to_owned();
        let (mut linked_etag, mut first_etag, mut commit, mut linked_size) = (None, None, None, None);
        for hop in 0..=MOST_REDIRECTS {
            let mut request = self.agent.get(&url).header("accept-encoding", "identity");
            if start > 0 {
                request = request.header("range", format!("bytes={start}-"));
            }
            if let Some(authorization) = self.authorization.filter(|_| same_origin(self.url, &url)) {
                request = request.header("authorization", authorization);
            }
            let response = match request.call() {
                Ok(response) => response,
                Err(error) => return Ok(Err(error.to_string())),
            };
            linked_etag = linked_etag.or_else(|| header(&response, "x-linked-etag"));
            linked_size = linked_size.or_else(|| header(&response, "x-linked-size").and_then(|size| size.parse().ok()));
            commit = commit.or_else(|| header(&response, "x-repo-commit"));
            first_etag = first_etag.or_else(|| header(&response, "etag"));
            if !response.status().is_redirection() {
                return Ok(Ok(Answer { response, etag: linked_etag.or(first_etag), commit, linked_size }));
            }
            let location = header(&response, "location").and_then(|location| join(&url, &location));
            let Some(location) = location.filter(|_| hop < MOST_REDIRECTS) else { break };
            // Never from https to http.
            if url.starts_with("https://") && !location.starts_with("https://") {
                break;
            }
            url = location;
        }
        Err(AppError::connection(format!("{}: the server redirects in a way that is not followed", self.url), ""))
    }
}

struct Answer {
    response: Response<Body>,
    etag: Option<String>,
    commit: Option<String>,
    linked_size: Option<u64>,
}

enum Received {
    /// The body ended; the file is this long now.
    End(u64),
    Cut(String),
    TooMuch,
}

fn receive(
    response: Response<Body>,
    partial: &Path,
    from: u64,
    most: u64,
    control: &Control,
    progress: &mut dyn FnMut(u64),
) -> Result<Received> {
    let mut file =
        OpenOptions::new().create(true).write(true).truncate(false).open(partial).map_err(io_error(partial))?;
    file.set_len(from).map_err(io_error(partial))?;
    file.seek(SeekFrom::Start(from)).map_err(io_error(partial))?;
    let mut body = response.into_body().into_reader();
    let mut block = vec![0; 1 << 17];
    let mut length = from;
    let outcome = loop {
        if let Err(stopped) = check(control) {
            file.sync_all().map_err(io_error(partial))?;
            return Err(stopped);
        }
        match body.read(&mut block) {
            Ok(0) => break Received::End(length),
            Ok(read) => {
                length += read as u64;
                if length > most {
                    break Received::TooMuch;
                }
                file.write_all(&block[..read]).map_err(io_error(partial))?;
                progress(length);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => break Received::Cut(error.to_string()),
        }
    };
    file.sync_all().map_err(io_error(partial))?;
    Ok(outcome)
}

/// An agent that shows redirects and statuses as they are, and gives up on a silent server after some seconds.
pub fn agent() -> Agent {
    Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(8)))
        .user_agent(concat!("backtranslate/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(root_certificates()).build())
        .build()
        .new_agent()
}

/// Those of this machine, since a mirror or a proxy may have a certificate of its own; Mozilla's if it has none.
fn root_certificates() -> RootCerts {
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        return RootCerts::WebPki;
    }
    found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).into()
}

pub fn refused(url: &str, status: u16) -> AppError {
    match status {
        404 => AppError::not_found(format!("{url} does not exist"), "Check the model's id, and that it is public."),
        401 | 403 => AppError::unauthorised(
            format!("{url}: the server answered {status}; the model does not exist or needs a token"),
            "Check the model's id; for a private or gated model set HF_TOKEN to a token that may read it.",
        ),
        _ => AppError::connection(format!("{url}: the server answered {status}"), "Try again later."),
    }
}

fn too_large(url: &str, size: u64, limit: u64) -> AppError {
    AppError::too_large(
        format!("{url} has {size} bytes; at most {limit} are expected"),
        "Check that this is the right model.",
    )
}

/// `bytes 5-99/100` -> (5, Some(100))
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.trim().parse().ok()?, total.trim().parse().ok()))
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    header(response, "content-length").and_then(|length| length.parse().ok())
}

fn origin(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[after_scheme..].find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
    &url[..end]
}

fn same_origin(a: &str, b: &str) -> bool {
    origin(a).eq_ignore_ascii_case(origin(b))
}

/// A redirect's location, which may be relative to the host.
fn join(base: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{}://{rest}", base.split_once("://")?.0));
    }
    location.starts_with('/').then(|| format!("{}{location}", origin(base)))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error(path)(error)),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_read_as_hashes_only_where_they_are_some() {
        let sha256 = "a".repeat(64);
        assert_eq!(Hash::parse(&format!("\"{sha256}\"")), Some(Hash::Sha256(sha256)));
        let git = "0123456789abcdef0123456789ABCDEF01234567";
        assert_eq!(Hash::parse(&format!("W/\"{git}\"")), Some(Hash::GitBlob(git.to_ascii_lowercase())));
        assert_eq!(Hash::parse("\"5f3c-62a\""), None);
        assert_eq!(Hash::parse(""), None);
    }

    #[test]
    fn git_names_a_content_as_git_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "hello\n").unwrap();
        let hash = Hash::parse("ce013625030ba8dba906f756967f9e9ca394464a").unwrap();
        assert_eq!(hash.of_file(file.path()).unwrap(), hash.expected());
    }

    #[test]
    fn locations_stay_on_the_host_they_name() {
        assert_eq!(join("https://a.example/x/y", "/z").as_deref(), Some("https://a.example/z"));
        assert_eq!(join("https://a.example/x", "//b.example/z").as_deref(), Some("https://b.example/z"));
        assert_eq!(join("https://a.example/x", "file:///etc"), None);
        assert!(same_origin("http://h:1/a", "http://h:1/b") && !same_origin("http://h:1/a", "http://h:12/a"));
    }
}
