//! Light, dark, or as the system says; the choice is kept in this browser. The shell's script applies it before
//! the first paint.

use leptos::prelude::*;

use super::icon::{Icon, icon};

const KEY: &str = "theme";

#[component]
pub fn ThemeSwitch() -> impl IntoView {
    let choice = RwSignal::new(String::new());
    Effect::new(move || choice.set(stored().unwrap_or_default()));
    let choose = move |_| {
        let next = match choice.get_untracked().as_str() {
            "" => "dark",
            "dark" => "light",
            _ => "",
        };
        choice.set(next.to_owned());
        apply(next);
    };
    let name = move || match choice.get().as_str() {
        "dark" => "Theme: dark",
        "light" => "Theme: light",
        _ => "Theme: system",
    };
    view! {
        <button type="button" class="quiet" on:click=choose aria-label=name title=name>{icon(Icon::Theme)}</button>
    }
    .into_any()
}

fn stored() -> Option<String> {
    window().local_storage().ok()??.get_item(KEY).ok()?
}

fn apply(theme: &str) {
    // A browser that keeps nothing still changes this page.
    if let Ok(Some(storage)) = window().local_storage() {
        let _ = if theme.is_empty() { storage.remove_item(KEY) } else { storage.set_item(KEY, theme) };
    }
    if let Some(root) = document().document_element() {
        let _ = if theme.is_empty() {
            root.remove_attribute("data-theme")
        } else {
            root.set_attribute("data-theme", theme)
        };
    }
}
