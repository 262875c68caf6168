//! Many clients at once, honest and not: the server stays there for others, and its memory stays bounded.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use server::http::HttpOptions;
use spec::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Request, Server, fake, finished_report, open};

/// As many connections as a server allows by default, where this process may have so many open files.
fn limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let files: usize = line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(256);
    if files >= 4_096 { 512 } else { 64 }
}

async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Opens more connections than there are places, each with this text; checks that others are answered.
async fn crowd(server: &Server, limit: usize, what: &str, text: &str) {
    let cookie = server.cookie().await;
    let signed_in = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\n\r\n", server.address);
    let mut owner = connect(server.address, &signed_in).await;
    assert_eq!(status(&mut owner).await, 200);

    let mut crowd = Vec::new();
    for _ in 0..limit + 8 {
        crowd.push(connect(server.address, text).await);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        assert_eq!(server.get("/healthz").send().await.status, 200, "{what}");
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest <= Duration::from_millis(250), "{what}: {slowest:?}");
    // What the owner's browser holds open is still open.
    owner.write_all(signed_in.as_bytes()).await.unwrap();
    assert_eq!(status(&mut owner).await, 200, "{what}");
    drop(crowd);
}

/// Of the next answer on this connection, which must fit one read.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut answer = [0; 4_096];
    let count = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer[..count]).into_owned();
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {text:?}"))
}

fn with_large_file(limit: usize) -> impl FnOnce(&mut HttpOptions) {
    move |options| {
        options.connection_limit = limit;
        let site = options.site.clone().unwrap();
        std::fs::write(site.join("pkg/large.wasm"), vec![0; 8 << 20]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_do_nothing_do_not_keep_others_out() {
    let limit = limit();
    let server = Server::start_with(fake::obedient(), with_large_file(limit)).await;
    let host = format!("Host: {}\r\n", server.address);
    for (what, text) in [
        ("empty", String::new()),
        ("half heads", format!("GET / HTTP/1.1\r\n{host}X: ")),
        ("idle after a request", format!("GET /healthz HTTP/1.1\r\n{host}\r\n")),
        (
            "slow bodies",
            format!(
                "POST /api/open_shared_report HTTP/1.1\r\n{host}Origin: http://{}\r\nContent-Length: 1000\r\n\r\n{{",
                server.address
            ),
        ),
        ("answers that nobody reads", format!("GET /pkg/large.wasm HTTP/1.1\r\n{host}\r\n")),
    ] {
        crowd(&server, limit, what, &text).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_connection_gets_503_when_signed_in_browsers_have_every_place() {
    let server = Server::start_with(fake::obedient(), |options| options.connection_limit = 4).await;
    let request =
        format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", server.address, server.cookie().await);
    let mut browsers = Vec::new();
    for _ in 0..4 {
        let mut browser = connect(server.address, &request).await;
        assert_eq!(status(&mut browser).await, 200);
        browsers.push(browser);
    }
    let refused = server.get("/healthz").send().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    browsers.pop();
    crate::support::eventually("a free place", async || {
        (server.get("/healthz").send().await.status == 200).then_some(())
    })
    .await;
    server.stop().await;
}

/// Reports hold this many pairs, with texts as they are in practice.
const PAIRS: u32 = 20_000;

fn large_report() -> fake::Work {
    std::sync::Arc::new(|assignment, emit| {
        let ended = fake::finish(assignment, emit);
        if assignment.config.kind() == CellKind::Report {
            let path = assignment.folder.join("report.json");
            let mut report: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let pairs = (0..PAIRS).map(|index| {
                let generated = format!("Write text {index}");
                GeneratedPair { index, generated, response: "A response of usual length. ".repeat(15), ..fake::pair(0) }
            });
            report["pairs"] = serde_json::to_value(pairs.collect::<Vec<_>>()).unwrap();
            std::fs::write(&path, report.to_string()).unwrap();
        }
        Ok(ended)
    })
}

/// A process that ends with its test, also where that fails.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Peak resident memory of a process so far, in bytes. None where the system does not say.
fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_share_link_does_not_take_the_servers_memory() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), large_report());
    let run = finished_report(&service).await;
    let path = service.ask(ShareReport { run }).await.unwrap().path.unwrap();
    service.shutdown();
    drop(service);

    // A process of its own, since memory is counted by process.
    let site = data.path().join("site");
    std::fs::create_dir_all(site.join("pkg")).unwrap();
    std::fs::write(site.join("pkg/backtranslate.js"), "").unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_backtranslate"));
    serve.arg("serve").arg("--data").arg(data.path()).arg("--site").arg(&site).args(["--listen", "127.0.0.1:0"]);
    let mut child = Killed(serve.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let link = lines.filter_map(|line| Some(line.split_once("http://")?.1.to_owned())).next().unwrap();
    let address: SocketAddr = link.split('/').next().unwrap().parse().unwrap();

    let one = Request::new(address, "GET", &path).send().await;
    assert_eq!(one.status, 200);
    let before = peak_memory(child.0.id());
    let begun = Instant::now();
    let requests = (0..200).map(|_| tokio::spawn(Request::new(address, "GET", &path).send()));
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap().status, 200);
    }
    let elapsed = begun.elapsed();
    let after = peak_memory(child.0.id());
    drop(child);
    let Some((before, after)) = before.zip(after) else {
        println!("skipped: this system does not say how much memory a process has");
        return;
    };
    println!("200 requests in {elapsed:?}: peak {} -> {} MiB", before >> 20, after >> 20);
    assert!(after - before < 256 << 20, "{} -> {} MiB", before >> 20, after >> 20);
}
