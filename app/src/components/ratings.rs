//! What people graded blind, how far they agree, and which metrics agree with them.

use leptos::prelude::*;

use super::base_model::with_interval;
use super::format::{counted, figure, percent, whole};
use super::table::figures_table;
use spec::{Criterion, RatingSummary};

pub fn rating_tables(ratings: &RatingSummary) -> AnyView {
    let texts = ratings.texts.iter().map(|means| means.text.label());
    let heads: Vec<&'static str> = std::iter::once("Criterion").chain(texts).chain(["Agreement"]).collect();
    let rated = ratings.texts.iter().map(|means| view! { <td class="number">{whole(means.rated)}</td> }).collect_view();
    let relevant = ratings
        .texts
        .iter()
        .map(|means| view! { <td class="number">{with_interval(&means.relevant, percent)}</td> })
        .collect_view();
    let rows = Criterion::ALL
        .iter()
        .enumerate()
        .map(|(at, criterion)| {
            let cells = ratings
                .texts
                .iter()
                .map(|means| means.means[at].map_or_else(|| "–".to_owned(), |mean| with_interval(&mean, figure)))
                .map(|cell| view! { <td class="number">{cell}</td> })
                .collect_view();
            let agreement = ratings.agreement[at].map_or_else(|| "–".to_owned(), figure);
            view! {
                <tr>
                    <th scope="row">{criterion.label()} " " <span class="note">{spec::question(*criterion)}</span></th>
                    {cells}
                    <td class="number">{agreement}</td>
                </tr>
            }
        })
        .collect_view();
    let caption = format!(
        "Grades from 1 to 5, means with 95 % intervals; {} by {}",
        counted(ratings.rated, "text"),
        counted(ratings.raters, "rater")
    );
    let rows = view! {
        {rows}
        <tr>
            <th scope="row">"Relevant " <span class="note">"share with a relevance of 4 or more"</span></th>
            {relevant}
            <td class="number none">"–"</td>
        </tr>
        <tr><th scope="row">"Texts rated"</th> {rated} <td class="number none">"–"</td></tr>
    }
    .into_any();
    view! {
        {figures_table("Ratings", caption, &heads, rows)}
        <p class="note">
            "Raters did not see who wrote a text. Agreement is Krippendorff's alpha between raters: 1 is perfect, 0 is chance; \
             it needs texts that two people graded."
        </p>
        {correlations(ratings)}
    }
    .into_any()
}

fn correlations(ratings: &RatingSummary) -> Option<AnyView> {
    if ratings.correlations.is_empty() {
        return None;
    }
    let rows = ratings
        .correlations
        .iter()
        .map(|of| {
            let class = if of.is_clear() { "" } else { "unclear" };
            let says = if of.is_clear() { "" } else { "not clearly different from 0" };
            view! {
                <tr class=class>
                    <th scope="row">{of.metric.clone()}</th>
                    <td class="number">{with_interval(&of.correlation, figure)}</td>
                    <td class="number">{whole(of.pairs)}</td>
                    <td>{says}</td>
                </tr>
            }
        })
        .collect_view();
    let caption = "Which metric agrees with the raters: rank correlation with the relevance of generated instructions";
    let heads = ["Metric", "Spearman's ρ [95 %]", "Pairs", ""];
    Some(figures_table("Which metric agrees with the raters", caption.to_owned(), &heads, rows.into_any()))
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;
    use spec::{Interval, Mean, MetricCorrelation, RatedMeans, RatedText};

    #[test]
    fn a_correlation_whose_interval_includes_zero_is_greyed_and_says_so() {
        let with = |low| {
            let correlation = Mean { mean: 0.4, interval: Some(Interval { low, high: 0.7 }) };
            let summary = RatingSummary {
                raters: 1,
                rated: 3,
                texts: vec![RatedMeans {
                    text: RatedText::Generated,
                    rated: 3,
                    means: [None; 4],
                    relevant: Mean { mean: 0.25, interval: None },
                }],
                agreement: [None; 4],
                correlations: vec![MetricCorrelation { metric: "PMI".to_owned(), pairs: 30, correlation }],
            };
            rating_tables(&summary).to_html()
        };
        assert!(with(-0.1).contains("class=\"unclear\"") && with(-0.1).contains("not clearly"));
        assert!(!with(0.1).contains("unclear") && with(0.1).contains("1 rater"));
    }
}
