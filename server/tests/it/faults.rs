//! A database that refuses to be written to, as on a full disk: what was shown stays true, the reason is told, and
//! everything continues when writing works again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use server::service::{Notice, Service};
use spec::*;

use crate::support::{cell, eventually, fake, open, run_of, wait_for, wait_until_done};

fn connect(data: &Path) -> Connection {
    let connection = Connection::open(data.join("backtranslate.sqlite")).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection
}

/// From now on this kind of write fails.
fn refuse(data: &Path, what: &str) {
    let trigger = format!("CREATE TRIGGER refuse BEFORE {what} BEGIN SELECT RAISE(ABORT, 'deliberate'); END");
    connect(data).execute_batch(&trigger).unwrap();
}

fn allow(data: &Path) {
    connect(data).execute_batch("DROP TRIGGER refuse").unwrap();
}

fn stored_state(data: &Path, run: i64) -> String {
    connect(data).query_row("SELECT state FROM runs WHERE id = ?1", [run], |row| row.get(0)).unwrap()
}

fn numbers(service: &Service, run: i64) -> Vec<u64> {
    service.events(run, 0, 1_000).unwrap().iter().map(|event| event.seq).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_end_cannot_be_stored_has_failed_with_a_reason_and_can_be_resumed_later() {
    let data = tempfile::tempdir().unwrap();
    let gate = fake::Gate::default();
    let service = open(data.path(), fake::gated(CellKind::Train, &gate));
    let mut notices = service.subscribe();
    service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&service, CellKind::Train).await.run;
    wait_for(&service, run, RunState::Running).await;
    refuse(data.path(), "INSERT ON events");
    gate.open();

    let view = wait_for(&service, run, RunState::Failed).await;
    assert!(view.error.clone().unwrap().message.contains("deliberate"), "{:?}", view.error);
    assert_eq!(run_of(&service, CellKind::Train).await, view);
    let told = async {
        loop {
            if let Ok(Notice::Event(event)) = notices.recv().await
                && event.run == run
                && matches!(event.event, RunEvent::State { state: RunState::Failed, .. })
            {
                return event.seq;
            }
        }
    };
    let seq = tokio::time::timeout(Duration::from_secs(10), told).await.expect("viewers are told");
    assert_eq!((service.last_seq(run).unwrap(), numbers(&service, run).last().copied()), (seq, Some(seq)));
    let report = run_of(&service, CellKind::Report).await.run;
    wait_for(&service, report, RunState::Failed).await;
    assert_eq!(stored_state(data.path(), run), "running");
    let listed = service.ask(OpenExperiments {}).await.unwrap().experiments[0].cells.clone();
    assert!(listed.contains(&(CellKind::Train, Some(RunState::Failed))), "{listed:?}");

    // Commands treat it as failed, and say why they cannot do more.
    assert_eq!(service.ask(StopRun { run, mode: StopMode::Save }).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(service.ask(ResumeRun { run, key: IdempotencyKey::default() }).await.unwrap_err().code, ErrorCode::Io);
    assert_eq!(service.view(run).unwrap().state, RunState::Failed);

    allow(data.path());
    service.ask(ResumeRun { run, key: IdempotencyKey::default() }).await.unwrap();
    wait_for(&service, run, RunState::Done).await;
    let numbers = numbers(&service, run);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    wait_until_done(&service, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_run_is_stored_without_a_command_once_writing_works() {
    let data = tempfile::tempdir().unwrap();
    let gate = fake::Gate::default();
    let service = open(data.path(), fake::gated(CellKind::Data, &gate));
    service
        .ask(RunCell {
            cell: cell(&service, 1, CellKind::Data).await.id,
            retrain: false,
            key: IdempotencyKey::default(),
        })
        .await
        .unwrap();
    let run = run_of(&service, CellKind::Data).await.run;
    wait_for(&service, run, RunState::Running).await;
    refuse(data.path(), "INSERT ON events");
    gate.open();
    wait_for(&service, run, RunState::Failed).await;
    allow(data.path());
    eventually("the end in the database", async || (stored_state(data.path(), run) == "failed").then_some(())).await;
    assert_eq!(run_of(&service, CellKind::Data).await.state, RunState::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_run_is_stopped_also_when_that_cannot_be_stored() {
    let data = tempfile::tempdir().unwrap();
    let gate = fake::Gate::default();
    let service = open(data.path(), fake::gated(CellKind::Data, &gate));
    service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let first = run_of(&service, CellKind::Data).await.run;
    wait_for(&service, first, RunState::Running).await;
    let waiting = run_of(&service, CellKind::Report).await.run;
    refuse(data.path(), "INSERT ON events");
    service.ask(StopRun { run: waiting, mode: StopMode::Save }).await.unwrap();
    assert_eq!(run_of(&service, CellKind::Report).await.state, RunState::Stopped);
    allow(data.path());
    gate.open();
    let generate = run_of(&service, CellKind::Generate).await.run;
    wait_for(&service, generate, RunState::Done).await;
    service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    wait_until_done(&service, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_on_a_database_that_it_cannot_write_to_and_marks_what_was_cut_off() {
    let data = tempfile::tempdir().unwrap();
    let work: fake::Work = Arc::new(|context, emit| {
        if context.config.kind() == CellKind::Train {
            emit(RunEvent::Checkpoint { step: 10, name: "step-00000010".to_owned() });
            loop {
                std::thread::park();
            }
        }
        Ok(fake::finish(context, emit))
    });
    let killed = open(data.path(), work);
    killed.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&killed, CellKind::Train).await.run;
    // Without a checkpoint there would be nothing to resume.
    eventually("a checkpoint", async || {
        killed.ask(GetRun { run }).await.ok().filter(|view| !view.checkpoints.is_empty())
    })
    .await;
    drop(killed);

    refuse(data.path(), "INSERT ON events");
    for _ in 0..2 {
        let service = open(data.path(), fake::obedient());
        let view = run_of(&service, CellKind::Train).await;
        assert_eq!((view.state, view.error.unwrap().code), (RunState::Interrupted, ErrorCode::Interrupted));
        assert_eq!(run_of(&service, CellKind::Report).await.state, RunState::Interrupted);
        assert_eq!(
            service.ask(ResumeRun { run, key: IdempotencyKey::default() }).await.unwrap_err().code,
            ErrorCode::Io
        );
    }
    allow(data.path());
    let service = open(data.path(), fake::obedient());
    service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    wait_until_done(&service, 1).await;
    assert_eq!(run_of(&service, CellKind::Train).await.run, run);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_queued_whole_or_not_at_all() {
    let data = tempfile::tempdir().unwrap();
    let gate = fake::Gate::default();
    let gated = fake::gated(CellKind::Train, &gate);
    let work: fake::Work = Arc::new(move |context, emit| {
        if context.config.kind() == CellKind::Train {
            emit(RunEvent::Checkpoint { step: 10, name: "step-00000010".to_owned() });
        }
        gated(context, emit)
    });
    let service = open(data.path(), work);
    service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&service, CellKind::Train).await.run;
    wait_for(&service, run, RunState::Running).await;
    service.ask(StopRun { run, mode: StopMode::Save }).await.unwrap();
    let report = run_of(&service, CellKind::Report).await.run;
    wait_for(&service, report, RunState::Stopped).await;

    // The training would go on, and a new generation follow it.
    refuse(data.path(), "INSERT ON runs");
    assert_eq!(
        service.ask(RunAll { experiment: 1, key: "k".to_owned().try_into().unwrap() }).await.unwrap_err().code,
        ErrorCode::Io
    );
    assert_eq!(run_of(&service, CellKind::Train).await.state, RunState::Stopped);
    assert_eq!(stored_state(data.path(), run), "stopped");
    allow(data.path());
    gate.open();
    service.ask(RunAll { experiment: 1, key: "k".to_owned().try_into().unwrap() }).await.unwrap();
    wait_until_done(&service, 1).await;
    assert_eq!(run_of(&service, CellKind::Train).await.run, run);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_not_finite_fails_its_run_and_nothing_else() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let data = tempfile::tempdir().unwrap();
        let work: fake::Work = Arc::new(move |context, emit| {
            if context.config.kind() == CellKind::Train {
                emit(RunEvent::Evaluation { step: 0, loss: bad, tokens: 10 });
            }
            Ok(fake::finish(context, emit))
        });
        let service = open(data.path(), work);
        service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
        let run = run_of(&service, CellKind::Train).await.run;
        let error = wait_for(&service, run, RunState::Failed).await.error.unwrap();
        assert_eq!(error.code, ErrorCode::NonFinite);
        assert!(error.message.contains("evaluation after step 0"), "{}", error.message);
        let train = cell(&service, 1, CellKind::Train).await;
        let changes = vec![("rank".to_owned(), "3".to_owned())];
        service.ask(SaveCell { cell: train.id, changes, client: IdempotencyKey::default(), number: 1 }).await.unwrap();
        service.shutdown();
        drop(service);
        let service = open(data.path(), fake::obedient());
        service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
        wait_until_done(&service, 1).await;
    }
}
