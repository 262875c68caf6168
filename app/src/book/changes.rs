//! What differs between two configurations of a cell, setting by setting, as `SaveCell` sends it.

use serde_json::Value;
use spec::CellConfig;

/// Dotted name and new value of each setting that differs.
pub fn changes(from: &CellConfig, to: &CellConfig) -> Vec<(String, String)> {
    let (from, to) = (settings(from), settings(to));
    to.into_iter().filter(|setting| !from.contains(setting)).collect()
}

fn settings(config: &CellConfig) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect("", &serde_json::to_value(config).unwrap_or_default(), &mut found);
    found.retain(|(name, _)| name != "kind");
    found
}

fn collect(name: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let dotted = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                collect(&dotted, value, found);
            }
        }
        leaf => found.push((name.to_owned(), text(leaf))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{Projection, TrainConfig};

    #[test]
    fn only_settings_that_differ_are_sent() {
        let before = TrainConfig::default();
        let mut after = before.clone();
        after.max_steps = Some(5);
        after.targets = vec![Projection::QProj, Projection::OProj];
        after.template.end = "none".to_owned();
        let changed = changes(&CellConfig::Train(before.clone()), &CellConfig::Train(after));
        let expected = [("max_steps", "5"), ("targets", "q_proj, o_proj"), ("template.end", "none")];
        assert_eq!(changed, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(changes(&CellConfig::Train(before.clone()), &CellConfig::Train(before)).is_empty());
    }
}
