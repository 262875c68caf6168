//! The page's built files: wasm, script, style sheet, icons.

use std::path::Path;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;
use tower_http::services::ServeDir;

/// True where the path names a file of the site: those are open to everyone, since they hold nothing of a person's.
pub fn is_file(site: &Path, path: &str) -> bool {
    let path = path.trim_start_matches('/');
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    };
    !path.is_empty() && path.split('/').all(plain) && site.join(path).is_file()
}

/// None where there is no such file. Names carry no hash, so browsers ask each time whether theirs is current.
pub async fn serve(site: &Path, request: Request<Body>) -> Option<Response> {
    let files = ServeDir::new(site).append_index_html_on_directories(false).precompressed_br().precompressed_gzip();
    let mut response = match files.oneshot(request).await {
        Ok(response) => response.map(Body::new).into_response(),
        Err(never) => match never {},
    };
    if response.status() == StatusCode::NOT_FOUND {
        return None;
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_below_the_site_are_files() {
        let site = tempfile::tempdir().unwrap();
        std::fs::create_dir(site.path().join("pkg")).unwrap();
        std::fs::write(site.path().join("pkg/a_b-c.js"), "").unwrap();
        std::fs::write(site.path().join(".hidden"), "").unwrap();
        assert!(is_file(site.path(), "/pkg/a_b-c.js"));
        for path in [
            "/",
            "/pkg",
            "/pkg/",
            "/.hidden",
            "/pkg/../pkg/a_b-c.js",
            "/pkg/%61_b-c.js",
            "//etc/passwd",
            "/pkg//a_b-c.js",
        ] {
            assert!(!is_file(site.path(), path), "{path}");
        }
    }
}
