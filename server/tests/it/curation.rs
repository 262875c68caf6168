//! What a person decides on generated pairs: stored, filtered, frozen into reports, and never lost.

use spec::*;

use crate::support::{cell, fake, finished_report, open, run_of, wait_until_done};

fn decide(index: u32, decision: Decision) -> CurationChange {
    CurationChange { index, part: CurationPart::Decision(Some(decision)) }
}

fn edit(index: u32, text: &str) -> CurationChange {
    CurationChange { index, part: CurationPart::Instruction(Some(text.to_owned())) }
}

fn only(decision: DecisionFilter) -> PairFilter {
    PairFilter { decision, ..PairFilter::default() }
}

async fn matching(service: &server::service::Service, run: i64, filter: PairFilter) -> Vec<u32> {
    let found = service.ask(MatchPairs { run, filter }).await.unwrap();
    found.pairs.into_iter().map(|(index, _)| index).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_and_edits_are_filtered_counted_and_survive_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    finished_report(&service).await;
    let run = run_of(&service, CellKind::Generate).await.run;
    let note = CurationChange { index: 5, part: CurationPart::Note("Unclear about Öl".to_owned()) };
    let changes = vec![decide(0, Decision::Keep), decide(1, Decision::Drop), edit(2, "Ask better"), note];
    let counts = service.ask(CuratePairs { run, changes }).await.unwrap();
    assert_eq!(counts, CurationCounts { pairs: 7, keep: 1, drop: 1, edited: 1 });
    service.shutdown();
    drop(service);

    let service = open(data.path(), fake::obedient());
    assert_eq!(matching(&service, run, only(DecisionFilter::Keep)).await, [0]);
    assert_eq!(matching(&service, run, only(DecisionFilter::Drop)).await, [1]);
    assert_eq!(matching(&service, run, only(DecisionFilter::Undecided)).await, [2, 3, 4, 5, 6]);
    assert_eq!(matching(&service, run, only(DecisionFilter::Edited)).await, [2]);
    for (text, rows) in [("ask BETTER", [2].as_slice()), ("about öl", &[5])] {
        let filter = PairFilter { text: text.to_owned(), ..PairFilter::default() };
        assert_eq!(matching(&service, run, filter).await, rows, "{text}");
    }
    let pairs = service.ask(GetPairs { run, indexes: vec![2, 0] }).await.unwrap();
    assert_eq!(pairs[0].instruction(), "Ask better");
    assert_eq!((pairs[0].generated.as_str(), pairs[1].decision()), ("Write text 2", Some(Decision::Keep)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_all_that_a_filter_shows_can_be_taken_back() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    finished_report(&service).await;
    let run = run_of(&service, CellKind::Generate).await.run;
    service.ask(CuratePairs { run, changes: vec![decide(1, Decision::Keep)] }).await.unwrap();
    let filter = PairFilter { tag: TagFilter::Tagged, ..PairFilter::default() };
    let inverse = service.ask(DecideMatching { run, filter, decision: Some(Decision::Drop) }).await.unwrap();
    assert_eq!(matching(&service, run, only(DecisionFilter::Drop)).await, [1, 3, 5]);
    service.ask(CuratePairs { run, changes: inverse }).await.unwrap();
    assert_eq!(matching(&service, run, only(DecisionFilter::Drop)).await, [] as [u32; 0]);
    assert_eq!(matching(&service, run, only(DecisionFilter::Keep)).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decided_is_refused_and_nothing_changes() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    finished_report(&service).await;
    let run = run_of(&service, CellKind::Generate).await.run;
    let report = run_of(&service, CellKind::Report).await.run;
    let long = "x".repeat(Curation::MAX_TEXT + 1);
    let refusals = [
        (run, vec![decide(0, Decision::Keep), decide(99, Decision::Keep)], ErrorCode::NotFound),
        (run, vec![decide(0, Decision::Keep), edit(1, " ")], ErrorCode::InvalidSetting),
        (run, vec![decide(0, Decision::Keep), edit(1, &long)], ErrorCode::TooLarge),
        (report, vec![decide(0, Decision::Keep)], ErrorCode::NotFound),
        (999, vec![decide(0, Decision::Keep)], ErrorCode::NotFound),
    ];
    for (run, changes, code) in refusals {
        let error = service.ask(CuratePairs { run, changes }).await.unwrap_err();
        assert_eq!(error.code, code, "{error:?}");
    }
    assert_eq!(matching(&service, run, only(DecisionFilter::Undecided)).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_makes_the_curate_cell_stale_and_taking_it_back_makes_it_fresh() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    finished_report(&service).await;
    let run = run_of(&service, CellKind::Generate).await.run;
    let stale = async || cell(&service, 1, CellKind::Curate).await.stale;
    assert_eq!(stale().await, []);
    service.ask(CuratePairs { run, changes: vec![decide(3, Decision::Drop)] }).await.unwrap();
    assert_eq!(stale().await, [StaleReason::Decisions]);
    let report = cell(&service, 1, CellKind::Report).await;
    assert_eq!(report.stale, [StaleReason::Input { kind: CellKind::Curate }]);
    let undecided = CurationChange { index: 3, part: CurationPart::Decision(None) };
    service.ask(CuratePairs { run, changes: vec![undecided] }).await.unwrap();
    assert_eq!(stale().await, []);
    // A note is no decision.
    let note = CurationChange { index: 3, part: CurationPart::Note("mine".to_owned()) };
    service.ask(CuratePairs { run, changes: vec![note] }).await.unwrap();
    assert_eq!(stale().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_on_the_same_pairs_are_taken_over_by_a_new_run() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    finished_report(&service).await;
    let first = run_of(&service, CellKind::Generate).await.run;
    let changes = vec![decide(0, Decision::Keep), edit(4, "Ask better")];
    service.ask(CuratePairs { run: first, changes }).await.unwrap();
    let generate = cell(&service, 1, CellKind::Generate).await.id;
    service.ask(RunCell { cell: generate, retrain: false, key: IdempotencyKey::default() }).await.unwrap();
    wait_until_done(&service, 1).await;
    let second = run_of(&service, CellKind::Generate).await.run;
    assert!(second > first);
    assert_eq!(matching(&service, second, only(DecisionFilter::Keep)).await, [0]);
    assert_eq!(matching(&service, second, only(DecisionFilter::Edited)).await, [4]);
}
