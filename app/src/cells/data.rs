//! The data cell: the pair rule, and what came of it.

use leptos::prelude::*;

use super::files::file_field;
use super::form::{Choices, Form, Input, from_spelling, number, optional, put, show, spelling};
use crate::components::chart::histogram;
use crate::components::facts::{counts, fact, facts, hash, noted};
use crate::components::format::{counted, whole};
use spec::{DataConfig, DataOutput, MalformedRow, PairText};

const FORMATS: Choices = &[
    ("auto", "tell from the file"),
    ("oasst_messages", "OASST1, one message per line"),
    ("oasst_trees", "OASST1, one tree per line"),
    ("lima", "LIMA"),
    ("pairs", "pairs (instruction, response)"),
    ("alpaca", "Alpaca"),
];
const TURNS: Choices = &[("first", "first exchange only"), ("any", "any exchange")];

pub fn form(form: Form<DataConfig>) -> AnyView {
    view! {
        {file_field(form, "Conversations or pairs as JSONL or JSON, also packed as .gz.", |c| c.file.clone(), |c, file| c.file = file)}
        {form.field(("Format", "format", "How the file is laid out."), Input::Choice(FORMATS),
            |c| spelling(&c.format), |c, text| put(&mut c.format, from_spelling(text)))}
        {form.field(("Language", "language", "Code that both sides must have, such as en. Empty: any. Rows without a language pass."), Input::Line,
            |c| c.language.clone(), |c, text| { c.language = text.trim().to_owned(); Ok(()) })}
        {form.field(("Turns", "turns", "The paper takes only a conversation's first exchange."), Input::Choice(TURNS),
            |c| spelling(&c.turns), |c, text| put(&mut c.turns, from_spelling(text)))}
        {form.field(("Best reply only", "best_reply_only", "Keep the reply that people ranked first. Rows without a rank pass."), Input::Toggle,
            |c| c.best_reply_only.to_string(), |c, text| { c.best_reply_only = text == "true"; Ok(()) })}
        {form.field(("Quality above", "quality_above", "Both sides' quality label, 0 to 1. Empty: no check. Rows without labels pass."), Input::Number,
            |c| show(&c.quality_above), |c, text| put(&mut c.quality_above, optional(text, 0.0..=1.0)))}
        {form.field(("Words above", "words_above", "Both sides must have more words than this."), Input::Number,
            |c| c.words_above.to_string(), |c, text| put(&mut c.words_above, number(text, 0..=10_000)))}
        {form.field(("Most pairs", "limit", "Keep the best so many by quality. Empty: all."), Input::Number,
            |c| show(&c.limit), |c, text| put(&mut c.limit, optional(text, 1..=10_000_000)))}
        {form.field(("Held out for validation", "validation_fraction", "Share of conversations, 0 to 0.9; whole trees, so that no conversation is on both sides."), Input::Number,
            |c| c.validation_fraction.to_string(), |c, text| put(&mut c.validation_fraction, number(text, 0.0..=0.9)))}
        {form.field(("Seed of the split", "split_seed", "The same seed splits the same way."), Input::Number,
            |c| c.split_seed.to_string(), |c, text| put(&mut c.split_seed, number(text, 0..=u64::MAX)))}
    }
    .into_any()
}

pub fn brief(config: &DataConfig) -> String {
    let most = config.limit.map(|limit| format!(", at most {}", counted(u64::from(limit), "pair"))).unwrap_or_default();
    format!("{}{most}, {} % held out", config.file, config.validation_fraction * 100.0)
}

pub fn output(output: DataOutput) -> AnyView {
    let summary = summary(&output);
    let DataOutput { dropped, malformed, malformed_count, examples, instruction_lengths, response_lengths, .. } =
        output;
    let dropped = dropped.into_iter().filter(|count| count.count > 0).collect::<Vec<_>>();
    view! {
        {summary}
        {(!dropped.is_empty()).then(|| counts("Dropped, by the first reason that held", "Reason", dropped))}
        {malformed_rows(malformed_count, malformed)}
        <div class="columns">
            {histogram("Instructions", "words", &instruction_lengths)}
            {histogram("Responses", "words", &response_lengths)}
        </div>
        {pair_examples(examples)}
    }
    .into_any()
}

/// The figures alone, for the report too.
pub fn summary(output: &DataOutput) -> AnyView {
    view! {
        {facts(vec![
            noted("Rows", whole(output.rows), "lines or entries read"),
            noted("Pairs", whole(output.pairs), "that the rule keeps"),
            noted("First-turn pairs", whole(output.first_turn_pairs), "of them, from a conversation's start"),
            noted("For training", whole(output.train_pairs), "pairs"),
            noted("For validation", whole(output.validation_pairs), "pairs, from other conversations"),
            noted("Conversations", format!("{} + {}", whole(output.train_trees), whole(output.validation_trees)), "for training + validation"),
            noted("Malformed rows", whole(output.malformed_count), "left out"),
            fact("Format", crate::components::format::words(&output.format)),
        ])}
        <p class="note">"sha256 of the file " {hash(output.sha256.clone())}</p>
    }
    .into_any()
}

fn malformed_rows(count: u64, rows: Vec<MalformedRow>) -> AnyView {
    let shown = (count > 0).then(|| {
        let more = count.saturating_sub(rows.len() as u64);
        let rows = rows
            .into_iter()
            .map(|row| {
                view! { <tr><th scope="row" class="number">{whole(row.line)}</th><td><code>{row.field}</code></td><td>{row.problem}</td></tr> }
            })
            .collect_view();
        view! {
            <details class="malformed">
                <summary>{counted(count, "malformed row")} ": left out, the rest is used"</summary>
                <div class="scroll" tabindex="0" role="region" aria-label="Malformed rows">
                    <table>
                        <thead><tr><th scope="col" class="number">"Line"</th><th scope="col">"Field"</th><th scope="col">"Problem"</th></tr></thead>
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
    use spec::Count;

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
        });
        let html = shown.to_html();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("and 6 more") && html.contains("7 malformed rows"), "{html}");
    }
}
