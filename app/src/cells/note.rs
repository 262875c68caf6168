//! The note cell: plain text, kept as it is typed.

use leptos::html;
use leptos::prelude::*;

use super::form::Field;
use crate::book::{Book, CellState};

/// Shows the text; editing puts a field in its place.
pub fn body(book: Book, cell: CellState) -> AnyView {
    let Some(field) = Field::of(book, cell, "text") else { return ().into_any() };
    let editing = RwSignal::new(false);
    let problem = RwSignal::new(None::<String>);
    let text = field.value();
    let area = NodeRef::<html::Textarea>::new();
    Effect::new(move || {
        if let (true, Some(area)) = (editing.get(), area.get()) {
            let _ = area.focus();
        }
    });
    let shown = move || {
        if editing.get() {
            view! {
                <textarea node_ref=area class="note-text" rows="8" aria-label="Text of the note"
                    prop:value=move || text.get()
                    on:input=move |event| problem.set(field.write(&event_target_value(&event)))></textarea>
                {move || problem.get().map(|text| view! { <p class="problem" role="alert">{text}</p> })}
            }
            .into_any()
        } else if text.with(|text| text.trim().is_empty()) {
            view! { <p class="empty">"An empty note."</p> }.into_any()
        } else {
            view! { <div class="text">{text.get()}</div> }.into_any()
        }
    };
    view! {
        <div class="note-body">
            {shown}
            <button type="button" on:click=move |_| editing.update(|editing| *editing = !*editing)>
                {move || if editing.get() { "Close" } else { "Edit" }}
            </button>
        </div>
    }
    .into_any()
}
