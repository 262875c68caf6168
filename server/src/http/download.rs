//! `GET /download/RUN` and `GET /r/TOKEN/download`: pairs as a file, sent while it is made.
//!
//! A thread that may block writes into a short channel, from which the answer is sent. A reader that is slow makes that
//! thread wait, so there are few of them, and each has a deadline.

use std::io::{Error, ErrorKind, Result, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use spec::{AppError, ExportQuery};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::access::Session;
use super::{Shared, answer};
use crate::export::Export;

/// At a time, of the owner and of guests each.
const MAX_DOWNLOADS: usize = 4;
/// For the whole of one: until then it may hold back the cleaning up of the database's log.
const DEADLINE: Duration = Duration::from_secs(600);
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that are made and not sent yet.
const CHUNKS_AHEAD: usize = 4;

/// Bounds how many threads are held by readers.
pub struct Downloads {
    owner: Arc<Semaphore>,
    guests: Arc<Semaphore>,
}

impl Downloads {
    pub fn new() -> Self {
        let places = || Arc::new(Semaphore::new(MAX_DOWNLOADS));
        Self { owner: places(), guests: places() }
    }
}

type Fields = std::result::Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Of the owner's run.
pub async fn own(
    State(shared): State<Arc<Shared>>,
    Extension(session): Extension<Session>,
    Path(run): Path<String>,
    fields: Fields,
) -> Response {
    let Ok(run) = run.parse() else {
        let unknown = AppError::not_found(format!("There is no run {run:?}."), "Give the number of a run.");
        return answer::service_error(unknown);
    };
    let export = match read(fields) {
        Ok(query) => shared.service.export(run, query).await,
        Err(error) => Err(error),
    };
    send(&shared, session, export)
}

/// Of a report that is shared. The guard has looked at the token already.
pub async fn shared(
    State(shared): State<Arc<Shared>>,
    Extension(session): Extension<Session>,
    Path(token): Path<String>,
    fields: Fields,
) -> Response {
    let export = match read(fields) {
        Ok(query) => shared.service.export_shared(token, query).await,
        Err(error) => Err(error),
    };
    send(&shared, session, export)
}

fn read(fields: Fields) -> std::result::Result<ExportQuery, AppError> {
    let Query(fields) = fields.map_err(|error| {
        AppError::invalid_setting(format!("The address is not understood: {error}."), "Follow the link of the page.")
    })?;
    let mut query = ExportQuery::default();
    fields.iter().try_for_each(|(name, value)| query.read_query(name, value))?;
    Ok(query)
}

fn send(shared: &Arc<Shared>, session: Session, export: std::result::Result<Export, AppError>) -> Response {
    let export = match export {
        Ok(export) => export,
        Err(error) => return answer::service_error(error),
    };
    let places = match session {
        Session::Owner => &shared.downloads.owner,
        Session::Guest => &shared.downloads.guests,
    };
    let Ok(place) = Arc::clone(places).try_acquire_owned() else { return answer::busy("downloads are under way") };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(export.content_type())),
        (header::CONTENT_DISPOSITION, disposition(&export.file_name())),
    ];
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let service = Arc::clone(&shared.service);
    let deadline = Instant::now() + DEADLINE;
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut chunks = Chunks { sender, ready: Vec::with_capacity(CHUNK_BYTES), deadline, handle: Handle::current() };
        let written = service.write_export(&export, &mut chunks);
        let Err(error) = written.and_then(|_| chunks.flush().map_err(cut_off)) else { return };
        tracing::debug!(%error, "a download was not finished");
        // So that the answer ends as cut off, and no reader takes its beginning for the whole.
        chunks.ready.clear();
        let _ = chunks.send(Err(Error::other(error.message)));
    });
    let body = Body::from_stream(stream::unfold(receiver, |mut receiver: mpsc::Receiver<Result<Bytes>>| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }));
    (headers, body).into_response()
}

// By value since it is a `map_err` argument.
#[expect(clippy::needless_pass_by_value)]
fn cut_off(error: Error) -> AppError {
    AppError::connection(format!("The download was cut off: {error}."), "Try again.")
}

/// Gathers what is written, and sends it on in chunks.
struct Chunks {
    sender: mpsc::Sender<Result<Bytes>>,
    ready: Vec<u8>,
    deadline: Instant,
    handle: Handle,
}

impl Chunks {
    fn send(&self, chunk: Result<Bytes>) -> Result<()> {
        match self.handle.block_on(timeout_at(self.deadline, self.sender.send(chunk))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::new(ErrorKind::BrokenPipe, "its reader is gone")),
            Err(_) => Err(Error::new(ErrorKind::TimedOut, "its reader took too long")),
        }
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let room = CHUNK_BYTES - self.ready.len();
        let taken = bytes.len().min(room);
        self.ready.extend_from_slice(&bytes[..taken]);
        if self.ready.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> Result<()> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.ready, Vec::with_capacity(CHUNK_BYTES));
        self.send(Ok(chunk.into()))
    }
}

/// RFC 6266: the name in ASCII for old readers, and as it is for others.
fn disposition(name: &str) -> HeaderValue {
    /// What RFC 5987 lets stand as it is, as far as names have it.
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || " -_.,()+".contains(c) { c } else { '_' }).collect();
    let header = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(name, ENCODED));
    HeaderValue::try_from(header).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_in_ascii_and_as_it_is_and_ends_no_header() {
        for (name, header) in [
            ("a b.csv", "attachment; filename=\"a b.csv\"; filename*=UTF-8''a%20b.csv"),
            ("Zürich.csv", "attachment; filename=\"Z_rich.csv\"; filename*=UTF-8''Z%C3%BCrich.csv"),
            (
                "a\"; x=\"\r\nSet-Cookie: b",
                "attachment; filename=\"a__ x____Set-Cookie_ b\"; filename*=UTF-8''a%22%3B%20x%3D%22%0D%0ASet-Cookie%3A%20b",
            ),
        ] {
            assert_eq!(disposition(name), header);
        }
    }
}
