//! One module per page.

use leptos::prelude::*;

#[component]
pub fn Missing() -> impl IntoView {
    view! { <main><h1>"Nothing is here"</h1><p><a href="/">"All experiments"</a></p></main> }
}
#[component]
pub fn Experiments() -> impl IntoView {
    view! { <main><h1>"Experiments"</h1></main> }
}
#[component]
pub fn NotebookRoute() -> impl IntoView {
    view! { <main><h1>"Notebook"</h1></main> }
}
#[component]
pub fn OwnReport() -> impl IntoView {
    view! { <main><h1>"Report"</h1></main> }
}
#[component]
pub fn SharedReport() -> impl IntoView {
    view! { <main><h1>"Report"</h1></main> }
}
