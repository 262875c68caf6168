//! A report as a person reads it: filters and rows by address, what a pasted link shows, and the downloads.

use std::process::Command;

use serde_json::{Value, json};
use server::work::Ended;
use server::work::report::report_sha256;
use spec::*;

use crate::support::{Server, fake, finished_report};

/// Reports as the engine writes them: with their own hash.
fn hashed() -> fake::Work {
    with_report(|_| {})
}

fn with_report(change: fn(&mut Value)) -> fake::Work {
    std::sync::Arc::new(move |assignment, emit| {
        let ended = fake::finish(assignment, emit);
        if assignment.config.kind() == CellKind::Report {
            let path = assignment.folder.join("report.json");
            let mut report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            change(&mut report);
            report["provenance"]["report_sha256"] = json!(report_sha256(report.clone()));
            std::fs::write(&path, serde_json::to_vec_pretty(&report).unwrap()).unwrap();
        }
        Ok::<Ended, AppError>(ended)
    })
}

async fn shared(server: &Server) -> (i64, String, String) {
    let run = finished_report(&server.service).await;
    let link = server.service.ask(ShareReport { run }).await.unwrap().path.unwrap();
    (run, link, server.cookie().await)
}

fn rows(html: &str) -> Vec<&str> {
    html.split("<li id=\"row-").skip(1).map(|row| row.split('"').next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn filters_sorting_and_search_are_in_the_address_and_need_no_script() {
    let server = Server::start().await;
    let (run, link, cookie) = shared(&server).await;
    for address in [format!("/reports/{run}"), link] {
        let open =
            async |query: &str| server.get(&format!("{address}{query}")).header("Cookie", &cookie).send().await.body;
        assert_eq!(rows(&open("").await), ["1", "2", "3", "4", "5", "6", "7"]);
        let loops = open("?tag=echo&decision=&text=&sort=length_ascending").await;
        assert_eq!(rows(&loops), ["6", "4", "2"], "as the form sends it");
        assert!(loops.contains("3 of 7 pairs match"), "{loops}");
        assert_eq!(rows(&open("?text=%C3%A4RGER&sort=rouge_descending").await), ["3", "2", "1", "4", "5", "6", "7"]);
        assert_eq!(rows(&open("?text=number+5+about").await), ["6"], "a form writes spaces as +");
        assert_eq!(rows(&open("?tag=loop").await), Vec::<&str>::new());
        assert_eq!(rows(&open("?tag=blue&sort=up&page=x&row=y").await).len(), 7, "what is not understood asks for all");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_permalink_opens_its_row_on_whichever_page_it_is() {
    let server = Server::start().await;
    let (run, _, cookie) = shared(&server).await;
    let page = server.get(&format!("/reports/{run}?row=5")).header("Cookie", &cookie).send().await.body;
    let part = page.split("<li id=\"row-5\"").nth(1).unwrap().split("</li>").next().unwrap();
    assert!(
        part.contains(" class=\"shown\">") && part.contains("<details open>") && part.contains("href=\"?row=5#row-5\""),
        "{part}"
    );
    let none = server.get(&format!("/reports/{run}?row=99")).header("Cookie", &cookie).send().await.body;
    assert!(none.contains("Row 99 has no pair in this report."), "{none}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pasted_link_shows_title_and_verdict_and_search_engines_nothing() {
    const TITLE: &str = "Why \"tea\" & <b>milk</b>";
    let work = with_report(|report| {
        report["config"]["title"] = json!(TITLE);
        report["config"]["summary"] = json!("About \"><script>alert(1)</script> tea.");
        report["scores"]["pairs"] = json!(7);
        report["scores"]["without_tags"] = json!(4);
    });
    let server = Server::start_with(work, |_| {}).await;
    let (_, link, _) = shared(&server).await;
    let page = server.get(&link).send().await.body;
    let head = page.split("</head>").next().unwrap();
    let content = |name: &str| {
        let tag = head
            .split("<meta")
            .find(|tag| tag.contains(&format!("\"{name}\"")))
            .unwrap_or_else(|| panic!("{name}: {head}"));
        tag.split("content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    assert_eq!(content("og:title"), "Why &quot;tea&quot; &amp; &lt;b&gt;milk&lt;/b&gt;");
    assert_eq!((content("og:type"), content("robots")), ("article".to_owned(), "noindex".to_owned()));
    let description = content("description");
    assert_eq!(content("og:description"), description);
    assert!(
        description.contains("Nobody has decided on these pairs. 4 of 7 pairs have no failure tag."),
        "{description}"
    );
    assert!(!page.contains("<script>alert") && !page.contains("<b>milk"), "{page}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_downloaded_json_is_what_was_frozen_and_its_hash_can_be_checked() {
    let server = Server::start_with(hashed(), |_| {}).await;
    let (run, link, cookie) = shared(&server).await;
    let own = server.get(&format!("/reports/{run}/report.json")).header("Cookie", &cookie).send().await;
    assert_eq!((own.status, own.header("content-type")), (200, Some("application/json")));
    assert_eq!(own.header("content-disposition"), Some(format!("attachment; filename=\"report-{run}.json\"").as_str()));
    let stored = std::fs::read_to_string(server.service.run_folder(run).join("report.json")).unwrap();
    assert_eq!(own.body, stored);
    let guest = server.get(&format!("{link}/report.json")).send().await;
    assert_eq!((guest.status, &guest.body), (200, &stored));
    assert_eq!(guest.header("content-disposition"), Some("attachment; filename=\"report.json\""));
    let report: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(report["provenance"]["report_sha256"], report_sha256(report.clone()));
    assert_eq!(report["pairs"].as_array().unwrap().len(), 7);

    let verify = |text: &str| {
        let file = server.data.path().join("downloaded.json");
        std::fs::write(&file, text).unwrap();
        Command::new(env!("CARGO_BIN_EXE_backtranslate")).arg("report").arg("--verify").arg(file).output().unwrap()
    };
    assert!(verify(&stored).status.success());
    let changed = verify(&stored.replace("Write text 3", "Write text 4"));
    let said = String::from_utf8_lossy(&changed.stderr);
    assert!(!changed.status.success() && said.contains("it states"), "{said}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn downloads_are_for_the_owner_and_whoever_has_the_link() {
    let server = Server::start_with(hashed(), |_| {}).await;
    let (run, link, cookie) = shared(&server).await;
    let unknown = server.get(&format!("/r/{}", "0".repeat(64))).send().await;
    for file in ["report.json", "offline.html"] {
        assert_eq!(server.get(&format!("/reports/{run}/{file}")).send().await.status, 401, "{file}");
        let other = server.get(&format!("/reports/99/{file}")).header("Cookie", &cookie).send().await;
        assert_eq!((other.status, other.code()), (404, "not_found".to_owned()), "{file}");
        assert_eq!(server.get(&format!("{link}/{file}")).send().await.status, 200, "{file}");
        for wrong in [
            format!("/r/{}/{file}", "0".repeat(64)),
            format!("/r/{file}"),
            format!("{link}/x/{file}"),
            format!("{link}/x"),
        ] {
            let answer = server.get(&wrong).send().await;
            assert_eq!((answer.status, &answer.body), (404, &unknown.body), "{wrong}");
        }
    }
    let share = server.service.ask(ListShares { run }).await.unwrap()[0].id;
    server.service.ask(RevokeShare { share }).await.unwrap();
    for file in ["report.json", "offline.html"] {
        assert_eq!(server.get(&format!("{link}/{file}")).send().await.status, 404, "{file}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_offline_file_holds_every_pair_and_loads_nothing() {
    let work = with_report(|report| {
        for pair in report["pairs"].as_array_mut().unwrap() {
            pair["response"] = json!("</script></style><img src=x onerror=alert(1)>");
        }
    });
    let server = Server::start_with(work, |_| {}).await;
    let (run, link, cookie) = shared(&server).await;
    let file = server.get(&format!("/reports/{run}/offline.html")).header("Cookie", &cookie).send().await;
    assert_eq!(
        file.header("content-disposition"),
        Some(format!("attachment; filename=\"report-{run}.html\"").as_str())
    );
    assert_eq!(
        server.get(&format!("{link}/offline.html")).send().await.body,
        file.body,
        "the same for whoever has the link"
    );
    let html = &file.body;
    assert_eq!(rows(html), ["1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(
        (html.matches("<script").count(), html.matches("</script").count(), html.matches("</style").count()),
        (1, 1, 1)
    );
    for part in ["<img", "<link", "<iframe", "url(", "/pkg/"] {
        assert!(!html.contains(part), "{part}");
    }
    let policy =
        html.split("http-equiv=\"Content-Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-"), "{policy}");

    // The command line makes the same file while the server runs.
    let made = server.data.path().join("made.html");
    let run_it = |run: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backtranslate"));
        command
            .args(["--json", "report", run, "--html"])
            .arg(&made)
            .arg("--data")
            .arg(server.data.path())
            .output()
            .unwrap()
    };
    let output = run_it(&run.to_string());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["run"], &answer["pairs"]), (&json!(run), &json!(7)));
    assert_eq!(&std::fs::read_to_string(&made).unwrap(), html);
    let none = run_it("99");
    let answer: Value = serde_json::from_slice(&none.stdout).unwrap();
    assert!(!none.status.success() && answer["error"]["code"] == "not_found", "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn examples_are_three_pairs_and_an_old_report_gets_its_interval() {
    let work = with_report(|report| {
        report["scores"]["rouge_l"] = json!(0.1);
        report["scores"]["with_reference"] = json!(3);
    });
    let server = Server::start_with(work, |_| {}).await;
    let run = finished_report(&server.service).await;
    let shown = server.service.ask(OpenReport { run, query: ReportQuery::default() }).await.unwrap();
    let row = |pair: &Option<GeneratedPair>| pair.as_ref().unwrap().index;
    // Pairs 0 to 2 have references, with ROUGE-L 0, 0.1 and 0.2; pair 1 is tagged.
    let Examples { by_rouge, best, median, worst } = &shown.examples;
    assert_eq!((*by_rouge, row(best), row(median), row(worst)), (true, 2, 1, 0));
    let interval = shown.report.scores.rouge_l_interval.unwrap();
    let half = 1.96 * 0.1 / 3_f64.sqrt();
    assert!(interval.low == 0.0 && (interval.high - 0.1 - half).abs() < 1e-12, "{interval:?}");
    server.stop().await;
}
