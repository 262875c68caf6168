//! The page's built files: wasm, script, style sheet, icons. They are part of the program and held in memory, so that a
//! request's path is looked up in a table and never becomes a path on the disk.

use std::collections::HashMap;
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use include_dir::{Dir, include_dir};
use spec::AppError;

/// Empty if the program was built before its page.
static EMBEDDED: Dir<'_> = include_dir!("$SITE_DIR");

/// By path, as requests name it: `/pkg/backtranslate.js`.
pub struct Files(HashMap<String, File>);

struct File {
    content_type: HeaderValue,
    plain: Encoded,
    brotli: Option<Encoded>,
    gzip: Option<Encoded>,
}

struct Encoded {
    bytes: Bytes,
    etag: HeaderValue,
}

impl Files {
    /// Those in the program, or in this folder.
    pub fn load(folder: Option<&Path>) -> Result<Self, AppError> {
        let mut contents = HashMap::new();
        match folder {
            Some(folder) => read(folder, "", &mut contents).map_err(|error| {
                AppError::io(
                    format!("The page's files in {} cannot be read: {error}.", folder.display()),
                    "Check --site.",
                )
            })?,
            None => embedded(&EMBEDDED, &mut contents),
        }
        if !contents.contains_key("/pkg/backtranslate.js") {
            return Err(match folder {
                Some(folder) => AppError::not_found(
                    format!("The page's files are not in {}.", folder.display()),
                    "Build them with `cargo xtask build --page-only`.",
                ),
                None => AppError::not_found(
                    "This program was built without its page.",
                    "Build both with `cargo xtask build`, in this order: the page is embedded in the program.",
                ),
            });
        }
        let encoded = |name: &str, suffix: &str| contents.get(&format!("{name}{suffix}")).map(Encoded::new);
        let file = |(name, bytes): (&String, &Bytes)| {
            let file = File {
                content_type: HeaderValue::from_static(content_type(name)),
                plain: Encoded::new(bytes),
                brotli: encoded(name, ".br"),
                gzip: encoded(name, ".gz"),
            };
            (name.clone(), file)
        };
        let whole = contents.iter().filter(|(name, _)| !name.ends_with(".br") && !name.ends_with(".gz"));
        Ok(Self(whole.map(file).collect()))
    }

    /// These are open to everyone, since they hold nothing of a person's.
    pub fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// None if there is no such file. Names carry no hash, so browsers ask each time whether theirs is current.
    pub fn serve(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        let file = self.0.get(path)?;
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Some(StatusCode::METHOD_NOT_ALLOWED.into_response());
        }
        let accepts = |encoding: &str| accepts(headers, encoding);
        let (encoded, encoding) = match (&file.brotli, &file.gzip) {
            (Some(brotli), _) if accepts("br") => (brotli, Some("br")),
            (_, Some(gzip)) if accepts("gzip") => (gzip, Some("gzip")),
            _ => (&file.plain, None),
        };
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|etags| holds(etags, &encoded.etag));
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = Body::from(encoded.bytes.clone()).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, file.content_type.clone());
            if let Some(encoding) = encoding {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
            }
            response
        };
        let answer = response.headers_mut();
        answer.insert(header::ETAG, encoded.etag.clone());
        answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Some(response)
    }
}

impl Encoded {
    fn new(bytes: &Bytes) -> Self {
        let etag = format!("\"{}\"", &engine::artifact::sha256(bytes)[..32]);
        let etag = HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { bytes: bytes.clone(), etag }
    }
}

fn embedded(folder: &'static Dir<'static>, contents: &mut HashMap<String, Bytes>) {
    for file in folder.files() {
        contents.insert(format!("/{}", file.path().display()), Bytes::from_static(file.contents()));
    }
    for inner in folder.dirs() {
        embedded(inner, contents);
    }
}

fn read(folder: &Path, prefix: &str, contents: &mut HashMap<String, Bytes>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read(&entry.path(), &name, contents)?;
        } else {
            contents.insert(name, Bytes::from(std::fs::read(entry.path())?));
        }
    }
    Ok(())
}

fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut named = lines.flat_map(|line| line.split(',')).filter_map(|part| {
        let (name, weight) = part.split_once(';').unwrap_or((part, ""));
        let refused = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok()) == Some(0.0);
        name.trim().eq_ignore_ascii_case(encoding).then_some(!refused)
    });
    named.next() == Some(true)
}

/// Is this ETag in the list of an `If-None-Match`? Weak ones count: nothing here is compared byte by byte.
fn holds(list: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(list), Ok(etag)) = (list.to_str(), etag.to_str()) else { return false };
    list.split(',').map(|known| known.trim().trim_start_matches("W/")).any(|known| known == etag || known == "*")
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Files {
        let site = tempfile::tempdir().unwrap();
        std::fs::create_dir(site.path().join("pkg")).unwrap();
        for (name, text) in
            [("backtranslate.js", "plain"), ("backtranslate.js.br", "brotli"), ("backtranslate.js.gz", "gzip")]
        {
            std::fs::write(site.path().join("pkg").join(name), text).unwrap();
        }
        Files::load(Some(site.path())).unwrap()
    }

    fn ask(files: &Files, name: header::HeaderName, value: &str) -> (StatusCode, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let response = files.serve(&Method::GET, "/pkg/backtranslate.js", &headers).unwrap();
        (response.status(), response.headers().clone())
    }

    #[test]
    fn only_names_of_files_are_found() {
        let files = site();
        assert!(files.contains("/pkg/backtranslate.js"));
        let long = format!("/{}", "x".repeat(300));
        for path in ["/", "", "/pkg", "/pkg/", "/pkg/../pkg/backtranslate.js", "/pkg/%61.js", "//etc/passwd", &long] {
            assert!(!files.contains(path), "{path}");
        }
        assert!(!files.contains("/pkg/backtranslate.js.br"), "an encoding is not a file of its own");
    }

    #[test]
    fn the_smallest_accepted_encoding_is_sent() {
        let files = site();
        for (accepted, encoding) in [
            ("gzip, deflate, br", Some("br")),
            ("gzip", Some("gzip")),
            ("br;q=0, GZIP;q=0.5", Some("gzip")),
            ("identity", None),
            ("brotli", None),
        ] {
            let (_, headers) = ask(&files, header::ACCEPT_ENCODING, accepted);
            let sent = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap());
            assert_eq!(sent, encoding, "{accepted}");
        }
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let files = site();
        let (status, headers) = ask(&files, header::ACCEPT, "*/*");
        assert_eq!(status, StatusCode::OK);
        let etag = headers[header::ETAG].to_str().unwrap();
        for known in [etag.to_owned(), format!("\"other\", W/{etag}"), "*".to_owned()] {
            assert_eq!(ask(&files, header::IF_NONE_MATCH, &known).0, StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_eq!(ask(&files, header::IF_NONE_MATCH, "\"other\"").0, StatusCode::OK);
    }

    #[test]
    fn a_folder_without_the_page_is_refused_with_what_to_do() {
        let empty = tempfile::tempdir().unwrap();
        let error = Files::load(Some(empty.path())).err().unwrap();
        assert!(error.hint.contains("cargo xtask build"), "{error:?}");
    }
}
