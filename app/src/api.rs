//! Sends commands to the server: by `POST /api/NAME` in a browser, directly while a page is rendered on the server.

use serde::de::DeserializeOwned;
use spec::{AppError, Request};

#[cfg(feature = "ssr")]
pub async fn call<R: Request>(request: R) -> Result<R::Answer, AppError> {
    use std::sync::Arc;

    use crate::backend::Backend;

    let backend = leptos::prelude::use_context::<Arc<dyn Backend>>().ok_or_else(|| {
        AppError::internal("The page was rendered without its server.", "Restart the server and reload the page.")
    })?;
    answer(&backend.call(request.into()).await?)
}

/// The future of a browser's fetch stays on its thread, which is the only one.
#[cfg(not(feature = "ssr"))]
pub async fn call<R: Request>(request: R) -> Result<R::Answer, AppError> {
    let body = serde_json::to_string(&request).map_err(|error| {
        AppError::internal(format!("The command {} cannot be written as JSON: {error}.", R::NAME), "Reload the page.")
    })?;
    let text = send_wrapper::SendWrapper::new(browser::post(R::NAME, body)).await?;
    answer(&text)
}

/// Sends a command whose answer nobody waits for, also while the page goes away.
pub fn send_and_forget<R: Request>(request: &R) {
    #[cfg(not(feature = "ssr"))]
    if let Ok(body) = serde_json::to_string(request) {
        browser::post_and_forget(R::NAME, &body);
    }
    #[cfg(feature = "ssr")]
    let _ = request;
}

fn answer<T: DeserializeOwned>(text: &str) -> Result<T, AppError> {
    serde_json::from_str(text).map_err(|error| {
        AppError::internal(
            format!("The server's answer is not understood: {error}."),
            "Reload the page: the server may have been updated.",
        )
    })
}

#[cfg(not(feature = "ssr"))]
mod browser {
    use spec::AppError;
    use wasm_bindgen::JsCast;
    use wasm_bindgen_futures::JsFuture;
    use web_sys::{AbortSignal, Headers, RequestInit, Response};

    const TIMEOUT_MS: u32 = 60_000;

    /// The body of the answer, or the error that the server answered with.
    pub async fn post(name: &str, body: String) -> Result<String, AppError> {
        let (status, text) = fetch(name, body).await.ok_or_else(|| {
            AppError::connection(
                "Can't reach the server.",
                "Check that it is running and that this machine is online, then try again.",
            )
        })?;
        if (200..300).contains(&status) {
            return Ok(text);
        }
        Err(serde_json::from_str(&text).unwrap_or_else(|_| {
            AppError::connection(
                format!("Can't reach the server: a proxy or gateway answered with status {status}."),
                "Check that the server is running behind it, then try again.",
            )
        }))
    }

    /// Status and text. None: no whole answer arrived in time.
    async fn fetch(name: &str, body: String) -> Option<(u16, String)> {
        let request = command(&body)?;
        request.set_signal(Some(&AbortSignal::timeout_with_u32(TIMEOUT_MS)));
        let fetching = web_sys::window()?.fetch_with_str_and_init(&format!("/api/{name}"), &request);
        let response: Response = JsFuture::from(fetching).await.ok()?.dyn_into().ok()?;
        let text = JsFuture::from(response.text().ok()?).await.ok()?;
        Some((response.status(), text.as_string()?))
    }

    fn command(body: &str) -> Option<RequestInit> {
        let headers = Headers::new().ok()?;
        headers.set("Content-Type", "application/json").ok()?;
        let request = RequestInit::new();
        request.set_method("POST");
        request.set_headers(&headers);
        request.set_body(&body.into());
        Some(request)
    }

    /// The browser finishes it after the page is gone; it allows 64 KiB for that.
    pub fn post_and_forget(name: &str, body: &str) {
        let Some((request, window)) = command(body).zip(web_sys::window()) else { return };
        let _ = js_sys::Reflect::set(&request, &"keepalive".into(), &true.into());
        let sent = window.fetch_with_str_and_init(&format!("/api/{name}"), &request);
        // A failure is expected without a connection, and nobody is there to be told.
        wasm_bindgen_futures::spawn_local(async move {
            let _ = JsFuture::from(sent).await;
        });
    }
}
