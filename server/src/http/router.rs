//! Every route of the server, in one place.

use std::any::Any;
use std::sync::Arc;

use app::backend::Backend;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use leptos::config::LeptosOptions;
use leptos::nonce::use_nonce;
use leptos::prelude::{IntoView, provide_context, use_context};
use leptos_axum::{LeptosRoutes, ResponseOptions, generate_route_list};
use spec::AppError;
use tower_http::catch_panic::CatchPanicLayer;

use super::access::Session;
use super::commands::Caller;
use super::guard::guard;
use super::{Shared, answer, commands, download, paths, reports, socket, upload};
use crate::jobs::panic_text;

#[derive(Clone)]
struct RouterState {
    options: LeptosOptions,
    shared: Arc<Shared>,
}

impl FromRef<RouterState> for LeptosOptions {
    fn from_ref(state: &RouterState) -> Self {
        state.options.clone()
    }
}

impl FromRef<RouterState> for Arc<Shared> {
    fn from_ref(state: &RouterState) -> Self {
        Arc::clone(&state.shared)
    }
}

pub fn router(shared: &Arc<Shared>) -> Router {
    let options = LeptosOptions::builder().output_name("backtranslate").site_pkg_dir("pkg").build();
    let state = RouterState { options: options.clone(), shared: Arc::clone(shared) };
    let routes = Router::new()
        .route(paths::HEALTH, get(|| async { "ok\n" }))
        .route(paths::SOCKET, get(socket::open))
        .route(paths::UPLOAD, post(upload::upload))
        .route(&format!("{}{{name}}", paths::COMMANDS), post(commands::command))
        .route(&format!("{}{{run}}", paths::DOWNLOADS), get(download::own))
        .route(&format!("{}{{token}}{}", paths::SHARED_REPORTS, paths::SHARED_DOWNLOAD), get(download::shared))
        .route(&format!("{}{{run}}{}", paths::REPORTS, paths::REPORT_JSON), get(reports::own_json))
        .route(&format!("{}{{run}}{}", paths::REPORTS, paths::REPORT_HTML), get(reports::own_html))
        .route(&format!("{}{{token}}{}", paths::SHARED_REPORTS, paths::REPORT_JSON), get(reports::shared_json))
        .route(&format!("{}{{token}}{}", paths::SHARED_REPORTS, paths::REPORT_HTML), get(reports::shared_html))
        .leptos_routes_with_context(&state, generate_route_list(app::App), context(shared), page(options))
        .fallback(fallback)
        .with_state(state);
    catching(routes).layer(middleware::from_fn_with_state(Arc::clone(shared), guard))
}

/// A handler that panics answers 500.
fn catching(routes: Router) -> Router {
    routes.layer(CatchPanicLayer::custom(panicked))
}

// The layer's interface asks for the box.
#[expect(clippy::needless_pass_by_value)]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    tracing::error!(panic = panic_text(&*panic), "a request handler panicked");
    answer::service_error(AppError::internal(
        "The request failed through a fault of this program.",
        "Try again; if it happens again, see the server's log.",
    ))
}

/// What pages find: access to the service, for the owner or for a guest.
fn context(shared: &Arc<Shared>) -> impl Fn() + Clone + Send + Sync + 'static {
    let shared = Arc::clone(shared);
    move || {
        let parts = use_context::<Parts>();
        let session = parts.and_then(|parts| parts.extensions.get::<Session>().copied()).unwrap_or(Session::Guest);
        let backend: Arc<dyn Backend> = Arc::new(Caller { service: Arc::clone(&shared.service), session });
        provide_context(backend);
    }
}

/// The document around the pages, under a policy that runs only the scripts of this very answer.
fn page(options: LeptosOptions) -> impl Fn() -> leptos::prelude::AnyView + Clone + Send + Sync + 'static {
    use leptos::prelude::IntoAny;
    move || {
        if let (Some(response), Some(nonce)) = (use_context::<ResponseOptions>(), use_nonce()) {
            let policy = format!(
                "default-src 'self'; script-src 'nonce-{nonce}' 'strict-dynamic' 'wasm-unsafe-eval'; style-src 'self'; \
                 img-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
                 frame-ancestors 'none'"
            );
            if let Ok(policy) = HeaderValue::from_str(&policy) {
                response.insert_header(header::CONTENT_SECURITY_POLICY, policy);
            }
        }
        app::shell(options.clone()).into_view().into_any()
    }
}

/// A file of the site, or else the page that says that there is nothing here.
async fn fallback(State(state): State<RouterState>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if let Some(file) = state.shared.files.serve(&parts.method, parts.uri.path(), &parts.headers) {
        return file;
    }
    let render = leptos_axum::render_app_to_stream_with_context(context(&state.shared), page(state.options));
    let mut response = render(Request::from_parts(parts, Body::empty())).await;
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_answers_500_with_a_reason() {
        let routes = Router::new().route(
            "/",
            get(|| async {
                let text = "not a number";
                text.parse::<u32>().expect("deliberate").to_string()
            }),
        );
        let request = Request::builder().uri("/").body(Body::empty()).unwrap();
        let answer = catching(routes).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        let error: AppError = serde_json::from_slice(&body).unwrap();
        assert_eq!(error.code, spec::ErrorCode::Internal);
        assert!(!error.message.contains("deliberate"), "what a panic says is for the log");
    }
}
