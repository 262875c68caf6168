//! The note cell: plain text, kept as it is typed.

use leptos::html;
use leptos::prelude::*;

use super::form::Form;
use spec::NoteConfig;

/// Shows the text; editing puts a field in its place.
pub fn body(form: Form<NoteConfig>) -> AnyView {
    let editing = RwSignal::new(false);
    let text = form.value(|config| config.text.clone());
    let area = NodeRef::<html::Textarea>::new();
    Effect::new(move || {
        if let (true, Some(area)) = (editing.get(), area.get()) {
            let _ = area.focus();
        }
    });
    let shown = move || {
        if editing.get() {
            view! {
                <textarea node_ref=area class="note-text" rows="8" aria-label="Text of the note" prop:value=move || text.get()
                    on:input=move |event| form.edit(|config| config.text = event_target_value(&event))></textarea>
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
