//! Where the focus goes when what had it is gone. In the page only.

use std::cell::Cell;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

thread_local! {
    static SHOWN: Cell<bool> = const { Cell::new(false) };
    /// Number of the newest place that the focus is to go to.
    static NEWEST: Cell<u32> = const { Cell::new(0) };
}

/// A page has come. If it replaced another one, its main part gets the focus, as after a load.
pub fn page_shown() {
    if SHOWN.replace(true) {
        restore("#main");
    }
}

/// Frames in which the focus is watched: the page may replace or move elements some frames after the change that led to it.
const FRAMES: u32 = 20;

/// Moves the focus there whenever nothing has it, for a moment. A later call replaces an earlier one.
pub fn restore(selector: &str) {
    let number = NEWEST.get().wrapping_add(1);
    NEWEST.set(number);
    watch(number, selector.to_owned(), FRAMES);
}

fn watch(number: u32, selector: String, frames: u32) {
    request_animation_frame(move || {
        if NEWEST.get() != number {
            return;
        }
        let document = document();
        let lost = document.active_element().is_none_or(|element| element.tag_name() == "BODY");
        let found = document.query_selector(&selector).ok().flatten();
        if let (true, Some(element)) = (lost, found.and_then(|element| element.dyn_into::<HtmlElement>().ok())) {
            let _ = element.focus();
        }
        if frames > 1 {
            watch(number, selector, frames - 1);
        }
    });
}
