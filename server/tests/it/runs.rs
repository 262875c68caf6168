//! Runs from request to end: order, states, stops, faults, restarts, idempotency, the queue's limit.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use server::service::Service;
use server::settings::Settings;
use server::work::Ended;
use spec::*;

use crate::support::{cell, eventually, fake, finished_report, open, run_of, wait_for, wait_until_done};

fn key(text: &str) -> IdempotencyKey {
    text.to_owned().try_into().unwrap()
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// Sends these settings as one save of one client.
async fn save(
    service: &Service,
    cell: i64,
    client: &str,
    number: u64,
    changes: &[(&str, &str)],
) -> Result<SavedCell, AppError> {
    let changes = changes.iter().map(|(setting, value)| (text(setting), text(value))).collect();
    service.ask(SaveCell { cell, changes, client: key(client), number }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_data_folder_holds_the_quick_start_once() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let experiments = service.ask(OpenExperiments {}).await.unwrap().experiments;
    assert_eq!(experiments.iter().map(|experiment| experiment.name.as_str()).collect::<Vec<_>>(), ["Quick start"]);
    service.ask(DeleteExperiment { experiment: experiments[0].id }).await.unwrap();
    drop(service);
    assert!(open(data.path(), fake::obedient()).ask(OpenExperiments {}).await.unwrap().experiments.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn run_all_runs_every_cell_in_order_and_then_has_nothing_to_do() {
    let data = tempfile::tempdir().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let work: fake::Work = Arc::new(move |assignment, emit| {
        let inputs: Vec<CellKind> = assignment.inputs.iter().map(|input| input.kind).collect();
        let kind = assignment.config.kind();
        assert_eq!(inputs, [kind.inputs(), kind.optional_inputs()].concat());
        seen.lock().unwrap().push(assignment.config.kind());
        Ok(fake::finish(assignment, emit))
    });
    let service = open(data.path(), work);
    finished_report(&service).await;
    use CellKind::{Curate, Data, Generate, Model, Report, Train};
    assert_eq!(*order.lock().unwrap(), [Data, Model, Train, Generate, Curate, Report]);
    service.ask(RunAll { experiment: 1, key: key("") }).await.unwrap();
    assert_eq!(order.lock().unwrap().len(), 6);
    let notebook = service.ask(GetNotebook { experiment: 1 }).await.unwrap();
    assert!(notebook.cells.iter().all(|cell| cell.stale.is_empty() && cell.missing_input.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_setting_makes_stale_with_a_reason_and_keeps_the_runs_own_config() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    finished_report(&service).await;
    let train = cell(&service, 1, CellKind::Train).await;
    let CellConfig::Train(before) = train.config.clone() else { unreachable!() };
    let saved = save(&service, train.id, "page", 1, &[("rank", &(before.rank + 1).to_string())]).await.unwrap();
    let stale: Vec<i64> = saved.stale.iter().map(|(cell, _)| *cell).collect();
    assert_eq!(stale.len(), 4, "train, generate, curate and report");
    let changed = cell(&service, 1, CellKind::Train).await;
    let reason =
        StaleReason::Field { field: text("rank"), was: before.rank.to_string(), now: (before.rank + 1).to_string() };
    assert_eq!(changed.stale, [reason]);
    assert_eq!(changed.run.unwrap().config, CellConfig::Train(before.clone()));
    assert_eq!(cell(&service, 1, CellKind::Generate).await.stale, [StaleReason::Input { kind: CellKind::Train }]);
    assert!(cell(&service, 1, CellKind::Data).await.stale.is_empty());

    let generate = cell(&service, 1, CellKind::Generate).await.id;
    assert_eq!(
        service.ask(RunCell { cell: generate, retrain: false, key: key("") }).await.unwrap_err().code,
        ErrorCode::NeedsRun
    );
    save(&service, train.id, "page", 2, &[("rank", &before.rank.to_string())]).await.unwrap();
    assert!(cell(&service, 1, CellKind::Report).await.stale.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_runs_once() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let first =
        service.ask(CreateExperiment { name: text("Once"), preset: Preset::QuickStart, key: key("k1") }).await.unwrap();
    assert_eq!(
        service.ask(CreateExperiment { name: text("Once"), preset: Preset::QuickStart, key: key("k1") }).await.unwrap(),
        first
    );
    assert_eq!(service.ask(OpenExperiments {}).await.unwrap().experiments.len(), 2);

    let data_cell = cell(&service, first, CellKind::Data).await.id;
    service.ask(RunCell { cell: data_cell, retrain: false, key: key("k2") }).await.unwrap();
    let run = eventually("done", async || {
        cell(&service, first, CellKind::Data).await.run.filter(|run| run.state == RunState::Done)
    })
    .await;
    service.ask(RunCell { cell: data_cell, retrain: false, key: key("k2") }).await.unwrap();
    assert_eq!(cell(&service, first, CellKind::Data).await.run.unwrap().run, run.run);
    service.ask(RunCell { cell: data_cell, retrain: false, key: key("k3") }).await.unwrap();
    assert_ne!(cell(&service, first, CellKind::Data).await.run.unwrap().run, run.run);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_queues_limit_nothing_is_queued() {
    let data = tempfile::tempdir().unwrap();
    let gate = fake::Gate::default();
    let settings = Settings { queue_limit: 6, ..Settings::new(data.path()) };
    let work = fake::gated(CellKind::Data, &gate);
    let service = Service::open_with(settings, String::new(), |_| fake::executor(work)).unwrap();
    service.ask(RunAll { experiment: 1, key: key("") }).await.unwrap();
    let other =
        service.ask(CreateExperiment { name: text("Other"), preset: Preset::QuickStart, key: key("") }).await.unwrap();
    let refused = service.ask(RunAll { experiment: other, key: key("") }).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::QueueFull);
    assert!(refused.message.contains("limit of 6"), "{}", refused.message);
    assert!(service.ask(GetNotebook { experiment: other }).await.unwrap().cells.iter().all(|cell| cell.run.is_none()));
    gate.open();
    wait_until_done(&service, 1).await;
    service.ask(RunAll { experiment: other, key: key("") }).await.unwrap();
    wait_until_done(&service, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_a_waiting_run_at_once_and_a_running_one_with_what_follows() {
    let data = tempfile::tempdir().unwrap();
    let gate = fake::Gate::default();
    let service = open(data.path(), fake::gated(CellKind::Train, &gate));
    service.ask(RunAll { experiment: 1, key: key("") }).await.unwrap();
    let train = run_of(&service, CellKind::Train).await.run;
    let report = run_of(&service, CellKind::Report).await.run;
    wait_for(&service, train, RunState::Running).await;
    service.ask(StopRun { run: report, mode: StopMode::Save }).await.unwrap();
    assert_eq!(service.ask(GetRun { run: report }).await.unwrap().state, RunState::Stopped);
    assert_eq!(service.ask(StopRun { run: report, mode: StopMode::Save }).await.unwrap_err().code, ErrorCode::Conflict);
    service.ask(StopRun { run: train, mode: StopMode::Save }).await.unwrap();
    let view = wait_for(&service, train, RunState::Stopped).await;
    assert_eq!(view.error, None);
    let generate = run_of(&service, CellKind::Generate).await.run;
    let follower = wait_for(&service, generate, RunState::Stopped).await;
    assert!(follower.error.unwrap().message.contains("train run"));
    // One terminal state each, at the end of the log.
    for run in [train, generate, report] {
        let events = service.events(run, 0, 1_000).unwrap();
        let over = events
            .iter()
            .filter(|event| matches!(event.event, RunEvent::State { state, .. } if state.is_over()))
            .count();
        assert_eq!(over, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_one_run_fails_it_and_what_needs_it_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let work: fake::Work = Arc::new(move |assignment, emit| {
        if assignment.config.kind() == CellKind::Train && counted.fetch_add(1, Ordering::SeqCst) == 0 {
            panic!("deliberate");
        }
        Ok(fake::finish(assignment, emit))
    });
    let service = open(data.path(), work);
    service.ask(RunAll { experiment: 1, key: key("") }).await.unwrap();
    let report = run_of(&service, CellKind::Report).await.run;
    let report = wait_for(&service, report, RunState::Failed).await;
    assert_eq!(report.error.unwrap().code, ErrorCode::NeedsRun);
    let train = run_of(&service, CellKind::Train).await;
    assert_eq!(train.state, RunState::Failed);
    assert!(train.error.unwrap().message.contains("deliberate"));
    assert_eq!(run_of(&service, CellKind::Model).await.state, RunState::Done);

    service.ask(RunAll { experiment: 1, key: key("") }).await.unwrap();
    wait_until_done(&service, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_work_reaches_the_page_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let error = AppError::malformed_file("line 3 is not JSON", "Repair the file.");
    let given = error.clone();
    let service = open(data.path(), Arc::new(move |_, _| Err(given.clone())));
    let data_cell = cell(&service, 1, CellKind::Data).await.id;
    service.ask(RunCell { cell: data_cell, retrain: false, key: key("") }).await.unwrap();
    let run = run_of(&service, CellKind::Data).await.run;
    assert_eq!(wait_for(&service, run, RunState::Failed).await.error, Some(error));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_runs_that_were_under_way_are_interrupted_and_go_on() {
    let data = tempfile::tempdir().unwrap();
    let work: fake::Work = Arc::new(|assignment, emit| {
        if assignment.config.kind() == CellKind::Generate {
            emit(RunEvent::Pair { pair: fake::pair(0) });
            emit(RunEvent::Pair { pair: fake::pair(1) });
            // Until the end of the test's process, as if this one had been killed here.
            loop {
                std::thread::park();
            }
        }
        Ok(fake::finish(assignment, emit))
    });
    let killed = open(data.path(), work);
    killed.ask(RunAll { experiment: 1, key: key("") }).await.unwrap();
    let run = run_of(&killed, CellKind::Generate).await.run;
    eventually("two pairs", async || killed.ask(GetRun { run }).await.ok().filter(|view| view.pairs.len() == 2)).await;
    assert!(
        Service::open_with(Settings::new(data.path()), String::new(), |_| fake::executor(fake::obedient())).is_err()
    );
    drop(killed);

    let before = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&before);
    let service = open(
        data.path(),
        Arc::new(move |assignment, emit| {
            if assignment.config.kind() == CellKind::Generate {
                counted.store(assignment.done_pairs.len() as u32, Ordering::SeqCst);
            }
            Ok(fake::finish(assignment, emit))
        }),
    );
    let view = run_of(&service, CellKind::Generate).await;
    assert_eq!((view.state, view.pairs.len()), (RunState::Interrupted, 2));
    assert!(view.error.unwrap().message.contains("under way"));
    assert_eq!(run_of(&service, CellKind::Report).await.state, RunState::Interrupted);
    assert_eq!(run_of(&service, CellKind::Train).await.state, RunState::Done);

    service.ask(ResumeRun { run, key: key("") }).await.unwrap();
    wait_for(&service, run, RunState::Done).await;
    assert_eq!(before.load(Ordering::SeqCst), 2);
    service.ask(RunAll { experiment: 1, key: key("") }).await.unwrap();
    wait_until_done(&service, 1).await;
    assert_eq!(run_of(&service, CellKind::Generate).await.run, run);
    let numbers: Vec<u64> = service.events(run, 0, 1_000).unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_run_that_ended_early_can_be_resumed() {
    let data = tempfile::tempdir().unwrap();
    let gate = fake::Gate::default();
    let service = open(data.path(), fake::gated(CellKind::Train, &gate));
    service.ask(RunAll { experiment: 1, key: key("") }).await.unwrap();
    let train = cell(&service, 1, CellKind::Train).await;
    let (train, first) = (train.id, train.run.unwrap().run);
    wait_for(&service, first, RunState::Running).await;
    assert_eq!(service.ask(ResumeRun { run: first, key: key("") }).await.unwrap_err().code, ErrorCode::Conflict);
    service.ask(StopRun { run: first, mode: StopMode::Discard }).await.unwrap();
    wait_for(&service, first, RunState::Stopped).await;
    let generate = run_of(&service, CellKind::Generate).await.run;
    wait_for(&service, generate, RunState::Stopped).await;
    assert_eq!(service.ask(ResumeRun { run: generate, key: key("") }).await.unwrap_err().code, ErrorCode::NeedsRun);
    gate.open();
    service.ask(RunCell { cell: train, retrain: false, key: key("") }).await.unwrap();
    assert_eq!(service.ask(ResumeRun { run: first, key: key("") }).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(service.ask(ResumeRun { run: 999, key: key("") }).await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_in_use_cannot_be_deleted_and_deleting_takes_the_artifacts() {
    let data = tempfile::tempdir().unwrap();
    let gate = fake::Gate::default();
    let service = open(data.path(), fake::gated(CellKind::Train, &gate));
    service.ask(RunAll { experiment: 1, key: key("") }).await.unwrap();
    let train = run_of(&service, CellKind::Train).await.run;
    wait_for(&service, train, RunState::Running).await;
    for kind in [CellKind::Data, CellKind::Train, CellKind::Report] {
        let id = cell(&service, 1, kind).await.id;
        assert_eq!(service.ask(DeleteCell { cell: id }).await.unwrap_err().code, ErrorCode::Conflict);
    }
    assert_eq!(service.ask(DeleteExperiment { experiment: 1 }).await.unwrap_err().code, ErrorCode::Conflict);
    gate.open();
    wait_until_done(&service, 1).await;
    let folder = service.run_folder(train);
    assert!(folder.is_dir());
    service.ask(DeleteCell { cell: cell(&service, 1, CellKind::Train).await.id }).await.unwrap();
    assert!(!folder.exists());
    assert_eq!(cell(&service, 1, CellKind::Generate).await.missing_input, Some(CellKind::Train));
    service.ask(DeleteExperiment { experiment: 1 }).await.unwrap();
    assert_eq!(std::fs::read_dir(data.path().join("runs")).unwrap().count(), 0);
    assert_eq!(service.ask(GetNotebook { experiment: 1 }).await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_are_paged_filtered_and_sorted() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    finished_report(&service).await;
    let run = run_of(&service, CellKind::Generate).await.run;
    let check = async |query: PairsQuery, total: u64, rows: &[u32]| {
        let page = service.ask(ListPairs { query: PairsQuery { run, ..query } }).await.unwrap();
        assert_eq!((page.total, page.pairs.iter().map(|pair| pair.index).collect::<Vec<_>>()), (total, rows.to_vec()));
    };
    let all = PairFilter::default;
    let only = |filter: PairFilter| PairsQuery { filter, ..Default::default() };
    let tag = |tag: &str| only(PairFilter { tag: text(tag).try_into().unwrap(), ..all() });
    let having = |words: &str| only(PairFilter { text: text(words), ..all() });
    let by = |sort: PairSort, limit: u32| PairsQuery { limit, ..only(PairFilter { sort, ..all() }) };
    check(PairsQuery { limit: 3, offset: 2, ..Default::default() }, 7, &[2, 3, 4]).await;
    check(tag("echo"), 3, &[1, 3, 5]).await;
    check(tag("any"), 3, &[1, 3, 5]).await;
    check(tag("none"), 4, &[0, 2, 4, 6]).await;
    assert!(TagFilter::try_from(text("ech")).unwrap_err().message.contains("ech"));
    check(PairsQuery { limit: 1, ..having("ÄRGER") }, 7, &[0]).await;
    check(having("number 4"), 1, &[4]).await;
    check(having("%' OR 1=1 --"), 0, &[]).await;
    check(by(PairSort::RougeDescending, 4), 7, &[2, 1, 0, 3]).await;
    check(by(PairSort::CopiedDescending, 2), 7, &[6, 5]).await;
    check(by(PairSort::LengthDescending, 2), 7, &[0, 1]).await;
    check(by(PairSort::LengthAscending, 2), 7, &[6, 5]).await;
    assert_eq!(
        service.ask(ListPairs { query: PairsQuery { run: 999, ..Default::default() } }).await.unwrap_err().code,
        ErrorCode::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_work_says_about_its_own_state_is_not_believed() {
    let data = tempfile::tempdir().unwrap();
    let service = open(
        data.path(),
        Arc::new(|assignment, emit| {
            emit(RunEvent::State { state: RunState::Failed, error: None });
            emit(RunEvent::Output { output: fake::output(CellKind::Model) });
            Ok(Ended::Done(fake::output(assignment.config.kind())))
        }),
    );
    let data_cell = cell(&service, 1, CellKind::Data).await.id;
    service.ask(RunCell { cell: data_cell, retrain: false, key: key("") }).await.unwrap();
    let run = run_of(&service, CellKind::Data).await.run;
    let view = wait_for(&service, run, RunState::Done).await;
    assert_eq!(view.output, Some(fake::output(CellKind::Data)));
    assert_eq!(service.events(run, 0, 100).unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_are_added_moved_and_saved_within_limits() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let empty =
        service.ask(CreateExperiment { name: text(" Mine \n"), preset: Preset::Empty, key: key("") }).await.unwrap();
    assert_eq!(service.ask(GetNotebook { experiment: empty }).await.unwrap().name, "Mine");
    service.ask(AddCell { experiment: empty, kind: CellKind::Train, position: 0 }).await.unwrap();
    service.ask(AddCell { experiment: empty, kind: CellKind::Data, position: 0 }).await.unwrap();
    let notebook = service.ask(AddCell { experiment: empty, kind: CellKind::Model, position: 99 }).await.unwrap();
    let kinds = |notebook: &Notebook| notebook.cells.iter().map(|cell| cell.config.kind()).collect::<Vec<_>>();
    assert_eq!(kinds(&notebook), [CellKind::Data, CellKind::Train, CellKind::Model]);
    let train = &notebook.cells[1];
    assert_eq!(train.missing_input, Some(CellKind::Model));
    assert_eq!(
        service.ask(RunCell { cell: train.id, retrain: false, key: key("") }).await.unwrap_err().code,
        ErrorCode::Conflict
    );
    let moved = service.ask(MoveCell { cell: notebook.cells[2].id, position: 0 }).await.unwrap();
    assert_eq!(kinds(&moved), [CellKind::Model, CellKind::Data, CellKind::Train]);
    assert_eq!(moved.cells[2].missing_input, None);

    for change in [("text", "x"), ("kind", "note"), ("rank", "many"), ("template", "x"), ("template.", "x"), ("", "x")]
    {
        let wrong = save(&service, train.id, "page", 1, &[("alpha", "8"), change]).await.unwrap_err();
        assert_eq!(wrong.code, ErrorCode::InvalidSetting, "{change:?}");
    }
    assert_eq!(service.ask(GetNotebook { experiment: empty }).await.unwrap().cells[2].version, 0);
    let note = service.ask(AddCell { experiment: empty, kind: CellKind::Note, position: 0 }).await.unwrap().cells[0].id;
    let long = save(&service, note, "page", 1, &[("text", &"x".repeat(300_000))]).await;
    assert_eq!(long.unwrap_err().code, ErrorCode::InvalidSetting);
    assert_eq!(
        service.ask(RunCell { cell: note, retrain: false, key: key("") }).await.unwrap_err().code,
        ErrorCode::InvalidSetting
    );
    for name in ["", "  ", &"x".repeat(300)] {
        assert_eq!(
            service.ask(RenameExperiment { experiment: empty, name: text(name) }).await.unwrap_err().code,
            ErrorCode::InvalidSetting
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_preset_is_whole() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    for preset in [Preset::QuickStart, Preset::SeedRecipe] {
        let experiment = service.ask(CreateExperiment { name: text("A preset"), preset, key: key("") }).await.unwrap();
        let notebook = service.ask(GetNotebook { experiment }).await.unwrap();
        assert_eq!(notebook.cells.len(), 7);
        assert!(notebook.cells.iter().all(|cell| cell.missing_input.is_none()));
        service.ask(RunAll { experiment, key: key("") }).await.unwrap();
        wait_until_done(&service, experiment).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_texts_of_one_experiment_have_a_limit_together() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let note_of = |length: usize| CellConfig::Note(NoteConfig { text: "x".repeat(length) });
    let long = vec![note_of(120_000); 69];
    let experiment = service.create_from("Long", &long).unwrap();
    let notebook = service.ask(GetNotebook { experiment }).await.unwrap();
    let note = service.ask(AddCell { experiment, kind: CellKind::Note, position: 0 }).await.unwrap().cells[0].id;
    let error = save(&service, note, "a", 1, &[("text", &"x".repeat(120_000))]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert!(error.message.contains("8388608"), "{}", error.message);
    save(&service, notebook.cells[0].id, "a", 2, &[("text", "short")]).await.unwrap();
    save(&service, note, "a", 3, &[("text", &"x".repeat(120_000))]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_different_settings_from_two_pages_are_both_kept() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let train = cell(&service, 1, CellKind::Train).await.id;
    assert_eq!(save(&service, train, "a", 1, &[("rank", "8"), ("max_steps", "7")]).await.unwrap().version, 1);
    let targets = [("targets", "q_proj, o_proj"), ("max_steps", ""), ("template.end", "none")];
    assert_eq!(save(&service, train, "b", 1, &targets).await.unwrap().version, 2);
    let now = cell(&service, 1, CellKind::Train).await;
    let CellConfig::Train(config) = now.config else { unreachable!() };
    assert_eq!((now.version, config.rank, config.max_steps), (2, 8, None));
    assert_eq!(config.target_modules, [Projection::QProj, Projection::OProj]);
    assert_eq!(config.template.end, EndMarker::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_is_repeated_or_overtaken_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let train = cell(&service, 1, CellKind::Train).await.id;
    let rank = async || {
        let CellConfig::Train(config) = cell(&service, 1, CellKind::Train).await.config else { unreachable!() };
        (config.rank, config.epochs)
    };
    save(&service, train, "a", 1, &[("rank", "8"), ("epochs", "3")]).await.unwrap();
    // Another page changes it; then the first page repeats its request, since it never saw the answer.
    save(&service, train, "b", 1, &[("rank", "4")]).await.unwrap();
    let repeated = save(&service, train, "a", 1, &[("rank", "8"), ("epochs", "3")]).await.unwrap();
    assert_eq!((repeated.version, rank().await), (2, (4, 3)));
    // Two requests of one page arrive in the wrong order.
    save(&service, train, "a", 3, &[("rank", "32")]).await.unwrap();
    save(&service, train, "a", 2, &[("rank", "2"), ("epochs", "5")]).await.unwrap();
    assert_eq!(rank().await, (32, 5));
}
