//! The figures of many generated instructions together: as JSON and for people.

use serde_json::{Map, Value, json};
use spec::{ScoreSummary, TextFigures};

use super::output::Text;

/// With the tags as one object.
pub fn json(summary: &ScoreSummary) -> Value {
    let mut value = json!(summary);
    let tags: Map<String, Value> =
        summary.tags.iter().map(|tag| (tag.tag.as_str().to_owned(), json!(tag.count))).collect();
    value["tags"] = Value::Object(tags);
    value
}

pub fn print(text: &mut Text, summary: &ScoreSummary) {
    text.field("pairs", format_args!("{} ({} with a reference)", summary.pairs, summary.with_reference));
    if let Some(rouge) = summary.rouge_l {
        let floor = summary.rouge_l_shuffled.map_or_else(String::new, |floor| format!("   shuffled floor {floor:.4}"));
        text.field("ROUGE-L F1", format_args!("{rouge:.4}{floor}"));
    }
    figures(text, "generated", &summary.generated);
    if let Some(reference) = &summary.reference {
        figures(text, "reference", reference);
    }
    let tags: Vec<String> = summary
        .tags
        .iter()
        .filter(|tag| tag.count > 0)
        .map(|tag| format!("{} {}", tag.count, tag.tag.as_str()))
        .collect();
    text.field("without failure tags", format_args!("{}   {}", summary.without_tags, tags.join(", ")));
}

fn figures(text: &mut Text, label: &str, figures: &TextFigures) {
    text.field(
        label,
        format_args!(
            "median {} words, copied {:.1} %, coverage {:.3}, density {:.2}, distinct-1 {:.3}, distinct-2 {:.3}",
            figures.median_words,
            100.0 * figures.copied,
            figures.coverage,
            figures.density,
            figures.distinct_1,
            figures.distinct_2
        ),
    );
}
