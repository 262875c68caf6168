//! `/ws`: run logs as they grow. A client says what it has; it gets the rest, then what follows, without gaps.
//!
//! Carries events only: commands go by POST. A client that is too slow gets a snapshot, never a queue.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use spec::{AppError, ClientFrame, LoggedEvent, RunEvent, ServerFrame};
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::{Shared, answer};
use crate::jobs::panic_text;
use crate::service::{Notice, Service};

/// Sockets that are open at a time.
pub const MAX_VIEWERS: usize = 256;
/// A client's frames are small.
const FRAME_LIMIT: usize = 64 * 1024;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long one frame may take to leave before the client is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);
/// Runs that are not over, and experiments one by one, that one socket may watch.
const MAX_WATCHED: usize = 200;
/// Events per read of the log.
const BATCH: u32 = 500;
/// A client that is further behind gets a snapshot.
const MAX_REPLAYED: u64 = 5_000;

/// The client is gone or too slow.
struct Gone;

pub async fn open(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(permit) = Arc::clone(&shared.viewers).try_acquire_owned() else {
        let refused = AppError::queue_full(format!("{MAX_VIEWERS} pages are watching already."), "Close some of them.");
        return answer::error(StatusCode::TOO_MANY_REQUESTS, refused);
    };
    let tasks = shared.tasks.clone();
    upgrade
        .max_message_size(FRAME_LIMIT)
        .max_frame_size(FRAME_LIMIT)
        .read_buffer_size(8 * 1024)
        .on_upgrade(move |socket| {
            tasks.track_future(async move {
                // Listens before it reads any log, so that nothing falls between the two.
                let notices = shared.service.subscribe();
                let viewer = Viewer::new(Arc::clone(&shared.service), socket);
                catch_panic(viewer.serve(notices, &shared)).await;
                drop(permit);
            })
        })
        .into_response()
}

/// A panic ends one socket, not its place among [`MAX_VIEWERS`]; the log says why.
async fn catch_panic(serving: impl Future<Output = ()>) {
    if let Err(panic) = AssertUnwindSafe(serving).catch_unwind().await {
        tracing::error!(panic = panic_text(&*panic), "a socket panicked");
    }
}

struct Viewer {
    service: Arc<Service>,
    socket: WebSocket,
    /// Number of the last event that was sent, of each run that is watched and not over.
    runs: BTreeMap<i64, u64>,
    experiments: Experiments,
}

/// Whose changes are told.
enum Experiments {
    Some(BTreeSet<i64>),
    All,
}

impl Viewer {
    fn new(service: Arc<Service>, socket: WebSocket) -> Self {
        Self { service, socket, runs: BTreeMap::new(), experiments: Experiments::Some(BTreeSet::new()) }
    }

