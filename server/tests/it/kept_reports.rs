//! Reports whose cell was deleted, and links to reports whose run ended badly.

use rusqlite::Connection;
use spec::*;

use crate::support::{cell, fake, finished_report, open, run_of, wait_for};

fn token(link: &ShareLink) -> String {
    link.path.as_deref().unwrap().strip_prefix("/r/").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_report_outlives_its_cell_until_its_last_link_is_revoked() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let run = finished_report(&service).await;
    let (first, second) =
        (service.ask(ShareReport { run }).await.unwrap(), service.ask(ShareReport { run }).await.unwrap());
    let shared =
        service.ask(OpenSharedReport { token: token(&first), query: ReportQuery::default() }).await.unwrap().report;

    let notebook = service.ask(DeleteCell { cell: cell(&service, 1, CellKind::Report).await.id }).await.unwrap();
    assert!(notebook.cells.iter().all(|cell| cell.config.kind() != CellKind::Report));
    let kept = KeptReport { run, title: shared.config.title.clone(), links: 2 };
    assert_eq!(notebook.kept_reports, [kept]);
    assert!(
        service.ask(OpenExperiments {}).await.unwrap().experiments[0]
            .cells
            .iter()
            .all(|(kind, _)| *kind != CellKind::Report)
    );
    for link in [&first, &second] {
        assert_eq!(
            service.ask(OpenSharedReport { token: token(link), query: ReportQuery::default() }).await.unwrap().report,
            shared
        );
    }
    assert_eq!(
        service.ask(OpenReport { run, query: ReportQuery { page: 0, ..Default::default() } }).await.unwrap().report,
        shared
    );
    assert!(service.run_folder(run).join("report.json").exists());

    service.ask(RevokeShare { share: first.id }).await.unwrap();
    assert_eq!(
        service.ask(OpenSharedReport { token: token(&second), query: ReportQuery::default() }).await.unwrap().report,
        shared
    );
    service.shutdown();
    drop(service);
    let service = open(data.path(), fake::obedient());
    assert_eq!(
        service.ask(OpenSharedReport { token: token(&second), query: ReportQuery::default() }).await.unwrap().report,
        shared
    );
    assert_eq!(service.ask(GetNotebook { experiment: 1 }).await.unwrap().kept_reports[0].links, 1);

    service.ask(RevokeShare { share: second.id }).await.unwrap();
    assert!(service.ask(GetNotebook { experiment: 1 }).await.unwrap().kept_reports.is_empty());
    assert_eq!(
        service.ask(OpenReport { run, query: ReportQuery { page: 0, ..Default::default() } }).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    assert!(!service.run_folder(run).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_without_links_is_deleted_with_its_cell_and_a_new_cell_is_another() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let run = finished_report(&service).await;
    let link = service.ask(ShareReport { run }).await.unwrap();
    service.ask(RevokeShare { share: link.id }).await.unwrap();
    let count = service.ask(GetNotebook { experiment: 1 }).await.unwrap().cells.len();
    let notebook = service.ask(DeleteCell { cell: cell(&service, 1, CellKind::Report).await.id }).await.unwrap();
    assert!(notebook.kept_reports.is_empty());
    assert!(!service.run_folder(run).exists());
    let notebook = service.ask(AddCell { experiment: 1, kind: CellKind::Report, position: 99 }).await.unwrap();
    assert_eq!(notebook.cells.len(), count);
    assert!(notebook.cells.last().unwrap().run.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_report_is_not_replaced_under_its_links_by_a_resume() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let connection = Connection::open(data.path().join("backtranslate.sqlite")).unwrap();
    // The report is kept, and then the run's end fails.
    let fault = "CREATE TRIGGER refuse BEFORE INSERT ON events
                 WHEN json_extract(NEW.event, '$.output.type') = 'report' BEGIN SELECT RAISE(ABORT, 'deliberate'); END";
    connection.execute_batch(fault).unwrap();
    service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&service, CellKind::Report).await.run;
    wait_for(&service, run, RunState::Failed).await;
    connection.execute_batch("DROP TRIGGER refuse").unwrap();
    let link = service.ask(ShareReport { run }).await.unwrap();
    assert_eq!(
        service.ask(ResumeRun { run, key: IdempotencyKey::default() }).await.unwrap_err().code,
        ErrorCode::Conflict
    );
    assert!(service.ask(OpenSharedReport { token: token(&link), query: ReportQuery::default() }).await.is_ok());
}
