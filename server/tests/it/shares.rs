//! Share links: each opens its report and nothing else; whatever does not open one looks the same.

use spec::*;

use crate::support::{Server, finished_report};

async fn shared(server: &Server) -> (i64, ShareLink, String) {
    let run = finished_report(&server.service).await;
    let link = server.service.ask(ShareReport { run }).await.unwrap();
    let token = link.path.as_deref().unwrap().strip_prefix("/r/").unwrap().to_owned();
    (run, link, token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_link_opens_its_report_without_a_cookie_and_nothing_else() {
    let server = Server::start().await;
    let (run, _, token) = shared(&server).await;
    let page = server.get(&format!("/r/{token}")).send().await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("Instruction backtranslation") || page.body.contains("Quick start"), "{}", page.body);
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    let body = format!(r#"{{"token":"{token}","query":{{"page":1}}}}"#);
    assert_eq!(server.post(&format!("/api/{}", OpenSharedReport::NAME), &body).send().await.status, 200);

    for path in ["/".to_owned(), "/experiments/1".to_owned(), format!("/reports/{run}"), format!("/?token={token}")] {
        assert_eq!(server.get(&path).send().await.status, 401, "{path}");
    }
    let as_cookie = format!("backtranslate_{}={token}", server.address.port());
    assert_eq!(server.get("/").header("Cookie", &as_cookie).send().await.status, 401);
    let own = server
        .post(&format!("/api/{}", OpenReport::NAME), &format!(r#"{{"run":{run},"query":{{"page":1}}}}"#))
        .header("Cookie", &as_cookie)
        .send()
        .await;
    assert_eq!(own.status, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn unknown_malformed_and_revoked_links_look_the_same() {
    let server = Server::start().await;
    let (run, link, token) = shared(&server).await;
    let other = server.service.ask(ShareReport { run }).await.unwrap().path.unwrap();
    server.service.ask(RevokeShare { share: link.id }).await.unwrap();
    let revoked = server.get(&format!("/r/{token}")).send().await;
    assert_eq!(revoked.status, 404);
    let unknown = "0".repeat(64);
    for wrong in [unknown.as_str(), "x", "", "a/b", "%2e%2e", &token.to_uppercase(), &token[1..], &format!("{token}0")]
    {
        let answer = server.get(&format!("/r/{wrong}")).send().await;
        assert_eq!((answer.status, &answer.body, &answer.header("set-cookie")), (404, &revoked.body, &None), "{wrong}");
    }
    // The other link to the same report still opens.
    assert_eq!(server.get(&other).send().await.status, 200);
    let listed = server.service.ask(ListShares { run }).await.unwrap();
    assert_eq!(listed.iter().map(|share| share.revoked).collect::<Vec<_>>(), [false, true]);
    assert!(listed.iter().all(|share| share.path.is_none()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_mutant_of_a_token_opens_anything_and_only_a_hash_is_kept() {
    let server = Server::start().await;
    let (_, _, token) = shared(&server).await;
    for place in 0..token.len() {
        let other = if &token[place..=place] == "0" { "1" } else { "0" };
        let mutant = format!("{}{other}{}", &token[..place], &token[place + 1..]);
        assert_eq!(
            server
                .service
                .ask(OpenSharedReport { token: mutant, query: ReportQuery::default() })
                .await
                .unwrap_err()
                .code,
            ErrorCode::NotFound
        );
    }
    for entry in std::fs::read_dir(server.data.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        let holds = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!holds, "{} holds the token", entry.path().display());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wrong_links_do_not_lock_out_those_who_have_the_right_one() {
    let server = Server::start().await;
    let (_, _, token) = shared(&server).await;
    for guess in 0..100 {
        assert_eq!(server.get(&format!("/r/{guess:064}")).send().await.status, 404);
    }
    assert_eq!(server.get(&format!("/r/{token}")).send().await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_guest_gets_a_report_by_page_and_never_whole() {
    let server = Server::start().await;
    let (run, _, token) = shared(&server).await;
    let path = format!("/api/{}", OpenSharedReport::NAME);
    for body in [format!(r#"{{"token":"{token}","query":{{"page":0}}}}"#)] {
        let refused = server.post(&path, &body).send().await;
        assert_eq!((refused.status, refused.code()), (422, "invalid_setting".to_owned()));
    }
    let page = server.get(&format!("/r/{token}?page=all")).send().await;
    assert_eq!(page.status, 422);
    let beyond = server
        .service
        .ask(OpenSharedReport { token, query: ReportQuery { page: 2, ..Default::default() } })
        .await
        .unwrap();
    assert_eq!((beyond.report.pairs.len(), beyond.pairs, beyond.offset), (0, 7, 100));
    let whole =
        server.service.ask(OpenReport { run, query: ReportQuery { page: 0, ..Default::default() } }).await.unwrap();
    assert_eq!(whole.report.pairs.iter().map(|pair| pair.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_report_stays_as_it_was_when_the_notebook_changes() {
    let server = Server::start().await;
    let (run, _, token) = shared(&server).await;
    let before =
        server.service.ask(OpenSharedReport { token: token.clone(), query: ReportQuery::default() }).await.unwrap();
    assert_eq!(before.report.pairs.len(), 7);
    server.service.ask(RenameExperiment { experiment: 1, name: "Another name".to_owned() }).await.unwrap();
    assert_eq!(
        server.service.ask(OpenSharedReport { token: token.clone(), query: ReportQuery::default() }).await.unwrap(),
        before
    );
    assert_eq!(
        server.service.ask(OpenReport { run, query: ReportQuery { page: 0, ..Default::default() } }).await.unwrap(),
        ReportPage { experiment: Some(1), ..before }
    );
    server.service.ask(DeleteExperiment { experiment: 1 }).await.unwrap();
    assert_eq!(
        server.service.ask(OpenSharedReport { token, query: ReportQuery::default() }).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    server.stop().await;
}