    async fn serve(mut self, mut notices: broadcast::Receiver<Notice>, shared: &Shared) {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            let went = tokio::select! {
                () = shared.shutdown.cancelled() => {
                    let frame = CloseFrame { code: close_code::AWAY, reason: "the server is stopping".into() };
                    let _ = timeout(Duration::from_secs(1), self.socket.send(Message::Close(Some(frame)))).await;
                    return;
                }
                _ = heartbeat.tick() => self.send(&ServerFrame::Heartbeat).await,
                received = self.socket.recv() => match received {
                    Some(Ok(message)) => self.on_message(message).await,
                    Some(Err(_)) | None => Err(Gone),
                },
                notice = notices.recv() => match notice {
                    Ok(notice) => self.on_notice(notice).await,
                    Err(broadcast::error::RecvError::Lagged(_)) => self.start_over().await,
                    Err(broadcast::error::RecvError::Closed) => Err(Gone),
                },
            };
            if went.is_err() {
                return;
            }
        }
    }

    async fn on_message(&mut self, message: Message) -> Result<(), Gone> {
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Binary(_) | Message::Close(_) => return Err(Gone),
        };
        match serde_json::from_str(&text) {
            Ok(ClientFrame::Ping) => self.send(&ServerFrame::Heartbeat).await,
            Ok(ClientFrame::Experiments) => {
                self.experiments = Experiments::All;
                Ok(())
            }
            Ok(ClientFrame::Experiment { experiment }) => match &mut self.experiments {
                Experiments::All => Ok(()),
                Experiments::Some(watched) if watched.contains(&experiment) => Ok(()),
                Experiments::Some(watched) if watched.len() < MAX_WATCHED => {
                    watched.insert(experiment);
                    Ok(())
                }
                Experiments::Some(_) => self.send_error(too_many("experiments")).await,
            },
            Ok(ClientFrame::Run { run, .. }) if !self.runs.contains_key(&run) && self.runs.len() >= MAX_WATCHED => {
                self.send_error(too_many("runs that are not over")).await
            }
            Ok(ClientFrame::Run { run, after_seq }) => self.replay(run, after_seq).await,
            Err(error) => {
                self.send_error(AppError::invalid_setting(
                    format!("The frame is not understood: {error}."),
                    "Reload the page.",
                ))
                .await
            }
        }
    }

    async fn on_notice(&mut self, notice: Notice) -> Result<(), Gone> {
        match notice {
            Notice::Changed { experiment } => {
                let watched = match &self.experiments {
                    Experiments::All => true,
                    Experiments::Some(watched) => watched.contains(&experiment),
                };
                if watched { self.send(&ServerFrame::Changed { experiment }).await } else { Ok(()) }
            }
            Notice::Event(event) => match self.runs.get(&event.run).copied() {
                Some(sent) if event.seq == sent + 1 => self.send_event(LoggedEvent::clone(&event)).await,
                Some(sent) if event.seq > sent => self.replay(event.run, sent).await,
                _ => Ok(()),
            },
        }
    }

    /// Sends the log after this number, or a snapshot if that is far behind or beyond the log's end.
    async fn replay(&mut self, run: i64, after: u64) -> Result<(), Gone> {
        let last = match self.ask(move |service| service.last_seq(run)).await {
            Ok(last) => last,
            Err(error) => return self.send_error(error).await,
        };
        if after > last || last - after > MAX_REPLAYED {
            return self.send_snapshot(run).await;
        }
        self.runs.insert(run, after);
        let mut sent = after;
        loop {
            let events = match self.ask(move |service| service.events(run, sent, BATCH)).await {
                Ok(events) => events,
                Err(error) => {
                    self.runs.remove(&run);
                    return self.send_error(error).await;
                }
            };
            let complete = events.len() < BATCH as usize;
            for event in events {
                sent = event.seq;
                self.send_event(event).await?;
            }
            if complete {
                break;
            }
        }
        if after == last {
            // Nothing was sent, so the log's end does not tell whether the run is over.
            match self.ask(move |service| service.view(run)).await {
                Ok(view) if view.state.is_over() && view.seq == sent => {
                    self.runs.remove(&run);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// After notices were lost: nothing that this client holds is known to be current.
    async fn start_over(&mut self) -> Result<(), Gone> {
        let runs: Vec<i64> = self.runs.keys().copied().collect();
        for run in runs {
            self.send_snapshot(run).await?;
        }
        let experiments: Vec<i64> = match &self.experiments {
            Experiments::Some(watched) => watched.iter().copied().collect(),
            Experiments::All => vec![ServerFrame::ANY_EXPERIMENT],
        };
        for experiment in experiments {
            self.send(&ServerFrame::Changed { experiment }).await?;
        }
        Ok(())
    }

    async fn send_snapshot(&mut self, run: i64) -> Result<(), Gone> {
        match self.ask(move |service| service.view(run)).await {
            Ok(view) => {
                self.sent(run, view.seq, view.state.is_over());
                self.send(&ServerFrame::Snapshot { view: Box::new(view) }).await
            }
            Err(error) => {
                self.runs.remove(&run);
                self.send_error(error).await
            }
        }
    }

    async fn send_event(&mut self, event: LoggedEvent) -> Result<(), Gone> {
        let over = matches!(event.event, RunEvent::State { state, .. } if state.is_over());
        self.sent(event.run, event.seq, over);
        self.send(&ServerFrame::Event { event }).await
    }

    /// A run that is over is forgotten: one that is resumed is asked for again.
    fn sent(&mut self, run: i64, seq: u64, over: bool) {
        if over {
            self.runs.remove(&run);
        } else {
            self.runs.insert(run, seq);
        }
    }

    async fn send_error(&mut self, error: AppError) -> Result<(), Gone> {
        self.send(&ServerFrame::Error { error }).await
    }

    async fn send(&mut self, frame: &ServerFrame) -> Result<(), Gone> {
        let text = serde_json::to_string(frame).map_err(|_| Gone)?;
        match timeout(SEND_TIMEOUT, self.socket.send(Message::Text(text.into()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    async fn ask<T: Send + 'static>(
        &mut self,
        question: impl FnOnce(&Service) -> Result<T, AppError> + Send + 'static,
    ) -> Result<T, AppError> {
        let service = Arc::clone(&self.service);
        tokio::task::spawn_blocking(move || question(&service))
            .await
            .unwrap_or_else(|_| Err(AppError::internal("Reading the run's log hit a fault.", "Reload the page.")))
    }
}

fn too_many(what: &str) -> AppError {
    AppError::too_large(format!("One socket watches at most {MAX_WATCHED} {what}."), "Reload the page.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_panics_ends_and_what_follows_it_still_runs() {
        catch_panic(async { panic!("deliberate") }).await;
    }
}
