//! The pages, and the interface through which they reach the server.
//!
//! Compiles twice: to WebAssembly (`hydrate`) and natively (`ssr`). Knows nothing of burn, SQL or files.
#![forbid(unsafe_code)]
#![recursion_limit = "512"]

pub mod api;
#[cfg(feature = "ssr")]
pub mod backend;
mod book;
mod cells;
mod components;
mod pages;
mod shell;
mod socket;

use leptos::prelude::*;
use leptos_meta::{Title, provide_meta_context};
use leptos_router::components::{Route, Router, Routes};
use leptos_router::{SsrMode, path};

pub use components::format::moment;
#[cfg(feature = "ssr")]
pub use pages::offline_report;
pub use shell::shell;

/// Every page. All are rendered whole on the server before the first byte goes out, so that each reads without
/// scripts and can answer with the right status.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    view! {
        <Title formatter=page_title/>
        <Router>
            <Routes fallback=|| view! { <pages::Missing/> }>
                <Route path=path!("/") view=pages::Experiments ssr=SsrMode::Async/>
                <Route path=path!("/experiments/:id") view=pages::NotebookRoute ssr=SsrMode::Async/>
                <Route path=path!("/compare") view=pages::Compare ssr=SsrMode::Async/>
                <Route path=path!("/rate/:run") view=pages::Rate ssr=SsrMode::Async/>
                <Route path=path!("/reports/:run") view=pages::OwnReport ssr=SsrMode::Async/>
                <Route path=path!("/r/:token") view=pages::SharedReport ssr=SsrMode::Async/>
            </Routes>
        </Router>
    }
    .into_any()
}

/// The text of `<title>`. Every title passes here, and `leptos_meta` writes it into the server's HTML as it is, so it
/// is escaped there. In the browser it becomes `document.title`, which is text.
#[expect(clippy::needless_pass_by_value, reason = "the signature of a formatter")]
fn page_title(title: String) -> String {
    let title = if title.is_empty() { "Backtranslate".to_owned() } else { format!("{title} · Backtranslate") };
    if cfg!(feature = "ssr") { title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;") } else { title }
}

/// Takes over the page that the server rendered.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    hydrate_body(App);
    if let Some(root) = document().document_element() {
        let _ = root.set_attribute("data-hydrated", "");
    }
}
