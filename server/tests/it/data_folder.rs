//! What a start does with the data folder that it finds: a lost, emptied or older database, foreign folders,
//! leftovers; and what is on the disk after an orderly end.

use std::path::{Path, PathBuf};

use server::service::Service;
use server::settings::Settings;
use spec::*;

use crate::support::{cell, eventually, fake, finished_report, open, run_of, wait_for};

fn database(data: &Path) -> PathBuf {
    data.join("backtranslate.sqlite")
}

fn remove_database(data: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(data.join(format!("backtranslate.sqlite{suffix}")));
    }
}

fn run_folders(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("runs")).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A folder with five finished runs, each with an artifact.
async fn with_six_runs(data: &Path) {
    let service = open(data, fake::obedient());
    finished_report(&service).await;
    service.shutdown();
    for run in 1..=5 {
        std::fs::write(data.join(format!("runs/{run}/adapter")), "days of work").unwrap();
    }
}

fn refused(data: &Path) -> AppError {
    let opened = Service::open_with(Settings::new(data), String::new(), |_| fake::executor(fake::obedient()));
    opened.err().expect("the start is refused")
}

async fn run_again(service: &Service, kind: CellKind) -> i64 {
    let before = run_of(service, kind).await.run;
    service
        .ask(RunCell { cell: cell(service, 1, kind).await.id, retrain: false, key: IdempotencyKey::default() })
        .await
        .unwrap();
    let run = run_of(service, kind).await.run;
    assert_ne!(run, before);
    wait_for(service, run, RunState::Done).await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_emptied_database_is_refused_and_nothing_is_deleted() {
    let data = tempfile::tempdir().unwrap();
    with_six_runs(data.path()).await;
    let whole = std::fs::read(database(data.path())).unwrap();
    remove_database(data.path());
    let error = refused(data.path());
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("6 runs") && error.hint.contains("Put the database back"), "{error:?}");
    std::fs::write(database(data.path()), "").unwrap();
    assert_eq!(refused(data.path()).code, ErrorCode::Conflict);
    assert_eq!(run_folders(data.path()), ["1", "2", "3", "4", "5", "6"]);

    remove_database(data.path());
    std::fs::write(database(data.path()), whole).unwrap();
    assert_eq!(run_of(&open(data.path(), fake::obedient()), CellKind::Report).await.state, RunState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_runs_moved_away_a_lost_database_starts_empty() {
    let data = tempfile::tempdir().unwrap();
    with_six_runs(data.path()).await;
    remove_database(data.path());
    std::fs::rename(data.path().join("runs"), data.path().join("old-runs")).unwrap();
    finished_report(&open(data.path(), fake::obedient())).await;
    assert_eq!(std::fs::read_dir(data.path().join("old-runs")).unwrap().count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_leaves_newer_runs_and_never_writes_into_their_folders() {
    let data = tempfile::tempdir().unwrap();
    with_six_runs(data.path()).await;
    let older = std::fs::read(database(data.path())).unwrap();
    let service = open(data.path(), fake::obedient());
    let newer = run_again(&service, CellKind::Report).await;
    service.shutdown();
    drop(service);
    let report = std::fs::read(data.path().join(format!("runs/{newer}/report.json"))).unwrap();

    remove_database(data.path());
    std::fs::write(database(data.path()), older).unwrap();
    let service = open(data.path(), fake::obedient());
    assert_eq!(run_folders(data.path()), ["1", "2", "3", "4", "5", "6", "7"]);
    assert!(run_again(&service, CellKind::Report).await > newer);
    assert_eq!(std::fs::read(data.path().join(format!("runs/{newer}/report.json"))).unwrap(), report);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_folders_among_the_runs_stay() {
    let data = tempfile::tempdir().unwrap();
    with_six_runs(data.path()).await;
    for foreign in ["999", "mine", "007"] {
        std::fs::create_dir(data.path().join("runs").join(foreign)).unwrap();
        std::fs::write(data.path().join("runs").join(foreign).join("notes"), "by hand").unwrap();
    }
    let service = open(data.path(), fake::obedient());
    assert_eq!(run_folders(data.path()), ["007", "1", "2", "3", "4", "5", "6", "999", "mine"]);
    assert_eq!(run_again(&service, CellKind::Data).await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_a_deleted_run_that_could_not_be_removed_is_removed_at_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    with_six_runs(data.path()).await;
    let service = open(data.path(), fake::obedient());
    service.ask(DeleteExperiment { experiment: 1 }).await.unwrap();
    assert!(run_folders(data.path()).is_empty());
    service.shutdown();
    drop(service);
    // As if removing it had failed.
    std::fs::create_dir_all(data.path().join("runs/3/checkpoints")).unwrap();
    let service = open(data.path(), fake::obedient());
    assert!(run_folders(data.path()).is_empty());
    drop(service);
    // Only once: later the number may be somebody else's.
    std::fs::create_dir_all(data.path().join("runs/3")).unwrap();
    drop(open(data.path(), fake::obedient()));
    assert_eq!(run_folders(data.path()), ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_orderly_end_a_copy_of_the_database_file_alone_is_whole() {
    let data = tempfile::tempdir().unwrap();
    with_six_runs(data.path()).await;
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(database(data.path()), database(copy.path())).unwrap();
    let service = open(copy.path(), fake::obedient());
    let notebook = service.ask(GetNotebook { experiment: 1 }).await.unwrap();
    let done = notebook.cells.iter().filter(|cell| cell.run.as_ref().is_some_and(|run| run.state == RunState::Done));
    assert_eq!(done.count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_half_written_is_swept_from_every_run() {
    let data = tempfile::tempdir().unwrap();
    with_six_runs(data.path()).await;
    let checkpoints = data.path().join("runs/3/checkpoints");
    std::fs::create_dir_all(checkpoints.join(".writing-1-0-step-00000010")).unwrap();
    std::fs::create_dir_all(checkpoints.join("step-00000005")).unwrap();
    std::fs::write(data.path().join("runs/1/.writing-1-2-train.jsonl"), "half").unwrap();
    let _service = open(data.path(), fake::obedient());
    assert!(!checkpoints.join(".writing-1-0-step-00000010").exists());
    assert!(checkpoints.join("step-00000005").exists());
    assert!(!data.path().join("runs/1/.writing-1-2-train.jsonl").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_saved_into_a_data_folder_that_was_deleted() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("data");
    let service = open(&folder, fake::obedient());
    service.ask(GetNotebook { experiment: 1 }).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let error = service
        .ask(CreateExperiment { name: "Lost".to_owned(), preset: Preset::QuickStart, key: IdempotencyKey::default() })
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Io);
    assert!(error.message.contains("moved or deleted"), "{}", error.message);
    assert_eq!(
        service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap_err().code,
        ErrorCode::Io
    );
    // Another file of that name is not the one that was opened.
    drop(open(&folder, fake::obedient()));
    assert_eq!(
        service.ask(RenameExperiment { experiment: 1, name: "Lost".to_owned() }).await.unwrap_err().code,
        ErrorCode::Io
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_shrinks_when_an_experiment_is_deleted() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let experiment = service
        .ask(CreateExperiment { name: "Long".to_owned(), preset: Preset::Empty, key: IdempotencyKey::default() })
        .await
        .unwrap();
    for position in 0..20 {
        let notebook = service.ask(AddCell { experiment, kind: CellKind::Note, position }).await.unwrap();
        let note = notebook.cells[position as usize].id;
        let changes = vec![("text".to_owned(), "long ".repeat(20_000))];
        service.ask(SaveCell { cell: note, changes, client: IdempotencyKey::default(), number: 1 }).await.unwrap();
    }
    service.ask(DeleteExperiment { experiment }).await.unwrap();
    let bytes = eventually("a small file", async || {
        std::fs::metadata(database(data.path())).ok().map(|file| file.len()).filter(|bytes| *bytes < 1 << 20)
    });
    assert!(bytes.await > 0);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_on_the_machine_can_read_a_data_folder_or_its_database() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().unwrap();
    let data = outer.path().join("some/data");
    let _service = open(&data, fake::obedient());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    // Also where the folder was there before, and may hold other things.
    assert_eq!(mode(&database(&data)), 0o600);
}
