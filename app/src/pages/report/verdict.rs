//! The verdict: how many pairs are kept and who decided it, the figures that matter, and what they cannot tell.

use leptos::prelude::*;

use crate::components::format::{counted, figure, percent, whole};
use spec::{CuratedReport, LikelihoodSummary, MeansPerText, RatedText, Report, ScoreSummary};

/// With fewer references than this the interval is too wide to tell much.
const FEW: u64 = 50;

const LIMIT: &str = "Failure tags find formal faults, not wrong content: read some pairs before you use them.";

pub fn verdict(report: &Report, pairs: u64) -> AnyView {
    let scores = &report.scores;
    let mut figures = Vec::new();
    if let Some(CuratedReport { output, .. }) = &report.curate {
        let counts = output.counts;
        figures.push(("Kept", whole(output.kept), format!("of {}", counted(counts.pairs, "pair"))));
        let by_settings = whole(output.dropped_by_settings);
        let dropped = counts.pairs.saturating_sub(output.kept);
        figures.push(("Dropped", whole(dropped), format!("{by_settings} of them by settings")));
        figures.push(("Undecided", whole(counts.undecided()), "settings apply to them".to_owned()));
    } else {
        figures.push(("Undecided", whole(pairs), "all pairs".to_owned()));
    }
    if scores.pairs > 0 {
        let share = scores.without_tags as f64 / scores.pairs as f64;
        let of = format!("{} of {}", whole(scores.without_tags), whole(scores.pairs));
        figures.push(("Without failure tags", percent(share), of));
    }
    if let Some(rouge) = scores.rouge_l {
        let interval = scores
            .rouge_l_interval
            .map_or_else(String::new, |of| format!("95 % interval {} to {}", figure(of.low), figure(of.high)));
        figures.push(("ROUGE-L", figure(rouge), interval));
    }
    if let Some(baseline) = scores.rouge_l_shuffled {
        figures.push(("Shuffled baseline", figure(baseline), "ROUGE-L against other references".to_owned()));
    }
    if let Some(base) = scores.baseline.as_ref().and_then(|summary| summary.baseline.rouge_l) {
        figures.push(("Base model", figure(base.mean), "ROUGE-L without the adapter".to_owned()));
    }
    if let Some(likelihood) = &scores.likelihood {
        let chance = format!("own response found among {}", whole(likelihood.ranked));
        figures.push(("Pick-out rate", percent(likelihood.picked_out.generated.mean), chance));
    }
    if let Some(ratings) = &report.ratings {
        for means in &ratings.texts {
            let by = format!("{}, rated blind: grade 4 or 5", counted(means.rated, "text"));
            figures.push((relevant(means.text), percent(means.relevant.mean), by));
        }
    }
    let figures = figures
        .into_iter()
        .map(|(name, value, note)| {
            view! { <div><dt>{name}</dt><dd>{value} " " <span class="note">{note}</span></dd></div> }
        })
        .collect_view();
    let nobody = report.ratings.is_none().then(|| "Nobody rated these pairs blind.".to_owned());
    let limits = limits(scores).into_iter().chain(nobody).map(|limit| view! { <li>{limit}</li> }).collect_view();
    view! {
        <section class="verdict" aria-labelledby="verdict">
            <h2 id="verdict">"Verdict"</h2>
            <p><strong>{decided(report)}</strong></p>
            <dl class="facts">{figures}</dl>
            <ul>{limits}</ul>
        </section>
    }
    .into_any()
}

fn relevant(text: RatedText) -> &'static str {
    match text {
        RatedText::Generated => "Relevant, by people",
        RatedText::Baseline => "Relevant, base model",
        RatedText::Reference => "Relevant, reference",
    }
}

/// How many pairs are kept, and by whom.
pub fn decided(report: &Report) -> String {
    const NOBODY: &str = "Nobody has decided on these pairs.";
    let Some(CuratedReport { output, .. }) = &report.curate else { return NOBODY.to_owned() };
    let (counts, kept) = (output.counts, output.kept);
    let dropped = counts.pairs.saturating_sub(kept);
    let outcome = format!("{} kept and {} dropped", whole(kept), whole(dropped));
    let decisions = counts.keep + counts.drop;
    if decisions == 0 {
        return format!("{NOBODY} By settings, {outcome} of {}.", counted(counts.pairs, "pair"));
    }
    let by_person = format!("A person decided on {} of {}", whole(decisions), counted(counts.pairs, "pair"));
    match counts.undecided() {
        0 => format!("{by_person}: {outcome}."),
        undecided => format!("{by_person}, settings on the other {}: {outcome}.", whole(undecided)),
    }
}

/// `27 of 30 pairs have no failure tag.`
pub fn untagged(scores: &ScoreSummary) -> String {
    if scores.pairs == 0 {
        return "Nothing was scored.".to_owned();
    }
    let have = if scores.without_tags == 1 { "has" } else { "have" };
    format!("{} of {} {have} no failure tag.", whole(scores.without_tags), counted(scores.pairs, "pair"))
}

