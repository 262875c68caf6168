//! Keys of the notebook: Shift+Enter runs and goes on, Ctrl/Cmd+Enter runs, j and k move, ? explains.
//! While a person types only Ctrl/Cmd+Enter works.

use leptos::ev;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, KeyboardEvent};

use super::{Book, CellState};

/// In an effect only; the listener ends with the page.
pub fn listen(book: Book, help: RwSignal<bool>) {
    let handle = window_event_listener(ev::keydown, move |event| press(book, help, &event));
    on_cleanup(move || handle.remove());
}

fn press(book: Book, help: RwSignal<bool>, event: &KeyboardEvent) {
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    let is_in =
        |selector: &str| target.as_ref().is_some_and(|element| matches!(element.closest(selector), Ok(Some(_))));
    if event.default_prevented() || event.is_composing() || is_in("dialog") {
        return;
    }
    let typing = is_in("input, textarea, select, [contenteditable]");
    let command = event.ctrl_key() || event.meta_key();
    let handled = match event.key().as_str() {
        "Enter" if command => run(book),
        "Enter" if event.shift_key() && !typing => run(book) && step(book, 1),
        "j" if !typing && !command && !event.alt_key() => step(book, 1),
        "k" if !typing && !command && !event.alt_key() => step(book, -1),
        "?" if !typing && !command => {
            help.set(true);
            true
        }
        _ => false,
    };
    if handled {
        event.prevent_default();
    }
}

fn active(book: Book) -> Option<(usize, Vec<CellState>)> {
    let cells = book.known()?;
    let id = book.active.get_untracked()?;
    let at = cells.iter().position(|cell| cell.id == id)?;
    Some((at, cells))
}

fn run(book: Book) -> bool {
    let Some((at, cells)) = active(book) else { return false };
    book.run(cells[at]);
    true
}

fn step(book: Book, by: isize) -> bool {
    let Some(cells) = book.known() else { return false };
    let next = match active(book) {
        Some((at, _)) => at.saturating_add_signed(by).min(cells.len().saturating_sub(1)),
        None => 0,
    };
    let Some(cell) = cells.get(next) else { return false };
    book.active.set(Some(cell.id));
    focus(cell.id);
    true
}

/// Goes to a cell, as the keys do.
pub fn show(book: Book, cell: i64) {
    book.active.set(Some(cell));
    focus(cell);
}

/// Moves the focus to a cell's heading, so that the screen follows and a screen reader says it.
fn focus(cell: i64) {
    let found = document().query_selector(&format!("[data-cell-id=\"{cell}\"]")).ok().flatten();
    if let Some(section) = found.and_then(|element| element.dyn_into::<HtmlElement>().ok()) {
        let _ = section.focus();
    }
}
