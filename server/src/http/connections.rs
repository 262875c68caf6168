//! Accepts connections. There is a limit on how many are open at a time, and none of them can hold its place for ever:
//! a request's head and each write have a deadline, and when all places are taken, a new connection gets the place of
//! the one that made no progress for longest. Connections that sent the session's cookie are not closed for others.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// For the peer to take the next part of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a request's head, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
/// How long a request in progress may take once the server stops.
const FINISH: Duration = Duration::from_secs(2);
/// Connections that are told at a time that there is no place.
const MAX_REFUSALS: usize = 64;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Part of each request's extensions.
#[derive(Clone)]
pub struct Connection(Arc<Activity>);

struct Activity {
    opened: Instant,
    /// Milliseconds from `opened` to the last byte that was read or written.
    progress: AtomicU64,
    signed_in: AtomicBool,
    close: CancellationToken,
}

impl Connection {
    fn new() -> Self {
        Self(Arc::new(Activity {
            opened: Instant::now(),
            progress: AtomicU64::new(0),
            signed_in: AtomicBool::new(false),
            close: CancellationToken::new(),
        }))
    }

    /// From now on it is not closed in favour of others.
    pub fn set_signed_in(&self) {
        self.0.signed_in.store(true, Ordering::Relaxed);
    }

    fn note_progress(&self) {
        let elapsed = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.progress.store(elapsed, Ordering::Relaxed);
    }

    fn last_progress(&self) -> Instant {
        self.0.opened + Duration::from_millis(self.0.progress.load(Ordering::Relaxed))
    }
}

/// The open connections.
struct Table {
    limit: usize,
    open: Mutex<HashMap<u64, Connection>>,
}

impl Table {
    /// Adds a connection, in place of the one without progress for longest where there is no room. False: every
    /// connection there is belongs to a signed-in browser.
    fn add(&self, number: u64, connection: &Connection) -> bool {
        let mut open = self.open();
        if open.len() >= self.limit {
            let guests = open.iter().filter(|(_, other)| !other.0.signed_in.load(Ordering::Relaxed));
            let Some(oldest) = guests.min_by_key(|(_, other)| other.last_progress()).map(|(number, _)| *number) else {
                return false;
            };
            if let Some(closed) = open.remove(&oldest) {
                closed.0.close.cancel();
            }
        }
        open.insert(number, connection.clone());
        true
    }

    fn remove(&self, number: u64) {
        self.open().remove(&number);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub async fn accept(
    listener: TcpListener,
    limit: usize,
    router: Router,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    let table = Arc::new(Table { limit, open: Mutex::default() });
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    for number in 0.. {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: some will be free in a moment.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = Connection::new();
        if table.add(number, &connection) {
            let _ = stream.set_nodelay(true);
            let (table, router, shutdown) = (Arc::clone(&table), router.clone(), shutdown.clone());
            tasks.spawn(async move {
                serve(stream, connection, router, shutdown).await;
                table.remove(number);
            });
        } else if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
            tasks.spawn(async move {
                let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refuse(stream)).await;
                drop(permit);
            });
        }
    }
}

async fn serve(stream: TcpStream, connection: Connection, router: Router, shutdown: CancellationToken) {
    let close = connection.0.close.clone();
    let stream = Tracked { stream, connection: connection.clone(), timeout: WRITE_TIMEOUT, stalled: None };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let mut builder = http1::Builder::new();
    // The guard writes the date: hyper's own panics when the clock is before 1970.
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_LIMIT).auto_date_header(false);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = close.cancelled() => return tracing::debug!("a connection was closed for a new one"),
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(FINISH, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Says that there is no place, and reads what the peer sends, since closing earlier would discard the answer.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    const BODY: &str = "Every connection that this server allows is in use. Try again in a moment.\n";
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Type: text/plain\r\n\
         X-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// A stream that records progress and fails a write that the peer does not take in time.
struct Tracked {
    stream: TcpStream,
    connection: Connection,
    timeout: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Tracked {
    fn written<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            self.connection.note_progress();
            return result;
        }
        let timeout = self.timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its answer")))
    }
}

impl AsyncRead for Tracked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.connection.note_progress();
        }
        read
    }
}

impl AsyncWrite for Tracked {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_without_progress_for_longest_gives_way_and_signed_in_ones_stay() {
        let table = Table { limit: 3, open: Mutex::default() };
        let connections: Vec<Connection> = (0..3).map(|_| Connection::new()).collect();
        for (number, connection) in (0..).zip(&connections) {
            assert!(table.add(number, connection));
        }
        connections[0].set_signed_in();
        std::thread::sleep(Duration::from_millis(5));
        connections[1].note_progress();
        assert!(table.add(3, &Connection::new()));
        let closed: Vec<bool> = connections.iter().map(|connection| connection.0.close.is_cancelled()).collect();
        assert_eq!(closed, [false, false, true]);
        for connection in table.open().values() {
            connection.set_signed_in();
        }
        assert!(!table.add(4, &Connection::new()), "nobody signed in is closed for a newcomer");
        table.remove(0);
        assert!(table.add(5, &Connection::new()));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let timeout = Duration::from_millis(100);
        let mut tracked = Tracked { stream, connection: Connection::new(), timeout, stalled: None };
        let part = vec![0; 1 << 20];
        let failed = async {
            loop {
                if let Err(error) = tracked.write_all(&part).await {
                    return error.kind();
                }
            }
        };
        let kind = tokio::time::timeout(Duration::from_secs(10), failed).await.expect("the write gives up");
        assert_eq!(kind, io::ErrorKind::TimedOut);
    }
}
