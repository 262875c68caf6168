//! Keeps one WebSocket open: reconnects with back-off, wakes with the page, notices a silent line.
//!
//! Knows frames, not what they mean. Every attempt has a generation; whatever an older one still reports is ignored.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use leptos::ev;
use leptos::leptos_dom::helpers::{IntervalHandle, TimeoutHandle, WindowListenerHandle};
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{CloseEvent, Event, MessageEvent, VisibilityState, WebSocket};

use super::backoff::Backoff;
use spec::{ClientFrame, ServerFrame};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// The server sends a heartbeat every few seconds; so long without any frame means that the line is dead.
const SILENCE_MS: f64 = 30_000.0;
const WATCH_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    Connecting,
    Open,
    Closed,
}

impl SocketState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

type OnFrame = Box<dyn Fn(ServerFrame)>;
type OnState = Box<dyn Fn(SocketState)>;
type OnEvent = Closure<dyn FnMut(Event)>;

/// Dropping it does not close it: call `close`.
#[derive(Clone)]
pub struct Socket(Rc<Inner>);

struct Inner {
    on_frame: OnFrame,
    on_state: OnState,
    line: RefCell<Option<Line>>,
    backoff: RefCell<Backoff>,
    generation: Cell<u32>,
    /// Milliseconds of the page's clock at the last frame.
    heard: Cell<f64>,
    retry: Cell<Option<TimeoutHandle>>,
    watch: Cell<Option<IntervalHandle>>,
    wakers: RefCell<Vec<WindowListenerHandle>>,
    /// Listens on the document; detached in `close`.
    visible: RefCell<Option<OnEvent>>,
    closed: Cell<bool>,
}

/// One attempt, with the handlers that must outlive it.
struct Line {
    socket: WebSocket,
    _open: OnEvent,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _close: Closure<dyn FnMut(CloseEvent)>,
}

impl Line {
    /// Handlers first, so that the old socket's end is not taken for the new one's.
    fn end(self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        self.socket.set_onerror(None);
        // Fails only for a bad code, and none is given.
        let _ = self.socket.close();
    }
}

impl Socket {
    /// Connects at once. `on_state` is told `Open` after every successful attempt: that is when to subscribe.
    pub fn open(on_frame: impl Fn(ServerFrame) + 'static, on_state: impl Fn(SocketState) + 'static) -> Self {
        let socket = Self(Rc::new(Inner {
            on_frame: Box::new(on_frame),
            on_state: Box::new(on_state),
            line: RefCell::new(None),
            backoff: RefCell::default(),
            generation: Cell::new(0),
            heard: Cell::new(now_ms()),
            retry: Cell::new(None),
            watch: Cell::new(None),
            wakers: RefCell::default(),
            visible: RefCell::new(None),
            closed: Cell::new(false),
        }));
        socket.connect();
        socket.watch_the_line();
        socket.wake_with_the_page();
        socket
    }

    /// False where the line is not open; what must arrive is sent again on `Open`.
    pub fn send(&self, frame: &ClientFrame) -> bool {
        let line = self.0.line.borrow();
        let Some(line) = line.as_ref().filter(|line| line.socket.ready_state() == WebSocket::OPEN) else {
            return false;
        };
        serde_json::to_string(frame).is_ok_and(|text| line.socket.send_with_str(&text).is_ok())
    }

    pub fn close(&self) {
        self.0.closed.set(true);
        self.next_generation();
        if let Some(handle) = self.0.watch.take() {
            handle.clear();
        }
        for waker in self.0.wakers.take() {
            waker.remove();
        }
        if let Some(listener) = self.0.visible.take() {
            let _ =
                document().remove_event_listener_with_callback("visibilitychange", listener.as_ref().unchecked_ref());
        }
    }

    /// Ends what is under way and returns the number of the next attempt.
    fn next_generation(&self) -> u32 {
        if let Some(handle) = self.0.retry.take() {
            handle.clear();
        }
        if let Some(line) = self.0.line.take() {
            line.end();
        }
        self.0.generation.set(self.0.generation.get() + 1);
        self.0.generation.get()
    }