/// What the figures mean, and what they cannot tell.
fn limits(scores: &ScoreSummary) -> Vec<String> {
    let mut limits = vec![LIMIT.to_owned()];
    if scores.baseline.is_none() {
        limits.push("What the base model writes without the adapter was not measured.".to_owned());
    }
    if let Some(LikelihoodSummary { pmi: MeansPerText { generated, shuffled: Some(shuffled), .. }, .. }) =
        scores.likelihood.as_deref()
    {
        let clear = generated.interval.zip(shuffled.interval).is_some_and(|(own, other)| own.low > other.high);
        limits.push(if clear {
            "By the base model's likelihoods the instructions fit their own responses better than others (PMI). That \
             rewards words taken from the response, and it does not tell whether the response is right."
                .to_owned()
        } else {
            "By the base model's likelihoods the instructions do not clearly fit their own responses better than others \
             (PMI)."
                .to_owned()
        });
    }
    if scores.rouge_l.is_none() {
        limits.push(
            "The corpus has no human references: ROUGE-L, which compares with them, was not measured.".to_owned(),
        );
        return limits;
    }
    match (is_above(scores), scores.rouge_l_gain_interval) {
        (Some(true), Some(gain)) => limits.push(format!(
            "The instructions share more words with the reference of their own response than with that of another: by {} \
             to {} (95 % interval).",
            figure(gain.low),
            figure(gain.high)
        )),
        (Some(true), None) => limits.push("ROUGE-L is above the shuffled baseline.".to_owned()),
        (Some(false), _) => limits.push(
            "ROUGE-L is not clearly above the shuffled baseline: it is no sign that the instructions fit their responses."
                .to_owned(),
        ),
        (None, _) => {}
    }
    if scores.with_reference < FEW {
        limits.push(format!(
            "Only {} {} a human reference: the ROUGE-L figure is uncertain.",
            counted(scores.with_reference, "pair"),
            if scores.with_reference == 1 { "has" } else { "have" }
        ));
    }
    limits
}

/// Whether ROUGE-L is above its baseline beyond chance. None: not known.
fn is_above(scores: &ScoreSummary) -> Option<bool> {
    match (scores.rouge_l_gain_interval, scores.rouge_l_interval, scores.rouge_l_shuffled) {
        (Some(gain), _, _) => Some(gain.low > 0.0),
        (None, Some(own), Some(baseline)) => Some(own.low > baseline),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{CurateConfig, CurateOutput, CurationCounts, Interval};

    fn scores(with_reference: u64, gain: (f64, f64)) -> ScoreSummary {
        ScoreSummary {
            pairs: 60,
            with_reference,
            without_tags: 54,
            rouge_l: Some(0.19),
            rouge_l_shuffled: Some(0.09),
            rouge_l_interval: Some(Interval { low: 0.15, high: 0.23 }),
            rouge_l_gain_interval: Some(Interval { low: gain.0, high: gain.1 }),
            ..ScoreSummary::default()
        }
    }

    #[test]
    fn a_few_references_make_the_figure_uncertain_and_many_do_not() {
        let few = limits(&scores(49, (0.05, 0.15)));
        assert!(few.iter().any(|limit| limit.contains("Only 49 pairs have") && limit.contains("uncertain")), "{few:?}");
        let many = limits(&scores(50, (0.05, 0.15)));
        assert!(!many.iter().any(|limit| limit.contains("uncertain")), "{many:?}");
        assert!(many.iter().any(|limit| limit.contains("by 0.050 to 0.150")), "{many:?}");
        assert_eq!(many[0], LIMIT);
    }

    #[test]
    fn what_is_not_above_the_baseline_is_called_so() {
        let chance = limits(&scores(60, (-0.01, 0.15)));
        assert!(chance.iter().any(|limit| limit.contains("not clearly above")), "{chance:?}");
        // Of an earlier version: only the interval of ROUGE-L itself is known.
        let own = |low| ScoreSummary {
            rouge_l_gain_interval: None,
            rouge_l_interval: Some(Interval { low, high: 0.3 }),
            ..scores(60, (0.0, 0.0))
        };
        assert_eq!((is_above(&own(0.08)), is_above(&own(0.1))), (Some(false), Some(true)));
        let none = limits(&ScoreSummary { pairs: 3, ..ScoreSummary::default() });
        assert!(none.len() == 3 && none[2].contains("no human references"), "{none:?}");
    }

    #[test]
    fn the_first_sentence_says_who_decided() {
        let mut report = super::super::document::tests::report(3);
        assert_eq!(decided(&report), "Nobody has decided on these pairs.");
        let mut curated = |keep, drop, kept| {
            report.curate = Some(CuratedReport {
                config: CurateConfig::default(),
                output: CurateOutput {
                    counts: CurationCounts { pairs: 3, keep, drop, edited: 0 },
                    kept,
                    dropped_by_settings: 3 - drop - kept,
                    ..CurateOutput::default()
                },
            });
            decided(&report)
        };
        assert_eq!(
            curated(0, 0, 2),
            "Nobody has decided on these pairs. By settings, 2 kept and 1 dropped of 3 pairs."
        );
        assert_eq!(curated(1, 2, 1), "A person decided on 3 of 3 pairs: 1 kept and 2 dropped.");
        assert_eq!(
            curated(1, 1, 2),
            "A person decided on 2 of 3 pairs, settings on the other 1: 2 kept and 1 dropped."
        );
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn the_box_has_the_share_the_interval_and_the_baseline() {
        let mut report = super::super::document::tests::report(3);
        report.scores = scores(49, (0.05, 0.15));
        let html = verdict(&report, 3).to_html();
        for part in ["90.0 %", "54 of 60", "0.190", "95 % interval 0.150 to 0.230", "0.090", "not wrong content"] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }
}
