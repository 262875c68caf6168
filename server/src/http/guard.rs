//! What every request passes before anything else sees it: host, origin, session, size; and the headers of every
//! answer. Refuses by default: `paths::is_public` is the short list of what is open.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::StreamExt;
use spec::AppError;
use tokio::sync::Semaphore;

use super::access::Session;
use super::connections::Connection;
use super::{Shared, answer, paths};

/// Of everything but uploads, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Pages of shared reports that are made for guests at a time.
const MAX_RENDERS: usize = 4;
/// Pages of shared reports that are in memory for guests until they have been read.
const MAX_READERS: usize = 64;
/// Whole shared reports that are in memory for guests until they have been read.
const MAX_WHOLE: usize = 4;
const READER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds what guests can make this server hold in memory.
pub struct GuestReports {
    renders: Semaphore,
    readers: Arc<Semaphore>,
    whole: Arc<Semaphore>,
}

impl GuestReports {
    pub fn new() -> Self {
        Self {
            renders: Semaphore::new(MAX_RENDERS),
            readers: Arc::new(Semaphore::new(MAX_READERS)),
            whole: Arc::new(Semaphore::new(MAX_WHOLE)),
        }
    }

    /// Waits for a permit, and holds it until the answer has been sent.
    async fn answer(&self, request: Request, next: Next) -> Response {
        let readers = if paths::is_whole_shared_report(request.uri().path()) { &self.whole } else { &self.readers };
        let reader = tokio::time::timeout(READER_TIMEOUT, Arc::clone(readers).acquire_owned()).await;
        let (Ok(Ok(reader)), Ok(_render)) = (reader, self.renders.acquire().await) else {
            return answer::busy("reports are being read");
        };
        next.run(request).await.map(|body| {
            Body::from_stream(body.into_data_stream().map(move |part| {
                let _held = &reader;
                part
            }))
        })
    }
}

pub async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = match admit(&shared, request).await {
        Ok(request) => {
            let guest = request.extensions().get() == Some(&Session::Guest);
            if guest && paths::is_shared_report(request.uri().path()) {
                shared.guest_reports.answer(request, next).await
            } else {
                next.run(request).await
            }
        }
        Err(refusal) => refusal,
    };
    add_headers(response.headers_mut());
    response
}

async fn admit(shared: &Shared, mut request: Request) -> Result<Request, Response> {
    let Some(host) = shared.hosts.admitted(request.headers(), request.uri()) else { return Err(unknown_host()) };
    let path = request.uri().path();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if (!reads || path == paths::SOCKET) && !shared.hosts.same_origin(request.headers(), host) {
        return Err(foreign_origin());
    }
    if reads
        && path == "/"
        && let Some(token) = token_in(request.uri())
    {
        return Err(exchange(shared, token));
    }
    let session = shared.access.session(request.headers());
    if session == Session::Owner
        && let Some(connection) = request.extensions().get::<Connection>()
    {
        connection.set_signed_in();
    }
    if session == Session::Guest && !paths::is_public(path) && !shared.files.contains(path) {
        let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        return Err(answer::sign_in(reads && accepts.contains("text/html")));
    }
    if let Some(token) = paths::share_token(path)
        && !shared.service.opens(token.to_owned()).await.map_err(answer::service_error)?
    {
        return Err(answer::unknown_share());
    }
    let limited = path != paths::UPLOAD;
    request.extensions_mut().insert(session);
    if limited && !reads { with_small_body(request).await } else { Ok(request) }
}

fn token_in(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|field| field.strip_prefix("token="))
}

/// Exchanges the token for the cookie, and redirects to the address without it.
fn exchange(shared: &Shared, token: &str) -> Response {
    if shared.access.token().is_none() {
        return Redirect::to("/").into_response();
    }
    if !shared.access.admits_token(token) {
        return answer::sign_in(true);
    }
    let mut response = Redirect::to("/").into_response();
    if let Ok(cookie) = HeaderValue::from_str(&shared.access.set_cookie()) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Reads the body here, so that no handler sees a large or slow one.
async fn with_small_body(request: Request) -> Result<Request, Response> {
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let refused = || answer::too_large("The request", BODY_LIMIT as u64);
    if declared.is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(refused());
    }
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_LIMIT)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Err(_)) => Err(refused()),
        Err(_) => Err(answer::too_slow()),
    }
}

fn unknown_host() -> Response {
    let refused = AppError::unauthorised(
        "This server does not answer under that host name.",
        "Use the address that it printed, or start it with --allow-host NAME.",
    );
    answer::error(StatusCode::FORBIDDEN, refused)
}

fn foreign_origin() -> Response {
    let refused = AppError::unauthorised(
        "This request did not come from a page of this server.",
        "Send it from its own pages, or with an Origin header that equals the address.",
    );
    answer::error(StatusCode::FORBIDDEN, refused)
}

fn add_headers(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address of a shared report is its key.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Pages bring their own, with a nonce.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Some(date) = http_date(SystemTime::now()) {
        headers.insert(header::DATE, date);
    }
}

/// None for a clock that is set to where the format ends, before 1970 or after 9999.
fn http_date(now: SystemTime) -> Option<HeaderValue> {
    const END: Duration = Duration::from_secs(253_402_300_800);
    let valid = now.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since < END);
    if valid { HeaderValue::from_str(&httpdate::fmt_http_date(now)).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_wrong_costs_the_date_and_nothing_else() {
        let second = Duration::from_secs(1);
        let at = |time: SystemTime| http_date(time).map(|date| date.to_str().unwrap().to_owned());
        assert_eq!(at(SystemTime::UNIX_EPOCH).as_deref(), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(at(SystemTime::UNIX_EPOCH - second), None);
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
        assert_eq!(at(end), None);
        assert!(at(end - second).is_some());
    }
}
