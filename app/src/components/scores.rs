//! The figures of generated instructions, always beside those of people's own and beside the floor.

use leptos::prelude::*;

use super::facts::counts;
use super::format::{counted, figure, percent, whole};
use spec::{Count, ScoreSummary, Tag, TextFigures};

/// What each failure tag says, in one sentence.
pub fn tag_meaning(tag: Tag) -> &'static str {
    match tag {
        Tag::TemplateLeak => "contains words of the template, such as its headings",
        Tag::Echo => "repeats the response or the prompt in place of asking for it",
        Tag::Copied => "has a run of at least 8 words copied from the response",
        Tag::NotAnInstruction => "reads neither as a question nor as a request",
        Tag::Empty => "contains no word",
        Tag::NoEnd => "was cut off at the max new tokens",
        Tag::Loop => "repeats itself",
    }
}

struct Row {
    name: &'static str,
    how: &'static str,
    show: fn(&TextFigures) -> String,
}

const ROWS: [Row; 6] = [
    Row { name: "Words, median", how: "half of the instructions have fewer words", show: |of| figure(of.median_words) },
    Row {
        name: "Copied",
        how: "share with 8 or more words in a row taken from the response",
        show: |of| percent(of.copied),
    },
    Row {
        name: "Coverage",
        how: "share of an instruction's words that stand in fragments of its response, mean",
        show: |of| percent(of.coverage),
    },
    Row {
        name: "Density",
        how: "squared length of those fragments over the instruction's words, mean, in words",
        show: |of| figure(of.density),
    },
    Row {
        name: "Distinct words",
        how: "different words over all words of all instructions together",
        show: |of| percent(of.distinct_1),
    },
    Row {
        name: "Distinct word pairs",
        how: "different neighbouring words over all of them",
        show: |of| percent(of.distinct_2),
    },
];

pub fn score_tables(scores: &ScoreSummary) -> AnyView {
    let reference = scores.reference.clone();
    let has_reference = reference.is_some();
    let rows = ROWS
        .iter()
        .map(|row| {
            let of_people = reference.as_ref().map(row.show);
            view! {
                <tr>
                    <th scope="row">{row.name} <span class="note">{row.how}</span></th>
                    <td class="number">{(row.show)(&scores.generated)}</td>
                    {of_people.map(|value| view! { <td class="number">{value}</td> })}
                    {has_reference.then(|| view! { <td class="number none">"–"</td> })}
                </tr>
            }
        })
        .collect_view();
    let similarity = scores.rouge_l.map(|rouge| {
        let floor = scores.rouge_l_shuffled.map_or_else(|| "–".to_owned(), figure);
        view! {
            <tr>
                <th scope="row">
                    "ROUGE-L"
                    <span class="note">"F1 of the longest common word sequence with the person's instruction, 0 to 1, mean"</span>
                </th>
                <td class="number">{figure(rouge)}</td>
                <td class="number">"1"</td>
                <td class="number">{floor}</td>
            </tr>
        }
    });
    let sentence = sentence(scores);
    view! {
        <div class="scores">
            <p>{sentence}</p>
            <div class="scroll" tabindex="0" role="region" aria-label="Figures of the generated instructions">
                <table>
                    <caption>{format!("{} scored, {} with a person's own instruction", counted(scores.pairs, "pair"), whole(scores.with_reference))}</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Figure"</th>
                            <th scope="col" class="number">"Generated"</th>
                            {has_reference.then(|| view! { <th scope="col" class="number">"People's"</th> })}
                            {has_reference.then(|| view! { <th scope="col" class="number">"Floor"</th> })}
                        </tr>
                    </thead>
                    <tbody>{similarity}{rows}</tbody>
                </table>
            </div>
            {has_reference.then(|| view! {
                <p class="note">
                    "The floor compares each generated instruction with another response's instruction: what is not clearly above it means nothing."
                </p>
            })}
            {tags(scores)}
        </div>
    }
    .into_any()
}

/// How good it is, as far as one sentence can tell.
fn sentence(scores: &ScoreSummary) -> String {
    if scores.pairs == 0 {
        return "Nothing was generated.".to_owned();
    }
    let clean = format!("{} of {} carry no failure tag", whole(scores.without_tags), counted(scores.pairs, "pair"));
    match (scores.rouge_l, scores.rouge_l_shuffled) {
        (Some(rouge), Some(floor)) => {
            format!("{clean}; ROUGE-L is {} over a floor of {}.", figure(rouge), figure(floor))
        }
        (Some(rouge), None) => format!("{clean}; ROUGE-L is {}.", figure(rouge)),
        _ => format!("{clean}. The corpus holds no instructions of people to compare with."),
    }
}

fn tags(scores: &ScoreSummary) -> AnyView {
    let found = scores.tags.iter().filter(|tag| tag.count > 0).copied().collect::<Vec<_>>();
    if found.is_empty() {
        return view! { <p>"No failure tag was given."</p> }.into_any();
    }
    let meanings = found
        .iter()
        .map(|tag| {
            view! { <div><dt>{tag.tag.label()}</dt><dd>{tag_meaning(tag.tag)}</dd></div> }
        })
        .collect_view();
    view! {
        {counts("Failure tags", "Tag", found.into_iter().map(|tag| Count { name: tag.tag.label().to_owned(), count: tag.count }).collect())}
        <details><summary>"What the tags mean"</summary><dl class="meanings">{meanings}</dl></details>
    }
    .into_any()
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;
    use spec::TagCount;

    #[test]
    fn the_floor_stands_beside_the_figure_and_unused_tags_do_not_show() {
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
        assert_eq!(sentence(&scores), "27 of 30 pairs carry no failure tag; ROUGE-L is 0.250 over a floor of 0.110.");
        let html = score_tables(&scores).to_html();
        assert!(html.contains("0.110") && html.contains("hit token limit") && !html.contains("repetition"), "{html}");
    }

    #[test]
    fn without_references_there_is_no_empty_column() {
        let html = score_tables(&ScoreSummary { pairs: 1, ..ScoreSummary::default() }).to_html();
        assert!(!html.contains("Floor") && !html.contains("People"), "{html}");
    }
}
