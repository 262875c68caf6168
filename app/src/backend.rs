//! How pages that are rendered on the server reach it: one method, for every command. Only under `ssr`.

use std::future::Future;
use std::pin::Pin;

use spec::{AppError, Command};

/// An answer as JSON text, as it goes over HTTP too.
pub type Json = String;

pub type Answering = Pin<Box<dyn Future<Output = Result<Json, AppError>> + Send>>;

/// Provided by the server as `Arc<dyn Backend>` in the context of each page.
pub trait Backend: Send + Sync + 'static {
    fn call(&self, command: Command) -> Answering;
}
