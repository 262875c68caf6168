//! `/ws`: run logs as they grow. A client says what it has; it gets the rest, then what follows, without gaps.
//!
//! Carries events only: commands go over server functions. A client that is too slow gets a snapshot, never a queue.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use spec::{AppError, ClientFrame, LoggedEvent, ServerFrame};
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::{Shared, answer};
use crate::service::{Notice, Service};

/// Sockets that are open at a time.
pub const MOST_VIEWERS: usize = 256;
/// A client's frames are small.
const FRAME_LIMIT: usize = 64 * 1024;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long one frame may take to leave before the client is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// Runs and experiments that one socket may watch.
const MOST_WATCHED: usize = 200;
/// Events per read of the log.
const PORTION: u32 = 500;
/// A client that is further behind gets a snapshot.
const MOST_REPLAYED: u64 = 5_000;

/// The client is gone or too slow.
struct Gone;

pub async fn open(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(place) = Arc::clone(&shared.viewers).try_acquire_owned() else {
        let refused =
            AppError::queue_full(format!("{MOST_VIEWERS} pages are watching already."), "Close some of them.");
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
                let viewer = Viewer {
                    service: Arc::clone(&shared.service),
                    socket,
                    seen: HashMap::new(),
                    experiments: HashSet::new(),
                };
                viewer.watch(notices, &shared).await;
                drop(place);
            })
        })
        .into_response()
}

struct Viewer {
    service: Arc<Service>,
    socket: WebSocket,
    /// Number of the last event that was sent, of each run that is watched.
    seen: HashMap<i64, u64>,
    experiments: HashSet<i64>,
}

impl Viewer {
    async fn watch(mut self, mut notices: broadcast::Receiver<Notice>, shared: &Shared) {
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
                    Some(Ok(message)) => self.hear(message).await,
                    Some(Err(_)) | None => Err(Gone),
                },
                notice = notices.recv() => match notice {
                    Ok(notice) => self.tell(notice).await,
                    Err(broadcast::error::RecvError::Lagged(_)) => self.start_over().await,
                    Err(broadcast::error::RecvError::Closed) => Err(Gone),
                },
            };
            if went.is_err() {
                return;
            }
        }
    }

    async fn hear(&mut self, message: Message) -> Result<(), Gone> {
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Binary(_) | Message::Close(_) => return Err(Gone),
        };
        match serde_json::from_str(&text) {
            Ok(ClientFrame::Ping) => self.send(&ServerFrame::Heartbeat).await,
            Ok(_) if self.seen.len() + self.experiments.len() >= MOST_WATCHED => {
                self.complain(AppError::too_large(
                    format!("One socket watches at most {MOST_WATCHED} things."),
                    "Reload the page.",
                ))
                .await
            }
            Ok(ClientFrame::Experiment { experiment }) => {
                self.experiments.insert(experiment);
                Ok(())
            }
            Ok(ClientFrame::Run { run, after_seq }) => self.catch_up(run, after_seq).await,
            Err(error) => {
                self.complain(AppError::invalid_setting(
                    format!("The frame is not understood: {error}."),
                    "Reload the page.",
                ))
                .await
            }
        }
    }

    async fn tell(&mut self, notice: Notice) -> Result<(), Gone> {
        match notice {
            Notice::Changed { experiment } if self.experiments.contains(&experiment) => {
                self.send(&ServerFrame::Changed { experiment }).await
            }
            Notice::Event(event) => match self.seen.get(&event.run).copied() {
                Some(seen) if event.seq == seen + 1 => self.send_event(LoggedEvent::clone(&event)).await,
                Some(seen) if event.seq > seen => self.catch_up(event.run, seen).await,
                _ => Ok(()),
            },
            Notice::Changed { .. } => Ok(()),
        }
    }

    /// Sends the log after this number, or a snapshot where that is far behind or beyond the log's end.
    async fn catch_up(&mut self, run: i64, after: u64) -> Result<(), Gone> {
        let last = match self.ask(move |service| service.last_seq(run)).await {
            Ok(last) => last,
            Err(error) => return self.complain(error).await,
        };
        if after > last || last - after > MOST_REPLAYED {
            return self.send_snapshot(run).await;
        }
        self.seen.insert(run, after);
        while let Some(seen) = self.seen.get(&run).copied() {
            let events = match self.ask(move |service| service.events(run, seen, PORTION)).await {
                Ok(events) => events,
                Err(error) => return self.complain(error).await,
            };
            let complete = events.len() < PORTION as usize;
            for event in events {
                self.send_event(event).await?;
            }
            if complete {
                break;
            }
        }
        Ok(())
    }

    /// After missed notices: nothing that this client holds is known to be current.
    async fn start_over(&mut self) -> Result<(), Gone> {
        let runs: Vec<i64> = self.seen.keys().copied().collect();
        for run in runs {
            self.send_snapshot(run).await?;
        }
        let experiments: Vec<i64> = self.experiments.iter().copied().collect();
        for experiment in experiments {
            self.send(&ServerFrame::Changed { experiment }).await?;
        }
        Ok(())
    }

    async fn send_snapshot(&mut self, run: i64) -> Result<(), Gone> {
        match self.ask(move |service| service.view(run)).await {
            Ok(view) => {
                self.seen.insert(run, view.seq);
                self.send(&ServerFrame::Snapshot { view: Box::new(view) }).await
            }
            Err(error) => {
                self.seen.remove(&run);
                self.complain(error).await
            }
        }
    }

    async fn send_event(&mut self, event: LoggedEvent) -> Result<(), Gone> {
        self.seen.insert(event.run, event.seq);
        self.send(&ServerFrame::Event { event }).await
    }

    async fn complain(&mut self, error: AppError) -> Result<(), Gone> {
        self.send(&ServerFrame::Error { error }).await
    }

    async fn send(&mut self, frame: &ServerFrame) -> Result<(), Gone> {
        let text = serde_json::to_string(frame).map_err(|_| Gone)?;
        match timeout(PATIENCE, self.socket.send(Message::Text(text.into()))).await {
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
