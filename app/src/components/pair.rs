//! One generated pair: texts, scores, tags explained, and what was copied from the response.

use std::ops::Range;

use leptos::prelude::*;

use super::diff::word_diff;
use super::format::{counted, excerpt, figure, percent, whole};
use super::scores::tag_meaning;
use spec::{Candidate, GeneratedPair, PairLikelihood, PairScores, PerText};

/// A copied run shorter than this is chance.
const SHORTEST_RUN: usize = 4;
/// Longer responses are not searched for copies: the comparison would be felt in the page.
const MOST_WORDS: usize = 2_000;

/// A row of a table with two columns; the pair's parts unfold in it.
fn pair_row(pair: &GeneratedPair) -> AnyView {
    let index = pair.index;
    let tags = pair
        .scores
        .tags
        .iter()
        .map(|tag| view! { <span class="tag" title=tag_meaning(*tag)>{tag.label()}</span> " " })
        .collect_view();
    let text = pair.instruction();
    let line = if text.trim().is_empty() { "(empty)".to_owned() } else { excerpt(text, 160) };
    let rouge = pair.scores.rouge_l.map(figure).unwrap_or_else(|| "–".to_owned());
    view! {
        <tr data-pair=index>
            <td class="number">{whole(pair.source_row())}</td>
            <td>
                <details class="pair">
                    <summary>{line} " " {tags}</summary>
                    {pair_body(pair)}
                </details>
            </td>
            <td class="number">{rouge}</td>
        </tr>
    }
    .into_any()
}

/// What is known of a pair beside its texts: tokens, scores, source, and what its tags mean.
pub fn pair_facts(pair: &GeneratedPair) -> AnyView {
    let meanings = pair
        .scores
        .tags
        .iter()
        .map(|tag| view! { <li><strong>{tag.label()}</strong> ": the instruction " {tag_meaning(*tag)} "."</li> })
        .collect_view();
    let cut = (pair.response_tokens_cut > 0).then(|| {
        format!(
            " The prompt was too long: {} of the response left out.",
            counted(u64::from(pair.response_tokens_cut), "token")
        )
    });
    let end = if pair.ended { "ended by EOS" } else { "cut off at max new tokens" };
    let tokens = format!("{}, {end}. ", counted(u64::from(pair.tokens), "token"));
    view! {
        <p class="note">{tokens}{score_line(&pair.scores)}{cut}</p>
        {pair.likelihood.as_deref().map(|likelihood| view! { <p class="note">{likelihood_line(likelihood)}</p> })}
        {near_duplicates(pair)}
        {source(pair)}
        <ul class="meanings">{meanings}</ul>
    }
    .into_any()
}

/// Which earlier pair it nearly repeats.
fn near_duplicates(pair: &GeneratedPair) -> AnyView {
    [("instruction", pair.instruction_duplicate_of), ("response", pair.response_duplicate_of)]
        .into_iter()
        .filter_map(|(what, row)| Some(format!("Nearly the same {what} as row {}.", whole(row?))))
        .map(|text| view! { <p class="note">{text}</p> })
        .collect_view()
        .into_any()
}

/// What the base model without the adapter generated for the same response.
pub fn baseline(pair: &GeneratedPair) -> AnyView {
    let text = pair.baseline.clone().map(shown);
    text.map(
        |text| view! { <div><dt>"Instruction, base model without the adapter"</dt><dd class="text">{text}</dd></div> },
    )
    .into_any()
}

/// An empty text is shown as such.
pub fn shown(text: String) -> String {
    if text.trim().is_empty() { "(empty)".to_owned() } else { text }
}

/// What a candidate is ranked by, in words.
pub fn candidate_note(candidate: &Candidate) -> String {
    let tags: Vec<&str> = candidate.tags.iter().map(|tag| tag.label()).collect();
    let tags = if tags.is_empty() { String::new() } else { format!(", {}", tags.join(", ")) };
    format!("rank score {}{tags}", figure(candidate.rank_score))
}

