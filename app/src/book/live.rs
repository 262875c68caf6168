//! Joins the socket to the notebook's signals. There is one open notebook, so one connection, in each page.
//!
//! Frames are gathered for a moment and folded in together: a chart is drawn some twenty times a second at most.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::Book;
use crate::api;
use crate::socket::page::send;
use crate::socket::{Feed, Gap, SocketState, page};
use spec::{AppError, ClientFrame, ErrorCode, GetNotebook, LoggedEvent, ServerFrame};

const GATHER: Duration = Duration::from_millis(50);
/// Changes come in bursts: queued, started, the next one queued.
const REFETCH_AFTER: Duration = Duration::from_millis(150);

/// What the page says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not connected yet.
    Fresh,
    Open,
    Lost,
}

#[derive(Default)]
struct Live {
    gathered: Vec<ServerFrame>,
    feed: Feed,
    /// Runs that were asked for on this connection and are not over.
    subscribed: HashSet<i64>,
    refetch: Refetch,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Refetch {
    #[default]
    Idle,
    Waiting,
    Fetching,
    /// Something changed while the notebook was under way.
    Again,
}

thread_local! {
    static LIVE: RefCell<Live> = RefCell::default();
}

/// In an effect only. The number closes it.
pub fn open(book: Book) -> u32 {
    LIVE.take();
    page::open(move |frame| gather(book, frame), move |state| enter(book, state))
}

pub fn close(turn: u32) {
    if page::close(turn) {
        LIVE.take();
    }
}

fn enter(book: Book, state: SocketState) {
    match state {
        SocketState::Open => {
            let again = book.link.try_get_untracked() == Some(Link::Lost);
            book.link.try_set(Link::Open);
            LIVE.with_borrow_mut(|live| {
                live.subscribed.clear();
                live.feed.forget();
            });
            send(&ClientFrame::Experiment { experiment: book.id });
            subscribe(book);
            if again {
                forget_connection_errors(book);
                book.save_what_is_left();
                refetch(book);
            }
        }
        SocketState::Closed => {
            book.link.try_set(Link::Lost);
        }
        SocketState::Connecting => {}
    }
}

/// Errors of requests that found no server are over once it answers again.
fn forget_connection_errors(book: Book) {
    let is_over = |error: &Option<AppError>| error.as_ref().is_some_and(|error| error.code == ErrorCode::Connection);
    let cells = book.known().unwrap_or_default();
    for slot in cells.iter().map(|cell| cell.error).chain([book.error, book.add_error]) {
        if slot.with_untracked(is_over) {
            slot.set(None);
        }
    }
}

/// Asks for every run that goes on and was not asked for on this connection.
pub fn subscribe(book: Book) {
    for (run, after_seq) in book.open_runs() {
        let new = LIVE.with_borrow_mut(|live| live.subscribed.insert(run));
        if new && !send(&ClientFrame::Run { run, after_seq }) {
            LIVE.with_borrow_mut(|live| live.subscribed.remove(&run));
        }
    }
}

fn gather(book: Book, frame: ServerFrame) {
    if matches!(frame, ServerFrame::Heartbeat) {
        return;
    }
    let first = LIVE.with_borrow_mut(|live| {
        live.gathered.push(frame);
        live.gathered.len() == 1
    });
    if first {
        set_timeout(move || fold(book), GATHER);
    }
}

fn fold(book: Book) {
    let frames = LIVE.with_borrow_mut(|live| std::mem::take(&mut live.gathered));
    let Some(cells) = book.known() else { return };
    let mut events = BTreeMap::<i64, Vec<LoggedEvent>>::new();
    for frame in frames {
        match frame {
            ServerFrame::Event { event } => events.entry(event.run).or_default().push(event),
            ServerFrame::Snapshot { view } => {
                if let Some(cell) = cells.iter().find(|cell| cell.id == view.cell) {
                    cell.take_run(*view);
                }
            }
            ServerFrame::Changed { experiment } if experiment == book.id => refetch(book),
            ServerFrame::Changed { .. } | ServerFrame::Heartbeat => {}
            ServerFrame::Error { error } => book.error.set(Some(error)),
        }
    }
    for (run, events) in events {
        let is_this = |view: &Option<spec::RunView>| view.as_ref().is_some_and(|view| view.run == run);
        let Some(cell) = cells.iter().find(|cell| cell.run.with_untracked(is_this)) else {
            refetch(book);
            continue;
        };
        let mut gap = None;
        let mut over = false;
        cell.run.update(|view| {
            if let Some(view) = view {
                gap = LIVE.with_borrow_mut(|live| live.feed.fold(view, &events));
                over = view.state.is_over();
            }
        });
        if let Some(Gap { run, after_seq }) = gap {
            send(&ClientFrame::Run { run, after_seq });
        }
        if over {
            LIVE.with_borrow_mut(|live| live.subscribed.remove(&run));
            refetch(book);
        }
    }
}

/// Fetches the notebook again, soon and once for many notices.
pub fn refetch(book: Book) {
    let start = LIVE.with_borrow_mut(|live| match live.refetch {
        Refetch::Idle => {
            live.refetch = Refetch::Waiting;
            true
        }
        Refetch::Fetching => {
            live.refetch = Refetch::Again;
            false
        }
        Refetch::Waiting | Refetch::Again => false,
    });
    if start {
        set_timeout(move || spawn_local(fetch(book)), REFETCH_AFTER);
    }
}

async fn fetch(book: Book) {
    if book.known().is_none() {
        return;
    }
    LIVE.with_borrow_mut(|live| live.refetch = Refetch::Fetching);
    let request = book.next_request();
    match api::call(GetNotebook { experiment: book.id }).await {
        Ok(notebook) => book.merge(request, notebook),
        Err(error) if error.code == ErrorCode::NotFound => {
            book.gone.try_set(true);
        }
        // The connection's own state shows other failures, and reconnecting fetches again.
        Err(_) => {}
    }
    let again = LIVE.with_borrow_mut(|live| std::mem::take(&mut live.refetch) == Refetch::Again);
    if again && book.known().is_some() {
        refetch(book);
    }
}
