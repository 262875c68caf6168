//! Downloads from a hub that misbehaves: a file appears only after its hash matches, whatever the server does.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use engine::Control;
use server::models::hub::Hub;
use server::models::{Source, fetch};
use spec::AppError;

use crate::support::{Folder, tiny_llama};

const ID: &str = "someone/tiny-llama";

/// What the server does wrong with the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Closes the connection after a third of what is left.
    Cut,
    /// Cuts the first answer, then ignores `Range` and sends everything with 200.
    WholeForRange,
    /// Cuts the first answer, then serves another version under another ETag.
    ChangedEtag,
    /// Cuts every answer that starts at the beginning, and answers each `Range` with another ETag.
    NewEtagForEachRange,
    /// The same with a range that was not asked for.
    WrongRange,
    /// The same with 416.
    NoRange,
    /// Sends other bytes than its ETag says, of the right length.
    WrongBytes,
    /// Has no listing, and redirects weights to another path, as large files are.
    NoListing,
    /// Names no hash at all.
    NoHash,
    /// Only a pickle.
    Pickle,
    /// Says a size that nothing should have.
    Enormous,
}

struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

fn sha256(bytes: &[u8]) -> String {
    engine::artifact::sha256(bytes)
}

fn serve(fault: Fault) -> Server {
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    for entry in std::fs::read_dir(tiny_llama()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let served =
            if fault == Fault::Pickle && name == "model.safetensors" { "pytorch_model.bin".to_owned() } else { name };
        files.insert(served, std::fs::read(path).unwrap());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut answering = Answering { stream, files: &files, fault, log: &log };
            // A client that goes away is no fault of the server's.
            let _ = answering.answer();
        }
    });
    Server { endpoint, requests }
}

struct Answering<'a> {
    stream: TcpStream,
    files: &'a HashMap<String, Vec<u8>>,
    fault: Fault,
    log: &'a Mutex<Vec<String>>,
}

impl Answering<'_> {
    fn answer(&mut self) -> std::io::Result<()> {
        let mut lines = BufReader::new(self.stream.try_clone()?).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let range = headers.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let from = value.trim().strip_prefix("bytes=")?.strip_suffix('-')?;
            name.eq_ignore_ascii_case("range").then(|| from.parse::<usize>().ok())?
        });
        self.log.lock().unwrap().push(match range {
            Some(from) => format!("{path} from {from}"),
            None => path.clone(),
        });
        if path.starts_with("/api/") {
            return self.listing();
        }
        if let Some(name) = path.strip_prefix("/store/") {
            return self.file(name, range, false);
        }
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        self.file(&name, range, self.fault == Fault::NoListing)
    }

    fn listing(&mut self) -> std::io::Result<()> {
        if matches!(self.fault, Fault::NoListing | Fault::NoHash) {
            return self.status("404 Not Found", &[]);
        }
        let siblings: Vec<_> = self
            .files
            .iter()
            .map(|(name, bytes)| serde_json::json!({ "rfilename": name, "size": bytes.len() }))
            .collect();
        let text = serde_json::json!({ "sha": "0".repeat(40), "siblings": siblings }).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(text.as_bytes())
    }

    fn status(&mut self, status: &str, headers: &[String]) -> std::io::Result<()> {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        self.stream.write_all(
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n").as_bytes(),
        )
    }

    fn file(&mut self, name: &str, range: Option<usize>, redirect: bool) -> std::io::Result<()> {
        let Some(bytes) = self.files.get(name) else { return self.status("404 Not Found", &[]) };
        let mut bytes = bytes.clone();
        let is_weights = name == "model.safetensors";
        let attempts = self.log.lock().unwrap().iter().filter(|path| path.contains(name)).count();
        let mut etag = format!("\"{}\"", sha256(&bytes));
        let mut honours_range = true;
        let mut cut = false;
        if is_weights {
            match self.fault {
                Fault::Cut => cut = attempts < 4,
                Fault::WholeForRange => {
                    cut = attempts == 1;
                    honours_range = false;
                }
                Fault::ChangedEtag => {
                    if attempts == 1 {
                        bytes.reverse();
                        etag = format!("\"{}\"", sha256(&bytes));
                    }
                    cut = attempts == 1;
                }
                Fault::NewEtagForEachRange | Fault::WrongRange | Fault::NoRange => {
                    cut = range.is_none();
                    if range.is_some() && self.fault == Fault::NoRange {
                        return self.status("416 Range Not Satisfiable", &[]);
                    }
                    if range.is_some() && self.fault == Fault::NewEtagForEachRange {
                        etag = format!("\"{}\"", sha256(&attempts.to_le_bytes()));
                    }
                }
                Fault::WrongBytes => bytes[100] ^= 0xff,
                Fault::NoHash => etag = "\"5f3c-62a\"".to_owned(),
                Fault::Enormous => {
                    let head = format!("HTTP/1.1 200 OK\r\netag: {etag}\r\ncontent-length: {}\r\n\r\n", 1_u64 << 60);
                    return self.stream.write_all(head.as_bytes());
                }
                Fault::None | Fault::NoListing | Fault::Pickle => {}
            }
        }
        if redirect && is_weights {
            let linked = [format!("location: /store/{name}"), format!("x-linked-etag: {etag}")];
            return self.status("302 Found", &linked);
        }
        if redirect {
            // Small files carry git's name of their content.
            etag = "\"".to_owned() + &git_blob(&bytes) + "\"";
        }
        if self.fault == Fault::NoListing && is_weights {
            etag = "\"not-the-hash\"".to_owned();
        }
        let from = range.filter(|_| honours_range).unwrap_or(0).min(bytes.len());
        let status = if range.is_some() && honours_range { "206 Partial Content" } else { "200 OK" };
        let mut head = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\netag: {etag}\r\ncontent-length: {}\r\n",
            bytes.len() - from
        );
        if status.starts_with("206") {
            let from = if self.fault == Fault::WrongRange { from + 1 } else { from };
            head.push_str(&format!("content-range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len()));
        }
        self.stream.write_all(format!("{head}\r\n").as_bytes())?;
        let end = if cut { from + (bytes.len() - from) / 3 } else { bytes.len() };
        self.stream.write_all(&bytes[from..end])
    }
}

