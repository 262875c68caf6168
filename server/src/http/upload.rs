//! Uploads: a body streamed to a temporary file, never held in memory, then handed to the resources.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;
use spec::AppError;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use super::{Shared, answer};
use crate::service::new_token;

const MAX_UPLOADS: usize = 4;
/// Between two chunks of a body.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// The folder for bodies while they arrive.
pub struct Incoming {
    folder: PathBuf,
    limit: u64,
    permits: Semaphore,
}

impl Incoming {
    /// Deletes what an earlier process did not finish receiving.
    pub fn open(data: &Path, limit: u64) -> Result<Self, AppError> {
        let folder = data.join("incoming");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|error| {
            AppError::internal(
                format!("The folder {} cannot be created: {error}.", folder.display()),
                "Check that the data folder is writable.",
            )
        })?;
        Ok(Self { folder, limit, permits: Semaphore::new(MAX_UPLOADS) })
    }
}

#[derive(Deserialize)]
pub struct UploadQuery {
    #[serde(default)]
    name: String,
}

/// `POST /upload?name=…` with the file as the body; answers with the `DataFile` that it became.
pub async fn upload(State(shared): State<Arc<Shared>>, Query(query): Query<UploadQuery>, request: Request) -> Response {
    let incoming = &shared.incoming;
    let Ok(_permit) = incoming.permits.try_acquire() else {
        let refused = AppError::queue_full(
            format!("{MAX_UPLOADS} uploads are in progress already."),
            "Wait until one has finished.",
        );
        return answer::service_error(refused);
    };
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > incoming.limit) {
        return answer::too_large("The file", incoming.limit);
    }
    let name = match new_token() {
        Ok(name) => name,
        Err(error) => return answer::service_error(error),
    };
    let temporary = Temporary(incoming.folder.join(name));
    if let Err(refusal) = receive(&temporary.0, request.into_body(), incoming.limit).await {
        return refusal;
    }
    let resources = Arc::clone(shared.service.resources());
    let added = tokio::task::spawn_blocking(move || resources.add_upload(&query.name, &temporary.0)).await;
    match added {
        Ok(Ok(file)) => Json(file).into_response(),
        Ok(Err(error)) => answer::service_error(error),
        Err(error) => {
            tracing::error!(%error, "an upload panicked");
            answer::service_error(AppError::internal(
                "The upload failed through a fault of this program.",
                "See the server's log.",
            ))
        }
    }
}

async fn receive(path: &Path, body: Body, limit: u64) -> Result<(), Response> {
    let unwritable = |error: std::io::Error| {
        let refused =
            AppError::internal(format!("The file could not be written: {error}."), "Check that the disk is not full.");
        answer::service_error(refused)
    };
    let mut file = File::create_new(path).await.map_err(unwritable)?;
    let mut chunks = body.into_data_stream();
    let mut received: u64 = 0;
    loop {
        let chunk = match tokio::time::timeout(CHUNK_TIMEOUT, chunks.next()).await {
            Err(_) => return Err(answer::too_slow()),
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "an upload was interrupted");
                let refused = AppError::connection("The upload was interrupted.", "Try again.");
                return Err(answer::service_error(refused));
            }
            Ok(Some(Ok(chunk))) => chunk,
        };
        received += chunk.len() as u64;
        if received > limit {
            return Err(answer::too_large("The file", limit));
        }
        file.write_all(&chunk).await.map_err(unwritable)?;
    }
    if received == 0 {
        return Err(answer::service_error(AppError::malformed_file("The file is empty.", "Choose another file.")));
    }
    file.sync_all().await.map_err(unwritable)
}

/// Deletes the file when dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