/// The candidates that ranked lower, folded up.
pub fn candidates(pair: &GeneratedPair) -> Option<AnyView> {
    let (first, others) = pair.candidates.split_first()?;
    let items = others
        .iter()
        .map(|candidate| {
            let text = word_diff(&first.text, &candidate.text).1;
            view! { <li><span class="text">{text}</span> " " <span class="note">{candidate_note(candidate)}</span></li> }
        })
        .collect_view();
    let title = format!("{} ranked lower", counted(others.len() as u64, "candidate"));
    let note = format!("The generated instruction: {}. Words that it does not have are marked.", candidate_note(first));
    Some(view! { <details><summary>{title}</summary><p class="note">{note}</p><ol class="candidates">{items}</ol></details> }.into_any())
}

/// An instruction and its response, with what both have in common marked; a mark has the number of its counterpart.
pub fn marked_texts(instruction: &str, response: &str) -> (AnyView, AnyView) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (number, (of_instruction, of_response)) in copied(instruction, response).into_iter().enumerate() {
        ours.push((Some(number), of_instruction));
        theirs.push((Some(number), of_response));
    }
    (with_marks(instruction, ours), with_marks(response, theirs))
}

pub fn pair_table(pairs: &[GeneratedPair], caption: String) -> AnyView {
    let rows = pairs.iter().map(pair_row).collect_view();
    view! {
        <table class="pairs">
            <caption>{caption}</caption>
            <thead>
                <tr>
                    <th scope="col" class="number">"Row"</th>
                    <th scope="col">"Generated instruction"</th>
                    <th scope="col" class="number">"ROUGE-L"</th>
                </tr>
            </thead>
            <tbody>{rows}</tbody>
        </table>
    }
    .into_any()
}

fn pair_body(pair: &GeneratedPair) -> AnyView {
    let (generated, response) = marked_texts(&pair.generated, &pair.response);
    let edited = pair.curation.as_ref().and_then(|curation| curation.instruction.clone()).map(|edited| {
        view! { <div><dt>"Instruction, edited"</dt><dd class="text">{edited}</dd></div> }
    });
    let reference = pair.reference.clone().map(|reference| {
        view! { <div><dt>"Instruction, human reference"</dt><dd class="text">{reference}</dd></div> }
    });
    view! {
        <dl class="texts">
            {edited}
            <div><dt>"Instruction, generated"</dt><dd class="text">{generated}</dd></div>
            {reference}
            {baseline(pair)}
            <div><dt>"Response"</dt><dd class="text">{response}</dd></div>
        </dl>
        {candidates(pair)}
        {pair_facts(pair)}
    }
    .into_any()
}

/// `Base model: cycle score 0.120 (reference 0.150, shuffled -0.010), ...`
pub fn likelihood_line(likelihood: &PairLikelihood) -> String {
    let beside = |of: &PerText| {
        let named = [("reference", of.reference), ("shuffled", of.shuffled)];
        let parts: Vec<String> =
            named.iter().filter_map(|(name, value)| Some(format!("{name} {}", figure((*value)?)))).collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    };
    let PairLikelihood { cycle, pmi, rank, .. } = likelihood;
    format!(
        "Base model: cycle score {}{}, PMI {}{}; own response ranked {}.",
        figure(cycle.generated),
        beside(cycle),
        figure(pmi.generated),
        beside(pmi),
        whole(rank.generated as u64)
    )
}

/// Where the response comes from.
fn source(pair: &GeneratedPair) -> AnyView {
    let id = pair.source_id.clone().map(|id| view! { ", id " <code>{id}</code> });
    let url = pair.url.clone().map(|url| view! { ", " <code>{url}</code> });
    let row = pair.row.map(|row| view! { <p class="note">"Source: row " {whole(row)} {id} {url} "."</p> });
    row.into_any()
}

fn score_line(scores: &PairScores) -> String {
    let rouge = scores.rouge_l.map(|rouge| format!("ROUGE-L {}, ", figure(rouge))).unwrap_or_default();
    format!(
        "{rouge}{}, longest copied run {}, extractive coverage {}, density {}.",
        counted(u64::from(scores.words), "word"),
        counted(u64::from(scores.copied_run), "word"),
        percent(scores.coverage),
        figure(scores.density)
    )
}

/// A text with some of its byte ranges marked.
pub fn marked(text: &str, ranges: Vec<Range<usize>>) -> AnyView {
    with_marks(text, ranges.into_iter().map(|range| (None, range)).collect())
}

