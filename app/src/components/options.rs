//! The options of a select.

use leptos::prelude::*;

/// Values with their labels. The chosen one is marked, so that the server's HTML shows it too.
pub fn options(choices: impl Iterator<Item = (&'static str, &'static str)>, chosen: &str) -> AnyView {
    let option = |(value, label): (&'static str, &'static str)| {
        let is_chosen = value == chosen;
        view! { <option value=value selected=is_chosen>{label}</option> }
    };
    choices.map(option).collect_view().into_any()
}
