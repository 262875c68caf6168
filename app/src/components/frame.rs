//! What surrounds a page: the way home, the theme, what the server runs on.

use leptos::prelude::*;
use leptos_meta::Title;

use super::format::bytes;
use super::theme::ThemeSwitch;
use spec::SystemInfo;

/// The head of a page for the owner.
#[component]
pub fn Top(#[prop(optional)] children: Option<Children>) -> impl IntoView {
    view! {
        <header class="top">
            // Left to the browser, which moves the focus to the main part; the router would only change the address.
            <a class="skip" href="#main" rel="external">"Skip to the content"</a>
            <a class="home" href="/"><span class="mark" aria-hidden="true">"↩"</span> "Backtranslate"</a>
            <div class="tools">{children.map(|children| children())} <ThemeSwitch/></div>
        </header>
    }
    .into_any()
}

/// The machine, in one line: only what stays true while the page is open.
pub fn machine(system: SystemInfo) -> AnyView {
    let SystemInfo { version, device, device_description, memory_bytes, .. } = system;
    view! {
        <footer class="machine">
            <p>
                "Backtranslate " {version} " · device " <strong>{device}</strong>
                {(!device_description.is_empty()).then(|| format!(" ({device_description})"))}
                " · " {bytes(memory_bytes)} " memory"
            </p>
        </footer>
    }
    .into_any()
}

/// A page that could not be shown; the response gets the fitting status.
pub fn failed(error: spec::AppError, home: bool) -> AnyView {
    set_status(error.code);
    let title = if error.code == spec::ErrorCode::NotFound { "Page not found" } else { "Page not available" };
    view! {
        <Title text=title/>
        <main id="main" class="failed" tabindex="-1">
            <h1>{title}</h1>
            {super::error::error_box(error)}
            {home.then(|| view! { <p><a href="/">"All experiments"</a></p> })}
        </main>
    }
    .into_any()
}

#[cfg(feature = "ssr")]
fn set_status(code: spec::ErrorCode) {
    use http::StatusCode;
    use leptos_axum::ResponseOptions;
    if let Some(response) = use_context::<ResponseOptions>() {
        response.set_status(StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    }
}

#[cfg(not(feature = "ssr"))]
fn set_status(_code: spec::ErrorCode) {}
