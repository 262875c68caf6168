//! A native modal dialog, opened and closed by a signal.

use leptos::html;
use leptos::prelude::*;

#[component]
pub fn Dialog(open: RwSignal<bool>, #[prop(into)] title: String, children: Children) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    Effect::new(move || {
        let Some(dialog) = dialog.get() else { return };
        if open.get() && !dialog.open() {
            // Refused only for a dialog that is not in the document, which then nobody sees.
            let _ = dialog.show_modal();
        } else if !open.get() && dialog.open() {
            dialog.close();
        }
    });
    let label = title.clone();
    view! {
        <dialog node_ref=dialog aria-label=label on:close=move |_| open.set(false)>
            <h2>{title}</h2>
            {children()}
        </dialog>
    }
    .into_any()
}

/// Asks once more before something is lost.
#[component]
pub fn Confirm(
    open: RwSignal<bool>,
    #[prop(into)] title: String,
    #[prop(into)] text: Signal<String>,
    #[prop(into)] action: String,
    on_confirm: Callback<()>,
) -> impl IntoView {
    view! {
        <Dialog open title>
            <p>{move || text.get()}</p>
            <div class="actions">
                <button type="button" class="danger" on:click=move |_| { open.set(false); on_confirm.run(()); }>{action}</button>
                <button type="button" on:click=move |_| open.set(false)>"Cancel"</button>
            </div>
        </Dialog>
    }
    .into_any()
}