fn with_marks(text: &str, mut ranges: Vec<(Option<usize>, Range<usize>)>) -> AnyView {
    ranges.sort_by_key(|(_, range)| range.start);
    let mut parts = Vec::new();
    let mut at = 0;
    for (number, range) in ranges {
        if range.start < at {
            continue;
        }
        parts.push((None, text[at..range.start].to_owned()));
        parts.push((Some(number), text[range.clone()].to_owned()));
        at = range.end;
    }
    parts.push((None, text[at..].to_owned()));
    parts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(mark, text)| match mark {
            Some(number) => view! { <mark title="copied from the response" data-copy=number>{text}</mark> }.into_any(),
            None => text.into_any(),
        })
        .collect_view()
        .into_any()
}

/// Byte ranges of words, and the words in lower case.
fn split(text: &str) -> Vec<(Range<usize>, String)> {
    let mut out = Vec::new();
    let mut start = None;
    for (at, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        match (letter.is_alphanumeric(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                out.push((from..at, text[from..at].to_lowercase()));
                start = None;
            }
            _ => {}
        }
    }
    out
}

/// Runs of words that are in both texts, as byte ranges of each; greedy from the left, longest first.
pub fn copied(generated: &str, response: &str) -> Vec<(Range<usize>, Range<usize>)> {
    let (ours, theirs) = (split(generated), split(response));
    let mut out = Vec::new();
    if ours.len() > MOST_WORDS || theirs.len() > MOST_WORDS {
        return out;
    }
    let mut at = 0;
    while at < ours.len() {
        let longest = (0..theirs.len())
            .map(|there| (ours[at..].iter().zip(&theirs[there..]).take_while(|(a, b)| a.1 == b.1).count(), there))
            .max_by_key(|(length, _)| *length);
        match longest {
            Some((length, there)) if length >= SHORTEST_RUN => {
                let end = at + length - 1;
                out.push((ours[at].0.start..ours[end].0.end, theirs[there].0.start..theirs[there + length - 1].0.end));
                at += length;
            }
            _ => at += 1,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_runs_are_found_in_both_texts_whatever_the_case() {
        let (ours, theirs) = ("Explain how the old mill grinds corn.", "How the old mill grinds, nobody knows.");
        let spans = copied(ours, theirs);
        assert_eq!(spans.len(), 1);
        assert_eq!(
            (&ours[spans[0].0.clone()], &theirs[spans[0].1.clone()]),
            ("how the old mill grinds", "How the old mill grinds")
        );
    }

    #[test]
    fn three_words_in_common_are_chance() {
        assert!(copied("what is the", "this is what is the").is_empty());
    }

    #[test]
    fn texts_with_other_scripts_and_no_words_do_not_split_wrongly() {
        assert!(copied("", "").is_empty());
        assert_eq!(copied("größe ändert den öl stand", "Größe ändert den Öl Stand").len(), 1);
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn a_mark_and_its_counterpart_have_the_same_number() {
        let (ours, theirs) =
            marked_texts("one two three four. five six seven eight", "Five six seven eight; one two three four!");
        let (ours, theirs) = (ours.to_html(), theirs.to_html());
        for (number, text) in [(0, "one two three four"), (1, "five six seven eight")] {
            let mark = format!("data-copy=\"{number}\">{text}");
            assert!(ours.contains(&mark) && theirs.to_lowercase().contains(&mark), "{mark}: {ours} {theirs}");
        }
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn hostile_texts_stay_texts() {
        let hostile = "</td></textarea><script>alert(1)</script> one two three four five".to_owned();
        let pair = GeneratedPair {
            index: 0,
            response: hostile.clone(),
            reference: Some(hostile.clone()),
            generated: hostile,
            tokens: 5,
            ended: true,
            response_tokens_cut: 0,
            row: Some(41),
            source_id: Some("<b>".to_owned()),
            url: Some("javascript:<b>".to_owned()),
            scores: PairScores { tags: vec![spec::Tag::Echo], ..PairScores::default() },
            baseline: Some("<b>baseline".to_owned()),
            candidates: ["<b>first", "<b>second"]
                .map(|text| Candidate { text: text.to_owned(), ..Candidate::default() })
                .to_vec(),
            ..GeneratedPair::default()
        };
        let html = pair_table(&[pair], "Pairs".to_owned()).to_html();
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("</textarea>"), "{html}");
        assert!(html.contains("data-pair=\"0\"") && html.contains("<mark"), "{html}");
        assert!(html.contains("Source: row ") && html.contains("41") && !html.contains("href"), "{html}");
    }
}