/// As `git hash-object` does.
fn git_blob(bytes: &[u8]) -> String {
    use sha1::{Digest as _, Sha1};
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    engine::artifact::hex(&hasher.finalize())
}

fn download(server: &Server, folder: &Folder) -> Result<PathBuf, AppError> {
    let hub = Hub::new(&server.endpoint, None);
    let source = Source::of(ID).unwrap();
    fetch(&folder.root().join("models"), &source, &hub, &Control::default(), &mut |_, _| {})
}

fn assert_whole(folder: &Path) {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let expected = std::fs::read(Path::new(&tiny_llama()).join(name)).unwrap();
        assert!(std::fs::read(folder.join(name)).unwrap() == expected, "{name} differs");
    }
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".partial")), "{names:?}");
}

fn nothing_appeared(folder: &Folder) -> bool {
    !folder.root().join("models/someone--tiny-llama").exists()
}

#[test]
fn a_model_is_fetched_whole_and_only_once() {
    let (server, folder) = (serve(Fault::None), Folder::new());
    let path = download(&server, &folder).unwrap();
    assert_whole(&path);
    engine::model::inspect(&path).unwrap();
    let asked = server.requests.lock().unwrap().len();
    assert_eq!(download(&server, &folder).unwrap(), path);
    assert_eq!(server.requests.lock().unwrap().len(), asked);
}

#[test]
fn a_cut_connection_is_gone_on_with_from_where_it_was_cut() {
    let (server, folder) = (serve(Fault::Cut), Folder::new());
    assert_whole(&download(&server, &folder).unwrap());
    let requests = server.requests.lock().unwrap();
    let resumed = requests.iter().filter(|path| path.contains("model.safetensors from ")).count();
    assert_eq!(resumed, 3, "{requests:?}");
}

#[test]
fn a_200_for_a_206_starts_anew() {
    let (server, folder) = (serve(Fault::WholeForRange), Folder::new());
    assert_whole(&download(&server, &folder).unwrap());
}

#[test]
fn a_changed_etag_starts_anew() {
    let (server, folder) = (serve(Fault::ChangedEtag), Folder::new());
    assert_whole(&download(&server, &folder).unwrap());
}

#[test]
fn a_hub_that_makes_every_download_restart_is_given_up() {
    for fault in [Fault::NewEtagForEachRange, Fault::WrongRange, Fault::NoRange] {
        let (server, folder) = (serve(fault), Folder::new());
        let error = download(&server, &folder).unwrap_err();
        assert_eq!(error.code, spec::ErrorCode::Connection, "{fault:?}: {error}");
        assert!(error.message.contains("restarted 3 times"), "{fault:?}: {error}");
        assert!(nothing_appeared(&folder), "{fault:?}");
        let requests = server.requests.lock().unwrap();
        assert!(requests.len() < 20, "{fault:?}: {requests:?}");
    }
}

#[test]
fn wrong_bytes_never_become_a_file() {
    let (server, folder) = (serve(Fault::WrongBytes), Folder::new());
    let error = download(&server, &folder).unwrap_err();
    assert_eq!(error.code, spec::ErrorCode::Corrupt, "{error}");
    assert!(nothing_appeared(&folder));
}

#[test]
fn a_hub_without_a_listing_is_asked_for_names_and_its_redirects_are_followed() {
    let (server, folder) = (serve(Fault::NoListing), Folder::new());
    assert_whole(&download(&server, &folder).unwrap());
}

#[test]
fn a_file_that_nothing_vouches_for_is_refused() {
    let (server, folder) = (serve(Fault::NoHash), Folder::new());
    assert_eq!(download(&server, &folder).unwrap_err().code, spec::ErrorCode::Corrupt);
    assert!(nothing_appeared(&folder));
}

#[test]
fn a_pickle_is_never_asked_for() {
    let (server, folder) = (serve(Fault::Pickle), Folder::new());
    let error = download(&server, &folder).unwrap_err();
    assert_eq!(error.code, spec::ErrorCode::Unsupported, "{error}");
    assert!(server.requests.lock().unwrap().iter().all(|path| !path.contains(".bin")));
    assert!(nothing_appeared(&folder));
}

#[test]
fn a_size_that_nothing_should_have_is_refused_before_it_is_read() {
    let (server, folder) = (serve(Fault::Enormous), Folder::new());
    let error = download(&server, &folder).unwrap_err();
    assert!(["too_large", "connection"].contains(&error.code.as_str()), "{error}");
    assert!(nothing_appeared(&folder));
}

#[test]
fn an_unreachable_hub_says_so_and_what_to_check() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let server = Server { endpoint, requests: Arc::default() };
    let error = download(&server, &Folder::new()).unwrap_err();
    assert_eq!(error.code, spec::ErrorCode::Connection);
    assert!(error.hint.contains("HF_ENDPOINT"));
}
