//! Pairs as files: prepared here, written by whoever asked for them.

use std::io::Write;

use spec::{AppError, ExportQuery};

use super::Service;
use super::shares::unknown_link;
use crate::export::{Export, Written};

impl Service {
    /// Of a generate, curate or report run.
    pub(crate) async fn export(&self, run: i64, query: ExportQuery) -> Result<Export, AppError> {
        self.blocking(move |core| Export::of_run(&core.store, run, query)).await
    }

    /// Of the report that a share link opens.
    pub(crate) async fn export_shared(&self, token: String, query: ExportQuery) -> Result<Export, AppError> {
        self.blocking(move |core| {
            let run = core.shared_run(&token)?.ok_or_else(unknown_link)?;
            Export::of_report(&core.store, run, query)
        })
        .await
    }

    /// Blocks.
    pub(crate) fn write_export<W: Write + Send>(&self, export: &Export, out: W) -> Result<Written, AppError> {
        export.write(&self.core.store, out)
    }
}
