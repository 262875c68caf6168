//! The dataset card: a head that model hubs read, then what a person should know before they use the rows.

use std::fmt::Write as _;

use serde_json::json;
use spec::{ScoreSummary, Settings, Tag};

use super::facts::Facts;
use super::{Export, Written, meaning, rows};

pub fn text(export: &Export, written: &Written) -> String {
    let mut card = head(export, written);
    // Writing to a String cannot fail.
    let _ = body(&mut card, export, written);
    card
}

/// YAML between lines of three hyphens. Texts are quoted as JSON, which YAML reads.
fn head(export: &Export, written: &Written) -> String {
    let quoted = |text: &str| json!(text).to_string();
    let mut head = format!("---\npretty_name: {}\n", quoted(&export.title));
    if let Some(language) = language(&export.facts) {
        head += &format!("language:\n- {language}\n");
    }
    head += &format!("license: {}\n", licence(&export.facts));
    head += &format!("size_categories:\n- {}\n", size_category(written.rows));
    head += "task_categories:\n- text-generation\n";
    head += "tags:\n- instruction-backtranslation\n- synthetic\n";
    head += "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*.parquet\n---\n";
    head
}

/// Of the conversations that the model was trained on, where they were chosen by language.
fn language(facts: &Facts) -> Option<&str> {
    let language = facts.data.as_ref().map(|(config, _)| config.language.trim())?;
    let is_code = language.starts_with(|c: char| c.is_ascii_alphabetic())
        && language.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    is_code.then_some(language)
}

/// What notices call licences, in lower case, and what hubs call them. A longer name stands before one that it holds.
const LICENCES: &[(&[&str], &str)] = &[
    (&["cc by-nc-sa 4.0", "cc-by-nc-sa-4.0"], "cc-by-nc-sa-4.0"),
    (&["cc by-nc 4.0", "cc-by-nc-4.0"], "cc-by-nc-4.0"),
    (&["cc by-sa 4.0", "cc-by-sa-4.0"], "cc-by-sa-4.0"),
    (&["cc by-sa 3.0", "cc-by-sa-3.0"], "cc-by-sa-3.0"),
    (&["cc by 4.0", "cc-by-4.0"], "cc-by-4.0"),
    (&["cc0"], "cc0-1.0"),
    (&["apache 2.0", "apache-2.0", "apache license 2.0", "apache license, version 2.0"], "apache-2.0"),
    (&["mit license", "mit licence"], "mit"),
];

/// Of the responses, where their notice or the report's names one licence and no other; else `other`.
fn licence(facts: &Facts) -> &'static str {
    let notices = format!("{}\n{}", facts.corpus.source.notice, facts.data_notice).to_lowercase();
    let named = LICENCES.iter().filter(|(names, _)| names.iter().any(|name| notices.contains(name)));
    let mut ids = named.map(|(_, id)| *id);
    match (ids.next(), ids.next()) {
        (Some(id), None) => id,
        _ => "other",
    }
}

fn size_category(rows: u64) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        _ => "100K<n<1M",
    }
}

fn body(card: &mut String, export: &Export, written: &Written) -> std::fmt::Result {
    let facts = &export.facts;
    writeln!(card, "\n# {}\n", line(&export.title))?;
    quote(card, &facts.summary)?;
    writeln!(
        card,
        "Pairs of instruction and response, made by instruction backtranslation (Li et al., arXiv:2308.06259): the \
         responses are texts that were there, and a model wrote the instruction that each of them answers.\n"
    )?;
    content(card, export, written)?;
    origin(card, facts)?;
    licences(card, facts)?;
    if let Some(scores) = &facts.scores {
        metrics(card, scores)?;
    }
    card.push_str(LIMITS);
    Ok(())
}

const LIMITS: &str = "\
## Limits

- The instructions were written by a model. Nobody checked those that no person decided on, and the responses were not
  checked at all.
- Failure tags find formal faults, not wrong content.
- ROUGE-L compares words with one person's instruction; a good instruction in other words has a low value.
- The responses keep the licence of the corpus.
";

