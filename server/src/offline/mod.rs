//! A report as one HTML file that needs no server: the page's own components, rendered with all pairs, with the style
//! sheet and one small script inside. Its policy lets nothing else run and nothing be loaded.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use spec::{AppError, Examples, Report, ReportPage};

use crate::service::examples::choose;
use crate::store::Ranked;
use crate::work::report::REPORT;

const STYLE: &str = include_str!("../../../style/main.css");
/// Filters, sorts and searches the pairs, and opens the one that the address names.
const SCRIPT: &str = include_str!("report.js");

/// The frozen report of a run, as it is in the run's folder; its bytes are what was written.
pub fn read(folder: &Path) -> Result<Vec<u8>, AppError> {
    let path = folder.join(REPORT);
    std::fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => AppError::not_found(
            format!("There is no report at {}.", path.display()),
            "Name the run of a Report cell that is done, and its data folder.",
        ),
        _ => AppError::io(format!("{} cannot be read: {error}.", path.display()), "Check who may read it."),
    })
}

pub fn parse(bytes: &[u8]) -> Result<Report, AppError> {
    serde_json::from_slice(bytes).map_err(|error| {
        AppError::corrupt(format!("The report cannot be read: {error}."), "Run its Report cell again.")
    })
}

/// The whole report on one page, with what is not stored in it.
pub fn whole(mut report: Report) -> ReportPage {
    fill_interval(&mut report, |report| report.pairs.iter().filter_map(|pair| pair.scores.rouge_l).collect());
    let ranked: Vec<Ranked> = report.pairs.iter().map(Ranked::of).collect();
    let chosen = choose(&ranked, report.curate.as_ref().map(|curate| &curate.config));
    let pair = |at: Option<usize>| at.and_then(|at| report.pairs.get(at).cloned());
    let examples = Examples {
        by_rouge: chosen.by_rouge,
        best: pair(chosen.best),
        median: pair(chosen.median),
        worst: pair(chosen.worst),
    };
    let pairs = report.pairs.len() as u64;
    ReportPage { report, pairs, matching: pairs, offset: 0, experiment: None, examples }
}

/// Reports of earlier versions have no interval.
pub fn fill_interval(report: &mut Report, rouge: impl FnOnce(&Report) -> Vec<f64>) {
    if report.scores.rouge_l_interval.is_none() && report.scores.rouge_l.is_some() {
        report.scores.rouge_l_interval = engine::score::rouge_l_interval(&rouge(report));
    }
}

/// The file.
pub fn html(report: Report) -> String {
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; \
         form-action 'none'",
        STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()))
    );
    app::offline_report(&whole(report), STYLE, SCRIPT, policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_style_nor_script_ends_its_element_or_names_an_address() {
        for text in [STYLE, SCRIPT] {
            for part in ["</", "<!", "url(", "@import", "http:", "https:", "fetch(", "innerHTML"] {
                assert!(!text.contains(part), "{part}");
            }
        }
    }
}
