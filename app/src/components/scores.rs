//! The metrics of generated instructions, beside those of the human references and the shuffled baseline.

use leptos::prelude::*;

use super::base_model::{base_model, with_interval};
use super::facts::counts;
use super::format::{counted, figure, percent, whole};
use super::table::figures_table;
use spec::{Count, LengthBand, Mean, NearDuplicates, ScoreSummary, SourceSummary, Tag, TextFigures};

/// What each failure tag says, in one sentence.
pub fn tag_meaning(tag: Tag) -> &'static str {
    match tag {
        Tag::TemplateLeak => "contains text of the template, such as its headings",
        Tag::Echo => "repeats the response or the prompt instead of asking for it",
        Tag::Copied => "has 8 or more words in a row copied from the response",
        Tag::NotAnInstruction => "reads neither as a question nor as a request",
        Tag::Empty => "contains no word",
        Tag::NoEnd => "was cut off at max new tokens",
        Tag::Loop => "repeats itself",
    }
}

struct Row {
    name: &'static str,
    how: &'static str,
    show: fn(&TextFigures) -> String,
}

const ROWS: [Row; 6] = [
    Row { name: "Median words", how: "per instruction", show: |of| figure(of.median_words) },
    Row {
        name: "Copied ≥ 8-gram",
        how: "share with 8 or more words in a row copied from the response",
        show: |of| percent(of.copied),
    },
    Row {
        name: "Extractive coverage",
        how: "share of an instruction's words in fragments copied from its response, mean (Grusky et al., 2018)",
        show: |of| percent(of.coverage),
    },
    Row {
        name: "Extractive density",
        how: "squared length of those fragments over the instruction's words, mean (Grusky et al., 2018)",
        show: |of| figure(of.density),
    },
    Row {
        name: "Distinct-1",
        how: "different words over all words of all instructions together",
        show: |of| percent(of.distinct_1),
    },
    Row {
        name: "Distinct-2",
        how: "different word pairs over all word pairs of all instructions together",
        show: |of| percent(of.distinct_2),
    },
];

pub fn score_tables(scores: &ScoreSummary) -> AnyView {
    let reference = scores.reference.clone();
    let has_reference = reference.is_some();
    let rows = ROWS
        .iter()
        .map(|row| {
            let human = reference.as_ref().map(row.show);
            view! {
                <tr>
                    <th scope="row">{row.name} <span class="note">{row.how}</span></th>
                    <td class="number">{(row.show)(&scores.generated)}</td>
                    {human.map(|value| view! { <td class="number">{value}</td> })}
                    {has_reference.then(|| view! { <td class="number none">"–"</td> })}
                </tr>
            }
        })
        .collect_view();
    let similarity = scores.rouge_l.map(|rouge| {
        let baseline = scores.rouge_l_shuffled.map_or_else(|| "–".to_owned(), figure);
        view! {
            <tr>
                <th scope="row">
                    "ROUGE-L"
                    <span class="note">"F1 against the human reference, 0 to 1, mean"</span>
                </th>
                <td class="number">{figure(rouge)}</td>
                <td class="number">"1"</td>
                <td class="number">{baseline}</td>
            </tr>
        }
    });
    const HEADS: [&str; 4] = ["Metric", "Generated", "Human reference", "Shuffled baseline"];
    let heads = if has_reference { &HEADS[..] } else { &HEADS[..2] };
    let sentence = sentence(scores);
    let caption =
        format!("{} scored, {} with a human reference", counted(scores.pairs, "pair"), whole(scores.with_reference));
    view! {
        <div class="scores">
            <p>{sentence}</p>
            {(scores.pairs > 0).then(|| view! { <p class="note">{CAVEAT}</p> })}
            {figures_table("Metrics of the generated instructions", caption, heads, view! { {similarity}{rows} }.into_any())}
            {has_reference.then(|| view! {
                <p class="note">
                    "The shuffled baseline compares each generated instruction with the reference of another response: "
                    "a value that is not clearly above it means nothing."
                </p>
            })}
            {scores.length_band.map(|band| view! { <p>{length_band(&band)}</p> })}
            {by_source(&scores.sources)}
            {scores.near_duplicates.map(|near| view! { <p>{near_duplicates(&near, scores.pairs)}</p> })}
            {tags(scores)}
            {base_model(scores)}
        </div>
    }
    .into_any()
}

fn length_band(band: &LengthBand) -> String {
    format!(
        "Length: {} of the instructions are within {} to {} words, as nine tenths of the human references are.",
        with_interval(&band.inside, percent),
        band.low,
        band.high
    )
}