fn content(card: &mut String, export: &Export, written: &Written) -> std::fmt::Result {
    let shape = export.query.rows;
    writeln!(card, "## Rows\n\n{}\n", meaning(shape))?;
    writeln!(
        card,
        "Columns: {}. `source_row` is the row of the corpus file (from 1), `source_id` that row's own id, if it has one.\n",
        rows::columns(shape, export.notes)
            .iter()
            .map(|column| format!("`{}`", column.name))
            .collect::<Vec<_>>()
            .join(", ")
    )?;
    writeln!(card, "| | count |\n|---|---|")?;
    let dropped = written.pairs - written.kept;
    for (what, count) in [
        ("rows in this dataset", written.rows),
        ("pairs that were selected", written.pairs),
        ("kept of them", written.kept),
        ("dropped of them", dropped),
        ("with an instruction that a person edited", written.edited),
    ] {
        writeln!(card, "| {what} | {count} |")?;
    }
    let undecided = &export.curate;
    writeln!(
        card,
        "\nA person's decision keeps or drops a pair. Undecided pairs: {} without a failure tag, {} with one.{}\n",
        undecided.undecided.as_str(),
        undecided.undecided_tagged.as_str(),
        if export.query.kept_only { " This dataset has the kept pairs only." } else { "" }
    )?;
    let selected: Vec<String> =
        export.query.filter.to_query().iter().map(|(name, value)| format!("{name} {}", line(value))).collect();
    if !selected.is_empty() {
        writeln!(card, "Selected by: {}.\n", selected.join(", "))?;
    }
    Ok(())
}

fn origin(card: &mut String, facts: &Facts) -> std::fmt::Result {
    writeln!(card, "## How the instructions were generated\n")?;
    let mut fact = |name: &str, value: String| writeln!(card, "- {name}: {value}");
    fact("program", format!("backtranslate {}", env!("CARGO_PKG_VERSION")))?;
    if let Some(model) = &facts.model {
        let name = if model.name.is_empty() { &model.id } else { &model.name };
        fact("base model", format!("{}, {} parameters, sha256 `{}`", line(name), model.parameters, model.sha256))?;
    }
    if let Some((_, train)) = &facts.train {
        fact("adapter (LoRA)", format!("sha256 `{}`", train.adapter_sha256))?;
        if let Some(loss) = train.validation_loss {
            fact("validation loss", format!("{loss:.4} nats per token after {} steps", train.steps))?;
        }
    }
    if let Some((_, data)) = &facts.data {
        fact("trained on", format!("{}, {} pairs", named(&data.source.name), data.train_pairs))?;
    }
    if !facts.corpus.is_unknown() {
        let corpus = &facts.corpus;
        fact("corpus", format!("{}, {} rows, sha256 `{}`", named(&corpus.source.name), corpus.rows, corpus.sha256))?;
    }
    card.push('\n');
    if let Some(config) = &facts.generate {
        table(card, "Generation", config)?;
    }
    if let Some((config, _)) = &facts.train {
        table(card, "Training", config)?;
    }
    if let Some((config, _)) = &facts.data {
        table(card, "Pair rule of the training data", config)?;
    }
    Ok(())
}

fn named(name: &str) -> String {
    if name.is_empty() { "a file whose name was not kept".to_owned() } else { line(name) }
}

fn table<S: Settings>(card: &mut String, caption: &str, config: &S) -> std::fmt::Result {
    writeln!(card, "### {caption}\n\n| setting | value |\n|---|---|")?;
    for (setting, value) in config.values() {
        // Line breaks count in a template.
        let value = if value.contains('\n') { json!(value).to_string() } else { value };
        writeln!(card, "| `{}` | {} |", setting.key, line(&value))?;
    }
    card.push('\n');
    Ok(())
}

