//! Blind rating: a rater sees texts and not who wrote them; grades are kept.

use spec::*;

use crate::support::{fake, finished_report, open, run_of};

async fn items(service: &server::service::Service, run: i64, rater: &str) -> Vec<RatingItem> {
    service.ask(GetRatingItems { run, rater: rater.to_owned() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rater_grades_all_texts_in_an_order_of_their_own_and_goes_on_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    finished_report(&service).await;
    let run = run_of(&service, CellKind::Generate).await.run;
    let ada = items(&service, run, "Ada").await;
    // Seven generated instructions; three of the pairs have a reference, one has a baseline.
    assert_eq!(ada.len(), 11);
    let texts = |items: &[RatingItem]| items.iter().map(|item| item.instruction.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&ada), texts(&items(&service, run, " Ada ").await));
    assert_ne!(texts(&ada), texts(&items(&service, run, "Bo").await));
    let wire = serde_json::to_value(&ada[0]).unwrap();
    let fields: Vec<&String> = wire.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["grades", "instruction", "item", "response"], "nothing says who wrote it");
    assert_eq!(service.ask(GetRatingSummary { run }).await.unwrap(), None);

    for item in &ada {
        let relevance = if item.instruction.starts_with("Reference") { 5 } else { 2 };
        let grades = [Some(relevance), Some(3), Some(3), Some(3)];
        service.ask(RateItem { run, rater: "Ada".to_owned(), item: item.item, grades }).await.unwrap();
    }
    let first = ada[4].item;
    let changed = [Some(1), None, None, None];
    service.ask(RateItem { run, rater: "Ada".to_owned(), item: first, grades: changed }).await.unwrap();
    service.shutdown();
    drop(service);

    let service = open(data.path(), fake::obedient());
    let again = items(&service, run, "Ada").await;
    assert_eq!(texts(&again), texts(&ada));
    assert_eq!(again[4].grades, changed);
    assert!(again.iter().enumerate().all(|(at, item)| at == 4 || item.is_rated()));
    assert!(items(&service, run, "Bo").await.iter().all(|item| item.grades == Grades::default()));
    let summary = service.ask(GetRatingSummary { run }).await.unwrap().unwrap();
    assert_eq!((summary.raters, summary.rated), (1, 11));
    let of = |text: RatedText| summary.texts.iter().find(|means| means.text == text);
    assert_eq!((of(RatedText::Generated).unwrap().rated, of(RatedText::Reference).unwrap().rated), (7, 3));
    assert_eq!(of(RatedText::Baseline).unwrap().rated, 1);
    assert!(of(RatedText::Reference).unwrap().relevant.mean > of(RatedText::Generated).unwrap().relevant.mean);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rated_is_refused_with_the_reason() {
    let data = tempfile::tempdir().unwrap();
    let service = open(data.path(), fake::obedient());
    let report = finished_report(&service).await;
    let run = run_of(&service, CellKind::Generate).await.run;
    let rate = |run: i64, rater: &str, item: u32, grade: u8| {
        service.ask(RateItem { run, rater: rater.to_owned(), item, grades: [Some(grade), None, None, None] })
    };
    for (answer, code, says) in [
        (rate(run, " ", 0, 3).await, ErrorCode::InvalidSetting, "name"),
        (rate(run, "Ada", 11, 3).await, ErrorCode::NotFound, "has 11"),
        (rate(run, "Ada", 0, 6).await, ErrorCode::InvalidSetting, "1 to 5"),
        (rate(report, "Ada", 0, 3).await, ErrorCode::NotFound, "no pairs"),
        (rate(999, "Ada", 0, 3).await, ErrorCode::NotFound, "999"),
    ] {
        let error = answer.unwrap_err();
        assert!(error.code == code && error.message.contains(says), "{error:?}");
    }
}
