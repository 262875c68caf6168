//! Two generate runs side by side.

use spec::*;

use crate::support::{cell, fake, finished_report, open, run_of, wait_until_done};

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_joined_by_response_and_only_rows_that_differ_can_be_asked_for() {
    let data = tempfile::tempdir().unwrap();
    // The second run generates another text for every third response, and has one response more.
    let service = open(
        data.path(),
        std::sync::Arc::new(|context, emit| {
            let CellConfig::Generate(config) = &context.config else { return Ok(fake::finish(context, emit)) };
            let again = config.seed == 2;
            for index in 0..fake::PAIRS + u32::from(again) {
                let mut pair = fake::pair(index);
                if again && index % 3 == 0 {
                    pair.generated = format!("Other text {index}");
                }
                emit(RunEvent::Pair { pair });
            }
            Ok(server::work::Ended::Done(fake::output(CellKind::Generate)))
        }),
    );
    finished_report(&service).await;
    let first = run_of(&service, CellKind::Generate).await.run;
    let generate = cell(&service, 1, CellKind::Generate).await.id;
    let client = IdempotencyKey::try_from("page".to_owned()).unwrap();
    let changes = vec![("seed".to_owned(), "2".to_owned())];
    service.ask(SaveCell { cell: generate, changes, client, number: 1 }).await.unwrap();
    service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    wait_until_done(&service, 1).await;
    let second = run_of(&service, CellKind::Generate).await.run;

    let runs = service.ask(ListGenerateRuns {}).await.unwrap();
    assert_eq!(runs.iter().map(|run| (run.run, run.pairs)).collect::<Vec<_>>(), [(second, 8), (first, 7)]);
    let query = CompareQuery { left: first, right: second, only_different: true, page: 1 };
    let comparison = service.ask(CompareRuns { query: query.clone() }).await.unwrap();
    assert_eq!((comparison.joined, comparison.different), (7, 3));
    assert_eq!((comparison.left.alone, comparison.right.alone), (0, 1));
    let rows: Vec<(u32, &str)> =
        comparison.rows.iter().map(|(left, right)| (left.index, right.generated.as_str())).collect();
    assert_eq!(rows, [(0, "Other text 0"), (3, "Other text 3"), (6, "Other text 6")]);
    let seed = |run: &ComparedRun| run.settings.iter().find(|(key, _)| key == "generate.seed").unwrap().1.clone();
    assert_eq!((seed(&comparison.left), seed(&comparison.right)), ("1".to_owned(), "2".to_owned()));
    assert!(comparison.left.settings.iter().any(|(key, _)| key == "train.rank"));
    let all = service.ask(CompareRuns { query: CompareQuery { only_different: false, ..query } }).await.unwrap();
    assert_eq!(all.rows.len(), 7);
    assert_eq!(all.left.scores.pairs, 7);
    let wrong = CompareQuery { left: first, right: 1, ..CompareQuery::default() };
    assert_eq!(service.ask(CompareRuns { query: wrong }).await.unwrap_err().code, ErrorCode::NotFound);
}