fn licences(card: &mut String, facts: &Facts) -> std::fmt::Result {
    writeln!(card, "## Licence and origin\n")?;
    let trained = facts.data.as_ref().map(|(_, data)| data.source.notice.as_str()).unwrap_or_default();
    let notices = [
        ("Corpus (the responses)", facts.corpus.source.notice.as_str()),
        ("Training pairs", trained),
        ("From the author of the report", facts.data_notice.as_str()),
    ];
    let mut any = false;
    for (what, notice) in notices.into_iter().filter(|(_, notice)| !notice.trim().is_empty()) {
        any = true;
        writeln!(card, "{what}:\n")?;
        quote(card, notice)?;
    }
    if !any {
        writeln!(card, "No notice is known. Find out under which licence the corpus is before you pass this on.\n")?;
    }
    Ok(())
}

fn metrics(card: &mut String, scores: &ScoreSummary) -> std::fmt::Result {
    writeln!(
        card,
        "## Metrics\n\nOf all {} generated pairs of the run, before anybody decided on them.\n",
        scores.pairs
    )?;
    writeln!(card, "| metric | value |\n|---|---|")?;
    let generated = &scores.generated;
    let mut metric = |name: &str, value: String| writeln!(card, "| {name} | {value} |");
    metric("median words of an instruction", format!("{}", generated.median_words))?;
    if let Some(rouge) = scores.rouge_l {
        metric("mean ROUGE-L F1 against a person's instruction", format!("{rouge:.4}"))?;
    }
    if let Some(rouge) = scores.rouge_l_shuffled {
        metric("the same, shuffled baseline", format!("{rouge:.4}"))?;
    }
    metric("share with 8 or more words in a row from the response", format!("{:.4}", generated.copied))?;
    metric("extractive coverage", format!("{:.4}", generated.coverage))?;
    metric("extractive density", format!("{:.4}", generated.density))?;
    metric("distinct-1, distinct-2", format!("{:.4}, {:.4}", generated.distinct_1, generated.distinct_2))?;
    metric("pairs without a failure tag", scores.without_tags.to_string())?;
    for count in &scores.tags {
        metric(&format!("failure tag: {}", Tag::label(count.tag)), count.count.to_string())?;
    }
    card.push('\n');
    Ok(())
}

/// One line of plain text: what Markdown would read as markup is escaped.
fn line(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for word in text.split_whitespace() {
        if !escaped.is_empty() {
            escaped.push(' ');
        }
        for character in word.chars() {
            if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&' | '!') {
                escaped.push('\\');
            }
            escaped.push(character);
        }
    }
    escaped
}

/// A text of somebody else's, line by line.
fn quote(card: &mut String, text: &str) -> std::fmt::Result {
    if text.trim().is_empty() {
        return Ok(());
    }
    for text in text.trim().lines() {
        writeln!(card, "> {}", line(text))?;
    }
    writeln!(card)
}

#[cfg(test)]
mod tests {
    use spec::{CorpusSummary, SourceFile};

    use super::*;

    fn noted(corpus: &str, report: &str) -> Facts {
        let source = SourceFile { name: "corpus.jsonl".to_owned(), notice: corpus.to_owned() };
        let corpus = CorpusSummary { source, ..CorpusSummary::default() };
        Facts { corpus, data_notice: report.to_owned(), ..Facts::default() }
    }

    #[test]
    fn a_licence_is_named_only_where_the_notices_name_that_one_alone() {
        for (corpus, report, id) in [
            ("Dedicated to the public domain (CC0 1.0).", "", "cc0-1.0"),
            ("", "Licence: CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
            ("CC BY 4.0", "and partly Apache-2.0", "other"),
            ("CC BY-NC-SA, see the paper", "", "other"),
            ("all rights reserved; permitted use only", "", "other"),
            ("", "", "other"),
        ] {
            assert_eq!(licence(&noted(corpus, report)), id, "{corpus} / {report}");
        }
    }

    #[test]
    fn texts_of_others_are_one_line_without_markup() {
        assert_eq!(line("a\n\n# b <script> [x](y) | `c`"), "a \\# b \\<script\\> \\[x\\](y) \\| \\`c\\`");
    }
}
