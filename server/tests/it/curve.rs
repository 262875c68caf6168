//! Loss curves that older versions stored thinned are made true again from the runs' logs.

use std::sync::Arc;

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use spec::*;

use crate::support::{Server, fake, finished_report, open, run_of};

const STEPS: u32 = 3_000;

/// Replaces the curve of a stored record by what an older version kept of so many steps.
fn make_old(database: &Connection, table: &str, column: &str, key: &str, run: i64) {
    let read = format!("SELECT {column} FROM {table} WHERE {key} = ?1");
    let text: String = database.query_row(&read, [run], |row| row.get(0)).unwrap();
    let mut record: Value = serde_json::from_str(&text).unwrap();
    let thinned: Vec<Value> =
        [2, 2_900, 3_000].into_iter().map(|step| serde_json::to_value(fake::step(step)).unwrap()).collect();
    record.as_object_mut().unwrap().remove("curve");
    record["steps"] = thinned.into_iter().map(|mut event| event["step"].take()).collect();
    database
        .execute(&format!("UPDATE {table} SET {column} = ?2 WHERE {key} = ?1"), params![run, record.to_string()])
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_and_a_report_whose_steps_were_thinned_get_their_curve_back() {
    let work: fake::Work = Arc::new(|assignment, emit| {
        if assignment.config.kind() == CellKind::Train {
            (1..=STEPS).for_each(|step| emit(fake::step(step)));
        }
        Ok(fake::finish(assignment, emit))
    });
    let server = Server::start_with(work, |_| {}).await;
    let report = finished_report(&server.service).await;
    let train = run_of(&server.service, CellKind::Train).await;
    assert_eq!(train.curve.steps(), u64::from(STEPS));
    let data = server.stop().await;

    let database = Connection::open(data.path().join("backtranslate.sqlite")).unwrap();
    make_old(&database, "runs", "view", "id", train.run);
    database.execute("UPDATE runs SET view_format = 1", []).unwrap();
    make_old(&database, "reports", "report", "run", report);
    drop(database);

    let service = open(data.path(), fake::obedient());
    let report = service
        .ask(OpenReport { run: report, query: ReportQuery { page: 0, ..Default::default() } })
        .await
        .unwrap()
        .report;
    assert_eq!(report.curve.steps(), u64::from(STEPS));
    let view = run_of(&service, CellKind::Train).await;
    assert_eq!((view.curve, view.seq), (train.curve, train.seq));
    // Folded once: it is stored with its curve now.
    let database = Connection::open(data.path().join("backtranslate.sqlite")).unwrap();
    let stored: String =
        database.query_row("SELECT view FROM runs WHERE id = ?1", [train.run], |row| row.get(0)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&stored).unwrap()["curve"]["width"], json!(8));
}
