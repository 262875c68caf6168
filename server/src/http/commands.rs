//! `POST /api/{name}`: commands as JSON, and who may send which.

use std::future::ready;
use std::sync::Arc;

use app::backend::{Answering, Backend};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use spec::{AppError, Command};

use super::access::Session;
use super::{Shared, answer};
use crate::service::Service;

/// A session's access to the service; guests may send public commands only. Pages that are rendered here get it too, so
/// that even a page that asks for too much gets nothing.
pub struct Caller {
    pub service: Arc<Service>,
    pub session: Session,
}

impl Backend for Caller {
    fn call(&self, command: Command) -> Answering {
        if self.session == Session::Guest && !Command::is_public(command.name()) {
            return Box::pin(ready(Err(answer::not_signed_in())));
        }
        let service = Arc::clone(&self.service);
        Box::pin(async move { service.call(command).await })
    }
}

pub async fn command(
    State(shared): State<Arc<Shared>>,
    Extension(session): Extension<Session>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let command = match read(&name, &body) {
        Ok(command) => command,
        Err(error) => return answer::service_error(error),
    };
    let caller = Caller { service: Arc::clone(&shared.service), session };
    match caller.call(command).await {
        Ok(json) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response(),
        Err(error) => answer::service_error(error),
    }
}

fn read(name: &str, body: &[u8]) -> Result<Command, AppError> {
    let mut parameters = serde_json::Deserializer::from_slice(body);
    let command = Command::read(name, &mut parameters).ok_or_else(|| {
        AppError::not_found(
            format!("There is no command {name:?}."),
            "Reload the page: the server may have been updated.",
        )
    })?;
    let whole = command.and_then(|command| parameters.end().map(|()| command));
    whole.map_err(|error| {
        AppError::invalid_setting(
            format!("The parameters of {name} are not understood: {error}."),
            "Reload the page: the server may have been updated.",
        )
    })
}
