//! What every request passes before anything else sees it: host, origin, session, size; and the headers of every
//! answer. Refuses by default: what is open stands in one short list.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use spec::AppError;

use super::access::Session;
use super::{Shared, answer, files, hosts, router};

/// Of everything but uploads, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Address of the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

pub async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = match admit(&shared, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal,
    };
    add_headers(response.headers_mut());
    response
}

async fn admit(shared: &Shared, mut request: Request) -> Result<Request, Response> {
    let Some(host) = shared.hosts.admitted(request.headers(), request.uri()) else { return Err(unknown_host()) };
    let path = request.uri().path();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if (!reads || path == router::SOCKET) && !hosts::same_origin(request.headers(), host) {
        return Err(foreign_origin());
    }
    if reads
        && path == "/"
        && let Some(token) = token_in(request.uri())
    {
        return Err(trade(shared, token));
    }
    let session = shared.access.session(request.headers());
    if session == Session::Guest && !is_open(shared, path) {
        let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        return Err(answer::sign_in(reads && accepts.contains("text/html")));
    }
    if let Some(token) = path.strip_prefix(router::SHARED_REPORTS) {
        check_share(shared, token.to_owned(), peer(&request)).await?;
    }
    let limited = path != router::UPLOAD;
    request.extensions_mut().insert(session);
    if limited && !reads { with_small_body(request).await } else { Ok(request) }
}

/// What needs no cookie: it holds nothing of a person's, or a link's token says who may see it.
fn is_open(shared: &Shared, path: &str) -> bool {
    path == router::HEALTH
        || path == router::SHARED_REPORT_FUNCTION
        || path.starts_with(router::SHARED_REPORTS)
        || files::is_file(&shared.site, path)
}

pub fn peer(request: &Request) -> IpAddr {
    request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0)
}

fn token_in(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|field| field.strip_prefix("token="))
}

/// The token for a cookie, and the clean address.
fn trade(shared: &Shared, token: &str) -> Response {
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

async fn check_share(shared: &Shared, token: String, peer: IpAddr) -> Result<(), Response> {
    if shared.limiter.is_blocked(peer) {
        return Err(answer::too_many_misses());
    }
    if shared.service.opens(token).await.map_err(answer::service_error)? {
        return Ok(());
    }
    shared.limiter.miss(peer);
    Err(answer::unknown_share())
}

/// Reads the body here, so that neither a large nor a slow one reaches anyone.
async fn with_small_body(request: Request) -> Result<Request, Response> {
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let refused = || answer::too_large("The request", BODY_LIMIT as u64);
    if declared.is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(refused());
    }
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_PATIENCE, to_bytes(body, BODY_LIMIT)).await {
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
}
