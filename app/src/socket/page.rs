//! The connection of the page that is shown: there is one at most. Its state stands on the document's root.

use std::cell::RefCell;

use leptos::prelude::*;

use super::client::{Socket, SocketState};
use spec::{ClientFrame, ServerFrame};

#[derive(Default)]
struct Held {
    /// Counts the pages that opened a connection, so that a page which is left does not close its successor's.
    turn: u32,
    socket: Option<Socket>,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// In an effect only. The number closes this connection and no other.
pub fn open(on_frame: impl Fn(ServerFrame) + 'static, on_state: impl Fn(SocketState) + 'static) -> u32 {
    let before = HELD.with_borrow_mut(|held| {
        held.turn += 1;
        held.socket.take()
    });
    if let Some(before) = before {
        before.close();
    }
    let socket = Socket::open(on_frame, move |state| {
        show(state);
        on_state(state);
    });
    HELD.with_borrow_mut(|held| {
        held.socket = Some(socket);
        held.turn
    })
}

/// False where the connection is not open.
pub fn send(frame: &ClientFrame) -> bool {
    let socket = HELD.with_borrow(|held| held.socket.clone());
    socket.is_some_and(|socket| socket.send(frame))
}

/// Whether it was still this page's.
pub fn close(turn: u32) -> bool {
    let own = HELD.with_borrow_mut(|held| if held.turn == turn { held.socket.take() } else { None });
    let Some(socket) = own else { return false };
    socket.close();
    show(SocketState::Closed);
    true
}

fn show(state: SocketState) {
    if let Some(root) = document().document_element() {
        let _ = root.set_attribute("data-socket", state.as_str());
    }
}