    fn is_current(&self, generation: u32) -> bool {
        self.0.generation.get() == generation && !self.0.closed.get()
    }

    fn connect(&self) {
        let generation = self.next_generation();
        (self.0.on_state)(SocketState::Connecting);
        let Some(address) = address() else { return };
        let Ok(socket) = WebSocket::new(&address) else {
            return self.lost(generation);
        };
        let this = self.clone();
        let open = Closure::new(move |_: Event| {
            if this.is_current(generation) {
                this.0.heard.set(now_ms());
                this.0.backoff.borrow_mut().reset();
                if let Some(late) = this.0.retry.take() {
                    late.clear();
                }
                (this.0.on_state)(SocketState::Open);
            }
        });
        let this = self.clone();
        let message = Closure::new(move |event: MessageEvent| {
            if !this.is_current(generation) {
                return;
            }
            this.0.heard.set(now_ms());
            // A frame that this page does not know belongs to a newer server: a reload fetches its page.
            if let Some(frame) = event.data().as_string().and_then(|text| serde_json::from_str(&text).ok()) {
                (this.0.on_frame)(frame);
            }
        });
        let this = self.clone();
        let close = Closure::new(move |_: CloseEvent| this.lost(generation));
        socket.set_onopen(Some(open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(close.as_ref().unchecked_ref()));
        *self.0.line.borrow_mut() =
            Some(Line { socket: socket.clone(), _open: open, _message: message, _close: close });
        let this = self.clone();
        set_timeout(
            move || {
                if socket.ready_state() == WebSocket::CONNECTING {
                    this.lost(generation);
                }
            },
            CONNECT_TIMEOUT,
        );
    }

    /// The attempt failed or the line broke: try again later.
    fn lost(&self, generation: u32) {
        if !self.is_current(generation) {
            return;
        }
        (self.0.on_state)(SocketState::Closed);
        let delay = self.0.backoff.borrow_mut().next_delay_ms(js_sys::Math::random());
        let this = self.clone();
        let retry = set_timeout_with_handle(
            move || {
                // Not inside the old line's own handler, which must not drop itself.
                this.0.retry.take();
                if this.is_current(generation) {
                    this.connect();
                }
            },
            Duration::from_millis(u64::from(delay)),
        );
        if let Some(older) = self.0.retry.replace(retry.ok()) {
            older.clear();
        }
    }

    fn watch_the_line(&self) {
        let this = self.clone();
        let handle = set_interval_with_handle(
            move || {
                let open =
                    this.0.line.borrow().as_ref().is_some_and(|line| line.socket.ready_state() == WebSocket::OPEN);
                if open && now_ms() - this.0.heard.get() > SILENCE_MS {
                    this.connect();
                }
            },
            WATCH_EVERY,
        );
        self.0.watch.set(handle.ok());
    }

    /// A page that is shown again or online again does not wait for the back-off.
    fn wake_with_the_page(&self) {
        let this = self.clone();
        let online = window_event_listener(ev::online, move |_| this.wake());
        self.0.wakers.borrow_mut().push(online);
        let this = self.clone();
        let visible: OnEvent = Closure::new(move |_| {
            if document().visibility_state() == VisibilityState::Visible {
                this.wake();
            }
        });
        let _ = document().add_event_listener_with_callback("visibilitychange", visible.as_ref().unchecked_ref());
        *self.0.visible.borrow_mut() = Some(visible);
    }

    fn wake(&self) {
        let dead = self.0.line.borrow().as_ref().is_none_or(|line| line.socket.ready_state() >= WebSocket::CLOSING)
            || now_ms() - self.0.heard.get() > SILENCE_MS;
        if dead && !self.0.closed.get() {
            self.connect();
        }
    }
}

fn now_ms() -> f64 {
    js_sys::Date::now()
}

fn address() -> Option<String> {
    let location = window().location();
    let scheme = if location.protocol().ok()? == "https:" { "wss" } else { "ws" };
    Some(format!("{scheme}://{}/ws", location.host().ok()?))
}
