//! Records that this version cannot read: each affects its own run only, and says so.

use std::path::Path;

use rusqlite::Connection;
use server::service::Service;
use spec::*;

use crate::support::{cell, eventually, fake, finished_report, open, run_of, wait_for, wait_until_done};

/// The runs of the quick start's cells.
const DATA: i64 = 1;
const TRAIN: i64 = 3;
const GENERATE: i64 = 4;
const REPORT: i64 = 6;

fn change(data: &Path, statements: &str) {
    let connection = Connection::open(data.join("backtranslate.sqlite")).unwrap();
    connection.execute_batch(statements).unwrap();
}

async fn finished(data: &Path) {
    let service = open(data, fake::obedient());
    assert_eq!(finished_report(&service).await, REPORT);
    service.shutdown();
}

async fn notebook(service: &Service) -> Vec<RunView> {
    service.ask(GetNotebook { experiment: 1 }).await.unwrap().cells.into_iter().filter_map(|cell| cell.run).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_run_is_shown_as_such_and_everything_else_works() {
    let changes = [
        ("config", format!("UPDATE runs SET config = '{{\"kind\":\"train\",\"rank\":\"many\"}}' WHERE id = {TRAIN}")),
        ("config", format!("UPDATE runs SET config = 'x' WHERE id = {TRAIN}")),
        ("format", format!("UPDATE runs SET format = 99 WHERE id = {TRAIN}")),
        ("inputs", format!("UPDATE runs SET inputs = '[{{}}]' WHERE id = {TRAIN}")),
        ("state", format!("UPDATE runs SET state = 'from_the_future' WHERE id = {TRAIN}")),
        (
            "event",
            format!(
                "UPDATE events SET event = '{{\"type\":\"new\"}}' WHERE run = {TRAIN} AND seq = 3; UPDATE runs SET view = NULL"
            ),
        ),
        ("event", format!("DELETE FROM events WHERE run = {TRAIN} AND seq = 2; UPDATE runs SET view = NULL")),
    ];
    for (what, statement) in changes {
        let data = tempfile::tempdir().unwrap();
        finished(data.path()).await;
        change(data.path(), &statement);
        let service = open(data.path(), fake::obedient());
        let views = notebook(&service).await;
        assert_eq!(views.len(), 6, "{statement}");
        for view in &views {
            match (view.run, &view.error) {
                (TRAIN, Some(error)) => {
                    assert_eq!(error.code, ErrorCode::Corrupt);
                    assert!(error.message.starts_with("This run's record cannot be read:"), "{}", error.message);
                    assert!(error.message.contains(what), "{what}: {}", error.message);
                }
                (run, error) => assert!(run != TRAIN && error.is_none(), "{statement}: run {run}: {error:?}"),
            }
        }
        assert_eq!(service.ask(GetRun { run: GENERATE }).await.unwrap().state, RunState::Done);
        assert!(
            service.ask(OpenReport { run: REPORT, query: ReportQuery { page: 0, ..Default::default() } }).await.is_ok()
        );
        let train = cell(&service, 1, CellKind::Train).await;
        let changes = vec![("rank".to_owned(), "8".to_owned())];
        service.ask(SaveCell { cell: train.id, changes, client: IdempotencyKey::default(), number: 1 }).await.unwrap();
        service.ask(RunCell { cell: train.id, retrain: false, key: IdempotencyKey::default() }).await.unwrap();
        eventually("trained again", async || {
            Some(run_of(&service, CellKind::Train).await).filter(|run| run.run > REPORT && run.state == RunState::Done)
        })
        .await;
        service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
        wait_until_done(&service, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_run_that_cannot_be_read_does_not_keep_the_server_from_starting() {
    for what in ["config = 'x'", "inputs = 'x'", "format = 99", "view = 'x'"] {
        let data = tempfile::tempdir().unwrap();
        finished(data.path()).await;
        change(
            data.path(),
            &format!(
                "UPDATE runs SET state = 'running', {what} WHERE id = {TRAIN}; UPDATE events SET event = 'x' WHERE run = {TRAIN}"
            ),
        );
        let service = open(data.path(), fake::obedient());
        assert_eq!(run_of(&service, CellKind::Train).await.state, RunState::Interrupted, "{what}");
        assert_eq!(run_of(&service, CellKind::Data).await.state, RunState::Done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_cannot_be_read_is_folded_again_from_its_events() {
    let data = tempfile::tempdir().unwrap();
    finished(data.path()).await;
    let before = notebook(&open(data.path(), fake::obedient())).await;
    for statement in ["UPDATE runs SET view = '{'", "UPDATE runs SET view = NULL", "UPDATE runs SET view_format = 1"] {
        change(data.path(), statement);
        assert_eq!(notebook(&open(data.path(), fake::obedient())).await, before, "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notebook_with_a_stored_loss_of_null_opens() {
    let data = tempfile::tempdir().unwrap();
    finished(data.path()).await;
    // As version 0.1.0 stored it.
    change(
        data.path(),
        &format!(
            r#"UPDATE events SET event = '{{"type":"evaluation","step":0,"loss":null,"tokens":1}}' WHERE run = {TRAIN} AND seq = 3;
               UPDATE runs SET view_format = 1, view = json_set(view, '$.evaluations', json('[{{"step":0,"loss":null}}]')) WHERE id = {TRAIN}"#
        ),
    );
    let service = open(data.path(), fake::obedient());
    assert_eq!(notebook(&service).await.len(), 6);
    assert_eq!(service.events(TRAIN, 0, 100).unwrap().len(), 5);
    service
        .ask(RunCell {
            cell: cell(&service, 1, CellKind::Train).await.id,
            retrain: false,
            key: IdempotencyKey::default(),
        })
        .await
        .unwrap();
    let run = run_of(&service, CellKind::Train).await.run;
    wait_for(&service, run, RunState::Done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_pairs_are_shown_in_place_and_keep_a_report_from_being_frozen_without_them() {
    let data = tempfile::tempdir().unwrap();
    finished(data.path()).await;
    change(data.path(), &format!("UPDATE pairs SET pair = 'x' WHERE run = {GENERATE} AND row = 2"));
    let service = open(data.path(), fake::obedient());
    let page = service.ask(ListPairs { query: PairsQuery { run: GENERATE, ..Default::default() } }).await.unwrap();
    assert_eq!(page.pairs.iter().map(|pair| pair.index).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
    assert!(page.pairs[2].response.contains("cannot be read"), "{}", page.pairs[2].response);
    service
        .ask(RunCell {
            cell: cell(&service, 1, CellKind::Report).await.id,
            retrain: false,
            key: IdempotencyKey::default(),
        })
        .await
        .unwrap();
    let run = run_of(&service, CellKind::Report).await.run;
    let error = wait_for(&service, run, RunState::Failed).await.error.unwrap();
    assert_eq!(error.code, ErrorCode::Corrupt);
    assert!(error.message.contains("row 2"), "{}", error.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_report_is_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    finished(data.path()).await;
    change(data.path(), "UPDATE reports SET report = 'x'");
    let service = open(data.path(), fake::obedient());
    let error = service
        .ask(OpenReport { run: REPORT, query: ReportQuery { page: 0, ..Default::default() } })
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Corrupt);
    assert!(error.message.contains(&format!("report of run {REPORT}")), "{}", error.message);
    assert_eq!(notebook(&service).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_read_have_their_defaults_and_the_others_stay() {
    let data = tempfile::tempdir().unwrap();
    finished(data.path()).await;
    change(
        data.path(),
        "UPDATE cells SET config = json_set(config, '$.rank', 8, '$.lr_scheduler', 'polynomial') WHERE kind = 'train'",
    );
    change(data.path(), "UPDATE cells SET kind = 'merge' WHERE kind = 'note'");
    let service = open(data.path(), fake::obedient());
    let CellConfig::Train(config) = cell(&service, 1, CellKind::Train).await.config else { unreachable!() };
    assert_eq!((config.rank, config.lr_scheduler), (8, Schedule::Linear));
    assert!(!cell(&service, 1, CellKind::Train).await.stale.is_empty());
    let CellConfig::Note(note) = cell(&service, 1, CellKind::Note).await.config else { unreachable!() };
    assert!(note.text.contains("cannot be read"), "{}", note.text);
    assert_eq!(run_of(&service, CellKind::Data).await.run, DATA);
}
