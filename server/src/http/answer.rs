//! Answers that are not pages of the app: errors as JSON, and plain pages for those who are not signed in.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use spec::AppError;

pub fn error(status: StatusCode, error: AppError) -> Response {
    (status, Json(error)).into_response()
}

/// An error of the service, with the status of its code.
pub fn service_error(given: AppError) -> Response {
    let status = StatusCode::from_u16(given.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    error(status, given)
}

pub fn too_large(what: &str, limit: u64) -> Response {
    let message = format!("{what} is larger than the limit of {limit} bytes.");
    let mut response = error(StatusCode::PAYLOAD_TOO_LARGE, AppError::too_large(message, "Send less at a time."));
    // The rest of the body is not read, so the connection cannot be used again.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

pub fn too_slow() -> Response {
    let refused = AppError::connection("The request took too long to arrive.", "Try again over a better connection.");
    error(StatusCode::REQUEST_TIMEOUT, refused)
}

/// For those without the cookie: says how to sign in, and nothing else.
pub fn sign_in(wants_html: bool) -> Response {
    if !wants_html {
        return service_error(not_signed_in());
    }
    let text = "<p>This notebook is private. Open the link that <code>backtranslate serve</code> printed when it started: \
                it ends in <code>?token=…</code> and signs this browser in.</p>\
                <p>The token is also in the file <code>token</code> of the data folder: \
                add <code>/?token=</code> and the token to this address.</p>";
    plain_page(StatusCode::UNAUTHORIZED, "Not signed in", text)
}

/// The same for unknown, malformed and revoked links.
pub fn unknown_share() -> Response {
    let text = "<p>This link does not open a report. It may have been mistyped or withdrawn; \
                ask whoever sent it for a new one.</p>";
    plain_page(StatusCode::NOT_FOUND, "No report here", text)
}

/// `what` goes on too often at the moment.
pub fn busy(what: &str) -> Response {
    let refused = AppError::queue_full(format!("Too many {what} at the moment."), "Try again in a moment.");
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, refused);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

pub fn not_signed_in() -> AppError {
    AppError::unauthorised(
        "This needs the link that the server printed when it started.",
        "Open that link (it ends in ?token=…) in this browser, then try again.",
    )
}

fn plain_page(status: StatusCode, title: &str, text: &str) -> Response {
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title><link rel=\"stylesheet\" href=\"/pkg/backtranslate.css\"></head>\
         <body><main class=\"plain\"><h1>{title}</h1>{text}</main></body></html>"
    );
    (status, Html(page)).into_response()
}
