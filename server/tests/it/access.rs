//! Who is let in: cookie, host, origin, sizes, and the headers of every answer.

use server::http::{HttpOptions, HttpServer};
use spec::{Command, CreateExperiment, ListFiles, OpenExperiments, OpenSharedReport, RenameExperiment, Request};

use crate::support::{Server, fake, open};

const PAGES: [&str; 5] = ["/", "/experiments/1", "/reports/1", "/nothing-here", "/api"];

fn path<R: Request>() -> String {
    format!("/api/{}", R::NAME)
}

/// Every command, uploads, and an address that is none of them.
fn commands() -> Vec<String> {
    let mut paths: Vec<String> = Command::NAMES.iter().map(|name| format!("/api/{name}")).collect();
    assert!(paths.len() > 15, "{paths:?}");
    paths.push("/upload".to_owned());
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_cookie_everything_is_refused_but_a_short_list() {
    let server = Server::start().await;
    for path in PAGES.into_iter().chain(["/ws"]) {
        let origin = format!("http://{}", server.address);
        let answer = server.get(path).header("Accept", "text/html").header("Origin", &origin).send().await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(!answer.body.contains("Quick start"), "{path}");
    }
    let open = path::<OpenSharedReport>();
    for path in commands().into_iter().chain(["/api/unknown".to_owned()]).filter(|path| *path != open) {
        let answer = server.post(&path, "{}").send().await;
        assert_eq!((answer.status, answer.code()), (401, "unauthorised".to_owned()), "{path}");
    }
    for path in ["/healthz", "/pkg/backtranslate.js", "/favicon.svg"] {
        assert_eq!(server.get(path).send().await.status, 200, "{path}");
    }
    assert_eq!(server.get("/r/unknown").send().await.status, 404);
    let shared = server.post(&open, r#"{"token":"unknown","query":{"page":1}}"#).send().await;
    assert_eq!(shared.code(), "not_found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_page_for_strangers_says_how_to_get_in() {
    let server = Server::start().await;
    let answer = server.get("/").header("Accept", "text/html,*/*").send().await;
    assert!(answer.header("content-type").unwrap().starts_with("text/html"));
    assert!(answer.body.contains("?token="), "{}", answer.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_token_is_traded_for_a_cookie_and_leaves_the_address() {
    let server = Server::start().await;
    let answer = server.get(&format!("/?token={}", server.token)).send().await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    assert!(!cookie.contains(&server.token), "the cookie gives the token away");

    for wrong in ["", "0", &server.token[1..], &server.token.to_uppercase()] {
        let answer = server.get(&format!("/?token={wrong}")).send().await;
        assert_eq!((answer.status, answer.header("set-cookie")), (401, None), "{wrong}");
    }
    let page = server.get("/").header("Cookie", &server.cookie().await).send().await;
    assert_eq!(page.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_forged_host_gets_nothing() {
    let server = Server::start().await;
    let cookie = server.cookie().await;
    for host in ["evil.example", "127.0.0.1.evil.example", ""] {
        for path in PAGES.into_iter().chain(["/healthz", "/ws", "/pkg/backtranslate.js"]) {
            let answer = server.get(path).header("Host", host).header("Cookie", &cookie).send().await;
            assert_eq!(answer.status, 403, "{host} {path}");
        }
        let origin = format!("http://{host}");
        for path in commands() {
            let answer =
                server.post(&path, "{}").replace("Origin", &origin).header("Host", host).header("Cookie", &cookie);
            assert_eq!(answer.send().await.status, 403, "{host} {path}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mutation_from_elsewhere_has_no_effect() {
    let server = Server::start().await;
    let cookie = server.cookie().await;
    for origin in ["null", "http://evil.example", "http://127.0.0.1:1", "https://"] {
        for path in commands() {
            let answer = server.post(&path, "{}").replace("Origin", origin).header("Cookie", &cookie).send().await;
            assert_eq!(answer.status, 403, "{origin} {path}");
        }
    }
    let create = |name: &str| {
        server.post(&path::<CreateExperiment>(), &format!(r#"{{"name":"{name}","preset":"empty","key":""}}"#))
    };
    let absent = create("absent").without("Origin").header("Cookie", &cookie).send().await;
    assert_eq!(absent.status, 403);
    assert_eq!(server.service.ask(OpenExperiments {}).await.unwrap().experiments.len(), 1);

    let own = create("own").header("Cookie", &cookie).send().await;
    assert_eq!(own.status, 200, "{}", own.body);
    assert_eq!(server.service.ask(OpenExperiments {}).await.unwrap().experiments.len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_mutation_answers_to_get() {
    let server = Server::start().await;
    let cookie = server.cookie().await;
    for path in commands() {
        let answer = server.get(&path).header("Cookie", &cookie).send().await;
        assert_eq!(answer.status, 405, "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pages_run_only_their_own_scripts() {
    let server = Server::start().await;
    let cookie = server.cookie().await;
    let mut nonces = Vec::new();
    for path in ["/", "/experiments/1", "/nothing-here"] {
        let page = server.get(path).header("Cookie", &cookie).send().await;
        let policy = page.header("content-security-policy").unwrap().to_owned();
        assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"), "{policy}");
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        for script in page.body.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap();
            assert!(tag.contains(&format!("nonce=\"{nonce}\"")), "{path}: <script{tag}>");
        }
        assert!(!page.body.contains(" style=\""), "{path}: inline styles are refused by the policy");
        nonces.push(nonce);
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 3);
    assert_eq!(server.get("/nothing-here").header("Cookie", &cookie).send().await.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_carries_the_careful_headers() {
    let server = Server::start().await;
    let cookie = server.cookie().await;
    for path in ["/", "/healthz", "/pkg/backtranslate.js", "/r/unknown", "/nothing-here"] {
        for request in [
            server.get(path),
            server.get(path).header("Cookie", &cookie),
            server.get(path).header("Host", "evil.example"),
        ] {
            let answer = request.send().await;
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
            assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{path}");
            assert!(answer.header("cache-control").is_some(), "{path}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_body_that_is_too_large_is_refused_with_413() {
    let server = Server::start().await;
    let cookie = server.cookie().await;
    let declared = server
        .post(&path::<RenameExperiment>(), "")
        .header("Cookie", &cookie)
        .header("Content-Length", "1000000000000");
    let declared = declared.send().await;
    assert_eq!((declared.status, declared.code()), (413, "too_large".to_owned()));

    let portion = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(20);
    let chunked = server
        .post(&path::<RenameExperiment>(), &portion)
        .header("Cookie", &cookie)
        .header("Transfer-Encoding", "chunked");
    assert_eq!(chunked.send().await.status, 413);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_path_reads_a_file_outside_the_site() {
    let server = Server::start().await;
    let cookie = server.cookie().await;
    let climbs = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..\\", "..%5c", "....//", ".%00./", "%252e%252e%252f"];
    for climb in climbs {
        for depth in 1..4 {
            for start in ["/", "/pkg/", "/r/", "/pkg/backtranslate.js/"] {
                for target in ["token", "backtranslate.sqlite", "etc/passwd"] {
                    let path = format!("{start}{}{target}", climb.repeat(depth));
                    for request in [server.get(&path), server.get(&path).header("Cookie", &cookie)] {
                        let answer = request.send().await;
                        let leaked = answer.body.contains(&server.token)
                            || answer.body.contains("root:")
                            || answer.body.contains("SQLite");
                        assert!(!leaked && answer.status != 200, "{path}: {}", answer.status);
                    }
                }
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_token_only_loopback_may_be_served() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let mut options = HttpOptions::new("0.0.0.0:0".parse().unwrap(), data.path());
    options.no_auth = true;
    assert_eq!(HttpServer::bind(service, &options).await.err().unwrap().code, spec::ErrorCode::InvalidSetting);

    let server = Server::start_with(fake::obedient(), |options| options.no_auth = true).await;
    assert_eq!(server.get("/").send().await.status, 200);
    assert_eq!(server.get("/").header("Host", "evil.example").send().await.status, 403);
    assert_eq!(
        server.post(&path::<ListFiles>(), "{}").replace("Origin", "http://evil.example").send().await.status,
        403
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refused_command_has_the_status_of_its_reason() {
    let server = Server::start().await;
    let cookie = server.cookie().await;
    for (name, body, status, code) in [
        ("get_notebook", r#"{"experiment":99}"#, 404, "not_found"),
        ("nothing", "{}", 404, "not_found"),
        ("rename_experiment", r#"{"experiment":1,"name":""}"#, 422, "invalid_setting"),
        ("rename_experiment", r#"{"experiment":1,"name":"x","colour":"red"}"#, 422, "invalid_setting"),
        ("rename_experiment", r#"{"experiment":1,"name":"x"} x"#, 422, "invalid_setting"),
        ("rename_experiment", "{", 422, "invalid_setting"),
        ("rename_experiment", "", 422, "invalid_setting"),
        ("stop_run", r#"{"run":1,"mode":"now"}"#, 422, "invalid_setting"),
    ] {
        let answer = server.post(&format!("/api/{name}"), body).header("Cookie", &cookie).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name} {body}");
    }
    let long = format!(r#"{{"experiment":1,"key":"{}"}}"#, "k".repeat(900_000));
    let answer = server.post("/api/run_all", &long).header("Cookie", &cookie).send().await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("limit is 64"), "{}", answer.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_that_no_file_can_have_is_not_found() {
    let server = Server::start().await;
    let cookie = server.cookie().await;
    for length in [255, 256, 1_000, 5_000] {
        let answer = server.get(&format!("/{}", "a".repeat(length))).header("Cookie", &cookie).send().await;
        assert_eq!(answer.status, 404, "{length}");
        assert!(answer.body.contains("<html"), "{length}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_proxy_may_change_the_host_of_a_page_whose_address_was_allowed() {
    let server = Server::start_with(fake::obedient(), |options| {
        options.allowed_hosts = vec!["lab.example.org".to_owned()];
    })
    .await;
    let cookie = server.cookie().await;
    for (origin, status) in
        [("https://lab.example.org", 200), ("https://lab.example.org:8443", 403), ("https://other.example.org", 403)]
    {
        let list = server.post(&path::<ListFiles>(), "{}").replace("Origin", origin).header("Cookie", &cookie);
        assert_eq!(list.send().await.status, status, "{origin}");
    }
    server.stop().await;
}
