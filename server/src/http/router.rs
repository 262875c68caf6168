//! Every route of the server, in one place.

use std::sync::Arc;

use app::api::OpenSharedReport;
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
use leptos::server_fn::ServerFn;
use leptos_axum::{LeptosRoutes, ResponseOptions, generate_route_list};

use super::access::Session;
use super::guard::{Peer, guard};
use super::guest::Guest;
use super::{Shared, files, socket, upload};

pub const HEALTH: &str = "/healthz";
pub const SOCKET: &str = "/ws";
pub const UPLOAD: &str = "/upload";
/// Followed by a share link's token.
pub const SHARED_REPORTS: &str = "/r/";
pub const SHARED_REPORT_FUNCTION: &str = <OpenSharedReport as ServerFn>::PATH;

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
    let options = LeptosOptions::builder()
        .output_name("backtranslate")
        .site_root(shared.site.to_string_lossy().into_owned())
        .site_pkg_dir("pkg")
        .build();
    let state = RouterState { options: options.clone(), shared: Arc::clone(shared) };
    Router::new()
        .route(HEALTH, get(|| async { "ok\n" }))
        .route(SOCKET, get(socket::open))
        .route(UPLOAD, post(upload::upload))
        // Pages, and the server functions under /api.
        .leptos_routes_with_context(&state, generate_route_list(app::App), context(shared), page(options))
        .fallback(fallback)
        .layer(middleware::from_fn_with_state(Arc::clone(shared), guard))
        .with_state(state)
}

/// What pages and server functions find: the port, whole for the owner, nearly closed for guests.
fn context(shared: &Arc<Shared>) -> impl Fn() + Clone + Send + Sync + 'static {
    let shared = Arc::clone(shared);
    move || {
        let parts = use_context::<Parts>();
        let extensions = parts.as_ref().map(|parts| &parts.extensions);
        let session = extensions.and_then(|extensions| extensions.get::<Session>()).copied();
        let backend: Arc<dyn Backend> = if session == Some(Session::Owner) {
            Arc::clone(&shared.service) as _
        } else {
            let peer = extensions.and_then(|extensions| extensions.get::<Peer>());
            let peer = peer.map_or(std::net::IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
            Arc::new(Guest { shared: Arc::clone(&shared), peer })
        };
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
    if let Some(file) = files::serve(&state.shared.site, Request::from_parts(parts.clone(), Body::empty())).await {
        return file;
    }
    let render = leptos_axum::render_app_to_stream_with_context(context(&state.shared), page(state.options));
    let mut response = render(Request::from_parts(parts, Body::empty())).await;
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}