fn by_source(sources: &[SourceSummary]) -> Option<AnyView> {
    if sources.is_empty() {
        return None;
    }
    let rows = sources
        .iter()
        .map(|source| {
            let name = if source.name.is_empty() { "(no source)".to_owned() } else { source.name.clone() };
            let optional =
                |mean: Option<Mean>| mean.map_or_else(|| "–".to_owned(), |mean| with_interval(&mean, figure));
            view! {
                <tr>
                    <th scope="row">{name}</th>
                    <td class="number">{whole(source.pairs)}</td>
                    <td class="number">{with_interval(&source.without_tags, percent)}</td>
                    <td class="number">{optional(source.rouge_l)}</td>
                    <td class="number">{optional(source.cycle)}</td>
                    <td class="number">{optional(source.pmi)}</td>
                </tr>
            }
        })
        .collect_view();
    let caption = "By source, as the rows of the corpus name it (95 % intervals in brackets)".to_owned();
    let heads = ["Source", "Pairs", "Without failure tags", "ROUGE-L", "Cycle score", "PMI"];
    Some(figures_table("Metrics by source", caption, &heads, rows.into_any()))
}

fn near_duplicates(near: &NearDuplicates, pairs: u64) -> String {
    let NearDuplicates { instructions, responses } = near;
    format!(
        "Near-duplicates of an earlier pair (MinHash): {} of {} and {} of the responses.",
        whole(*instructions),
        counted(pairs, "instruction"),
        whole(*responses)
    )
}

/// How good it is, as far as one sentence can tell.
fn sentence(scores: &ScoreSummary) -> String {
    if scores.pairs == 0 {
        return "Nothing was generated.".to_owned();
    }
    let have = if scores.pairs == 1 { "has" } else { "have" };
    let clean = format!("{} of {} {have} no failure tag", whole(scores.without_tags), counted(scores.pairs, "pair"));
    match (scores.rouge_l, scores.rouge_l_shuffled) {
        (Some(rouge), Some(baseline)) => {
            format!("{clean}; ROUGE-L {} (shuffled baseline {}).", figure(rouge), figure(baseline))
        }
        (Some(rouge), None) => format!("{clean}; ROUGE-L {}.", figure(rouge)),
        _ => format!("{clean}. The corpus has no human references to compare with."),
    }
}

/// What the numbers cannot tell.
const CAVEAT: &str = "Failure tags and ROUGE-L find formal faults, not wrong content: an instruction without a tag may \
                      still not fit its response. Read some pairs before you use them.";

fn tags(scores: &ScoreSummary) -> AnyView {
    let found = scores.tags.iter().filter(|tag| tag.count > 0).copied().collect::<Vec<_>>();
    if found.is_empty() {
        return ().into_any();
    }
    let meanings = found
        .iter()
        .map(|tag| {
            view! { <div><dt>{tag.tag.label()}</dt><dd>{tag_meaning(tag.tag)}</dd></div> }
        })
        .collect_view();
    let named = found.iter().map(|tag| Count { name: tag.tag.label().to_owned(), count: tag.count }).collect();
    view! {
        {counts("Failure tags", "Failure tag", named, scores.pairs)}
        <details><summary>"What the tags mean"</summary><dl class="meanings">{meanings}</dl></details>
    }
    .into_any()
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;
    use spec::TagCount;

    #[test]
    fn the_baseline_is_beside_the_metric_and_unused_tags_do_not_show() {
        let scores = ScoreSummary {
            pairs: 30,
            with_reference: 30,
            reference: Some(TextFigures::default()),
            rouge_l: Some(0.25),
            rouge_l_shuffled: Some(0.11),
            tags: vec![TagCount { tag: Tag::NoEnd, count: 3 }, TagCount { tag: Tag::Loop, count: 0 }],
            without_tags: 27,
            ..ScoreSummary::default()
        };
        assert_eq!(sentence(&scores), "27 of 30 pairs have no failure tag; ROUGE-L 0.250 (shuffled baseline 0.110).");
        let html = score_tables(&scores).to_html();
        assert!(html.contains("0.110") && html.contains("hit token limit") && !html.contains("repetition"), "{html}");
    }

    #[test]
    fn sources_have_a_row_each_and_hostile_names_stay_text() {
        let source = |name: &str| SourceSummary { name: name.to_owned(), pairs: 2, ..SourceSummary::default() };
        let scores = ScoreSummary { pairs: 4, sources: vec![source("<b>web"), source("")], ..ScoreSummary::default() };
        let html = score_tables(&scores).to_html();
        assert!(html.contains("&lt;b&gt;web") && html.contains("(no source)") && !html.contains("<b>"), "{html}");
    }

    #[test]
    fn without_references_there_is_no_empty_column() {
        let html = score_tables(&ScoreSummary { pairs: 1, ..ScoreSummary::default() }).to_html();
        assert!(!html.contains("Shuffled baseline<") && !html.contains("Human reference<"), "{html}");
        assert!(html.contains("not wrong content"), "the caveat is there: {html}");
    }
}
