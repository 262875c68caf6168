//! Uploads: names are only shown, sizes are limited, nothing is left behind.

use std::path::Path;

use spec::{DataFile, ListFiles};

use crate::support::{Server, fake};

fn all_files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(all_files(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_uploaded_file_can_be_chosen() {
    let server = Server::start().await;
    let body = r#"{"instruction":"a","response":"b"}"#;
    let answer =
        server.post("/upload?name=my%20pairs.jsonl", body).header("Cookie", &server.cookie().await).send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let file: DataFile = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((file.name.as_str(), file.size_bytes), ("my pairs.jsonl", body.len() as u64));
    assert!(server.service.ask(ListFiles {}).await.unwrap().contains(&file));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_never_become_paths() {
    let server = Server::start().await;
    let cookie = server.cookie().await;
    let outside = tempfile::tempdir().unwrap();
    let names = [
        "../../token",
        "..%2F..%2Ftoken",
        "/etc/passwd",
        "C:%5Cx",
        "%00",
        "..",
        ".",
        "",
        "a%0Ab",
        "backtranslate.sqlite",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let answer = server
            .post(&format!("/upload?name={name}"), &format!("planted {number}"))
            .header("Cookie", &cookie)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        let file: DataFile = serde_json::from_str(&answer.body).unwrap();
        assert!(!file.name.contains(['/', '\\', '\n', '\0']), "{:?}", file.name);
    }
    let files = server.data.path().join("files");
    for path in all_files(server.data.path()) {
        let planted = std::fs::read(&path).unwrap_or_default().starts_with(b"planted");
        assert!(!planted || path.starts_with(files.to_str().unwrap()), "{path}");
    }
    assert!(all_files(outside.path()).is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_is_too_large_is_refused_and_leaves_nothing() {
    let server = Server::start_with(fake::obedient(), |options| options.upload_limit = 1_000).await;
    let cookie = server.cookie().await;
    let declared = server.post("/upload?name=x", &"x".repeat(1_001)).header("Cookie", &cookie).send().await;
    assert_eq!((declared.status, declared.code()), (413, "too_large".to_owned()));
    let portions = format!("100\r\n{}\r\n", "x".repeat(0x100)).repeat(8) + "0\r\n\r\n";
    let chunked = server
        .post("/upload?name=x", &portions)
        .header("Cookie", &cookie)
        .header("Transfer-Encoding", "chunked")
        .send()
        .await;
    assert_eq!(chunked.status, 413);
    let empty = server.post("/upload?name=x", "").header("Cookie", &cookie).send().await;
    assert_eq!((empty.status, empty.code()), (422, "malformed_file".to_owned()));
    let exact = server.post("/upload?name=x", &"x".repeat(1_000)).header("Cookie", &cookie).send().await;
    assert_eq!(exact.status, 200);
    assert!(all_files(&server.data.path().join("incoming")).is_empty());
    server.stop().await;
}
