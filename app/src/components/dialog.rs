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

/// Asks for an experiment's new name.
#[component]
pub fn Rename(open: RwSignal<bool>, #[prop(into)] name: Signal<String>, on_rename: Callback<String>) -> impl IntoView {
    let draft = RwSignal::new(String::new());
    Effect::new(move || {
        if open.get() {
            draft.set(name.get_untracked());
        }
    });
    let rename = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        open.set(false);
        on_rename.run(draft.get_untracked());
    };
    view! {
        <Dialog open title="Rename the experiment">
            <form on:submit=rename>
                <label>
                    "Name"
                    <input type="text" required maxlength="200" autocomplete="off" prop:value=move || draft.get()
                        on:input=move |event| draft.set(event_target_value(&event))/>
                </label>
                <div class="actions">
                    <button type="submit" class="primary">"Rename"</button>
                    <button type="button" on:click=move |_| open.set(false)>"Cancel"</button>
                </div>
            </form>
        </Dialog>
    }
    .into_any()
}

/// Asks once more before something is lost.
#[component]
pub fn Confirm(
    open: RwSignal<bool>,
    #[prop(into)] title: String,
    #[prop(into)] text: Signal<String>,
    #[prop(into)] action: Signal<String>,
    on_confirm: Callback<()>,
) -> impl IntoView {
    let confirm = move |_| {
        open.set(false);
        on_confirm.run(());
    };
    view! {
        <Dialog open title>
            <p>{move || text.get()}</p>
            <div class="actions">
                <button type="button" class="danger" on:click=confirm>{move || action.get()}</button>
                <button type="button" on:click=move |_| open.set(false)>"Cancel"</button>
            </div>
        </Dialog>
    }
    .into_any()
}
