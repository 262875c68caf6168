//! The parts of a report in their order: what a reader decides with first, how it was made after it.

use leptos::prelude::*;

use super::pairs::{all_pairs, examples};
use super::verdict::verdict;
use super::{Place, method, provenance};
use crate::components::format::moment;
use spec::{ReportPage, ReportQuery};

/// Anchors and titles, in order.
const PARTS: [(&str, &str); 6] = [
    ("verdict", "Verdict"),
    ("examples", "Three examples"),
    ("pairs", "All pairs"),
    ("method", "Method"),
    ("settings", "Settings"),
    ("provenance", "Provenance"),
];

/// `sharing` is what its owner does with it.
pub fn document(shown: &ReportPage, query: &ReportQuery, place: &Place, sharing: Option<AnyView>) -> AnyView {
    let report = &shown.report;
    let byline = format!("Snapshot of the experiment “{}”, {}.", report.experiment, moment(report.created_ms));
    let back = shown.experiment.filter(|_| matches!(place, Place::Own(_))).map(|experiment| {
        view! { " " <a href=format!("/experiments/{experiment}")>"Back to the notebook"</a> }
    });
    let summary = report.config.summary.clone();
    let summary = (!summary.trim().is_empty()).then(|| view! { <div class="text summary">{summary}</div> });
    let contents = PARTS
        .iter()
        .map(|(anchor, title)| view! { <li><a href=format!("#{anchor}") rel="external">{*title}</a></li> })
        .collect_view();
    view! {
        <main id="main" class="report" tabindex="-1">
            <article>
                <h1>{report.config.title.clone()}</h1>
                <p class="byline">{byline} {back}</p>
                {summary}
                {sharing}
                <nav class="contents" aria-label="Contents"><ol>{contents}</ol></nav>
                {verdict(report, shown.pairs)}
                {examples(shown)}
                {all_pairs(shown, query, place)}
                {method::method(report, shown.pairs)}
                {method::settings(report)}
                {provenance::provenance(report, shown.pairs, place)}
            </article>
        </main>
    }
    .into_any()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;
    use spec::{
        CorpusSummary, DataConfig, DataOutput, GenerateConfig, GeneratedPair, PairScores, Report, ReportConfig,
        ScoreSummary, TargetIntegrity, TrainConfig,
    };

    pub fn pair(index: u32) -> GeneratedPair {
        GeneratedPair {
            index,
            row: Some(u64::from(index) + 1),
            response: format!("Response {index}"),
            reference: Some(format!("Reference {index}")),
            generated: format!("Instruction {index}"),
            tokens: 5,
            ended: true,
            scores: PairScores { words: 2, rouge_l: Some(0.25), ..PairScores::default() },
            ..GeneratedPair::default()
        }
    }

    /// With this many pairs.
    pub fn report(pairs: u32) -> Report {
        let pairs: Vec<GeneratedPair> = (0..pairs).map(pair).collect();
        let value = json!({
            "created_ms": 1, "experiment": "An experiment", "config": ReportConfig::default(),
            "data": DataOutput::default(), "data_config": DataConfig::default(),
            "model": {
                "id": "tiny", "architecture": "LlamaForCausalLM", "parameters": 1, "hidden_size": 1, "layers": 1, "heads": 1,
                "kv_heads": 1, "ffn_size": 1, "vocabulary": 1, "context": 1, "tied_head": true, "stored_as": "F32",
                "size_bytes": 1, "sha256": "m", "tokenizer_sha256": "t"
            },
            "train": {
                "steps": 3, "loss": 1.0, "validation_loss_before": 2.0, "validation_loss": 1.5, "trainable": 1,
                "trainable_percent": 0.1, "tokens": 1, "seconds": 1.0, "tokens_per_s": 1.0, "peak_memory_bytes": 1,
                "adapter_sha256": "a", "template_sha256": "x"
            },
            "train_config": TrainConfig::default(), "integrity": TargetIntegrity::default(), "evaluations": [],
            "generate_config": GenerateConfig::default(), "corpus": CorpusSummary::default(),
            "scores": ScoreSummary::default(), "pairs": pairs,
            "provenance": {
                "version": "0", "device": "flex", "data_sha256": "d".repeat(64), "model_sha256": "", "tokenizer_sha256": "",
                "template_sha256": "", "adapter_sha256": "", "corpus_sha256": "", "report_sha256": "e".repeat(64)
            }
        });
        serde_json::from_value(value).expect("a report as it is stored")
    }

    pub fn page(pairs: u32) -> ReportPage {
        let report = report(pairs);
        let count = u64::from(pairs);
        ReportPage { report, pairs: count, matching: count, offset: 0, experiment: None, examples: Default::default() }
    }

    #[cfg(feature = "ssr")]
    fn html(shown: &ReportPage, place: &Place) -> String {
        Owner::new().with(|| document(shown, &ReportQuery::default(), place, None).to_html())
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn every_part_of_the_contents_is_there_in_its_order() {
        let html = html(&page(3), &Place::Own(7));
        let places: Vec<usize> = PARTS
            .iter()
            .map(|(anchor, _)| html.find(&format!("id=\"{anchor}\"")).unwrap_or_else(|| panic!("{anchor}")))
            .collect();
        assert!(places.is_sorted(), "{places:?}");
        for (anchor, _) in PARTS {
            assert!(html.contains(&format!("href=\"#{anchor}\"")), "{anchor}");
        }
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn the_notebook_is_linked_for_the_owner_and_whole_hashes_are_text() {
        let mut shown = page(1);
        assert!(!html(&shown, &Place::Shared("t".to_owned())).contains("/experiments/"));
        shown.experiment = Some(9);
        let own = html(&shown, &Place::Own(7));
        assert!(own.contains("href=\"/experiments/9\"") && own.contains("href=\"/reports/7/report.json\""), "{own}");
        let text = |hash: &str| own.contains(&format!(">{}<", hash.repeat(64)));
        assert!(text("d") && text("e"), "{own}");
        let shared = html(&shown, &Place::Shared("t".to_owned()));
        assert!(
            shared.contains("href=\"/r/t/report.json\"") && shared.contains("href=\"/r/t/offline.html\""),
            "{shared}"
        );
        let file = html(&shown, &Place::Offline);
        assert!(!file.contains("report.json\"") && !file.contains("href=\"/"), "a file links nothing outside: {file}");
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn overlap_is_told_or_said_to_be_not_measured() {
        let mut shown = page(1);
        assert!(html(&shown, &Place::Offline).contains("not measured"));
        shown.report.overlap = Some(spec::Overlap { responses: 30, equal: 2, near: Some(3) });
        assert!(html(&shown, &Place::Offline).contains("2 of 30 corpus responses"));
    }
}
