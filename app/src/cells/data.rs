//! The data cell: the pair rule, and what came of it.

use leptos::prelude::*;

use super::files::named;
use crate::book::{Book, CellState};
use crate::components::chart::histogram;
use crate::components::facts::{counts, fact, facts, hash, noted};
use crate::components::format::{counted, percent, whole, words};
use spec::{CellOutput, Count, DataConfig, DataOutput, MalformedRow, PairText};

pub fn brief(book: Book, config: &DataConfig) -> String {
    let max = config.limit.map(|limit| format!(", max {}", counted(u64::from(limit), "pair"))).unwrap_or_default();
    let file = named(book, "file", config.file.clone());
    format!("{file}{max}, {} for validation", percent(config.validation_split))
}

pub fn live(cell: CellState) -> AnyView {
    let shown = cell.part(|run| run.output.clone());
    (move || match shown.get().flatten() {
        Some(CellOutput::Data(shown)) => output(shown),
        _ => ().into_any(),
    })
    .into_any()
}

fn output(output: DataOutput) -> AnyView {
    let summary = summary(&output);
    let dropped = dropped_rows("Dropped pairs by reason (first match)", &output.dropped, output.pairs);
    let DataOutput { malformed, malformed_count, examples, instruction_lengths, response_lengths, .. } = output;
    view! {
        {summary}
        {dropped}
        {malformed_rows(malformed_count, malformed)}
        <div class="columns">
            {histogram("Instructions", "words", &instruction_lengths)}
            {histogram("Responses", "words", &response_lengths)}
        </div>
        {pair_examples(examples)}
    }
    .into_any()
}

/// What was left out and why, as shares of it and of the `kept`; nothing where nothing was.
pub fn dropped_rows(caption: &'static str, dropped: &[Count], kept: u64) -> AnyView {
    let dropped = dropped.iter().filter(|count| count.count > 0).cloned().collect::<Vec<_>>();
    let total = kept + dropped.iter().map(|count| count.count).sum::<u64>();
    (!dropped.is_empty()).then(|| counts(caption, "Reason", dropped, total)).into_any()
}

/// The metrics alone, for the report too.
pub fn summary(output: &DataOutput) -> AnyView {
    let trees = format!("{} + {}", whole(output.train_trees), whole(output.validation_trees));
    let mut list = vec![
        noted("Rows", whole(output.rows), "read"),
        noted("Pairs", whole(output.pairs), "that the pair rule keeps"),
        noted("First-turn pairs", whole(output.first_turn_pairs), "of them, from a conversation's first exchange"),
        noted("Training pairs", whole(output.train_pairs), ""),
        noted("Validation pairs", whole(output.validation_pairs), "from other conversations"),
        noted("Conversations", trees, "training + validation"),
        noted("Malformed rows", whole(output.malformed_count), "left out"),
        fact("Format", words(&output.format)),
    ];
    if !output.source.is_unknown() {
        list.insert(0, fact("File", output.source.name.clone()));
    }
    view! {
        {facts(list)}
        <p class="note">"sha256 of the file " {hash(output.sha256.clone())}</p>
    }
    .into_any()
}

pub fn malformed_rows(count: u64, rows: Vec<MalformedRow>) -> AnyView {
    let shown = (count > 0).then(|| {
        let more = count.saturating_sub(rows.len() as u64);
        let rows = rows
            .into_iter()
            .map(|row| {
                view! {
                    <tr>
                        <th scope="row" class="number">{whole(row.line)}</th>
                        <td><code>{row.field}</code></td>
                        <td>{row.problem}</td>
                    </tr>
                }
            })
            .collect_view();
        view! {
            <details class="malformed">
                <summary>{counted(count, "malformed row")} ": left out, the rest is used"</summary>
                <div class="scroll" tabindex="0" role="region" aria-label="Malformed rows">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col" class="number">"Line"</th>
                                <th scope="col">"Field"</th>
                                <th scope="col">"Problem"</th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </div>
                {(more > 0).then(|| view! { <p class="note">{format!("and {} more", whole(more))}</p> })}
            </details>
        }
    });
    shown.into_any()
}

fn pair_examples(examples: Vec<PairText>) -> AnyView {
    let shown = (!examples.is_empty()).then(|| {
        let items = examples
            .into_iter()
            .map(|pair| {
                view! {
                    <dl class="texts">
                        <div><dt>"Instruction"</dt><dd class="text">{pair.instruction}</dd></div>
                        <div><dt>"Response"</dt><dd class="text">{pair.response}</dd></div>
                    </dl>
                }
            })
            .collect_view();
        view! { <details><summary>"Examples"</summary>{items}</details> }
    });
    shown.into_any()
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn hostile_rows_stay_texts() {
        let hostile = "<script>alert(1)</script></td>".to_owned();
        let shown = output(DataOutput {
            format: hostile.clone(),
            rows: 3,
            pairs: 1,
            first_turn_pairs: 1,
            train_pairs: 1,
            validation_pairs: 0,
            train_trees: 1,
            validation_trees: 0,
            dropped: vec![Count { name: hostile.clone(), count: 2 }],
            malformed_count: 7,
            malformed: vec![MalformedRow { line: 2, field: hostile.clone(), problem: hostile.clone() }],
            instruction_lengths: Vec::new(),
            response_lengths: Vec::new(),
            examples: vec![PairText { instruction: hostile.clone(), response: hostile.clone() }],
            sha256: hostile,
            ..DataOutput::default()
        });
        let html = shown.to_html();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("and 6 more") && html.contains("7 malformed rows"), "{html}");
    }
}
