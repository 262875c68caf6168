//! Reports as files: `report.json` as it was frozen, and one HTML file that opens without a server.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use spec::AppError;

use super::{Shared, answer};
use crate::service::ReportOf;

pub async fn own_json(State(shared): State<Arc<Shared>>, Path(run): Path<String>) -> Response {
    match own(&run) {
        Ok(of) => json(&shared, of).await,
        Err(error) => answer::service_error(error),
    }
}

pub async fn own_html(State(shared): State<Arc<Shared>>, Path(run): Path<String>) -> Response {
    match own(&run) {
        Ok(of) => html(&shared, of).await,
        Err(error) => answer::service_error(error),
    }
}

pub async fn shared_json(State(shared): State<Arc<Shared>>, Path(token): Path<String>) -> Response {
    json(&shared, ReportOf::Link(token)).await
}

pub async fn shared_html(State(shared): State<Arc<Shared>>, Path(token): Path<String>) -> Response {
    html(&shared, ReportOf::Link(token)).await
}

fn own(run: &str) -> Result<ReportOf, AppError> {
    let number = run.parse().map(ReportOf::Run);
    number.map_err(|_| AppError::not_found(format!("There is no run {run:?}."), "Open a report from its cell."))
}

async fn json(shared: &Shared, of: ReportOf) -> Response {
    let name = file_name(&of, "json");
    let bytes = shared.service.report_file(of).await;
    download(bytes.map(Body::from), "application/json", &name)
}

async fn html(shared: &Shared, of: ReportOf) -> Response {
    let name = file_name(&of, "html");
    let text = shared.service.report_html(of).await;
    download(text.map(Body::from), "text/html; charset=utf-8", &name)
}

/// A stranger is not told the run's number.
fn file_name(of: &ReportOf, ending: &str) -> String {
    match of {
        ReportOf::Run(run) => format!("report-{run}.{ending}"),
        ReportOf::Link(_) => format!("report.{ending}"),
    }
}

fn download(body: Result<Body, AppError>, content_type: &'static str, name: &str) -> Response {
    let mut response = match body {
        Ok(body) => body.into_response(),
        Err(error) => return answer::service_error(error),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // It is saved, never opened as a page of this server.
    if let Ok(saved) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, saved);
    }
    response
}
