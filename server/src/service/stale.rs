//! Why a run no longer matches its cell: which fields differ, which inputs changed.

use serde_json::Value;
use spec::{CellConfig, StaleReason};

use super::fingerprint::Standing;
use crate::store::RunRow;

const LONGEST_VALUE: usize = 60;

/// Empty where the run's fingerprint is the cell's.
pub fn reasons(run: &RunRow, now: &Standing) -> Vec<StaleReason> {
    if run.fingerprint == now.fingerprint {
        return Vec::new();
    }
    let mut reasons = changed_fields(&run.config, &now.cell.config);
    if reasons.is_empty() && run.identity != now.identity {
        reasons.push(StaleReason::Field {
            field: "file".to_owned(),
            was: contents(&run.identity),
            now: contents(&now.identity),
        });
    }
    for (kind, _, fingerprint) in &now.inputs {
        let same = run.inputs.iter().any(|input| input.kind == *kind && input.fingerprint == *fingerprint);
        if !same {
            reasons.push(StaleReason::Input { kind: *kind });
        }
    }
    // An input that there was and that is missing now.
    for input in &run.inputs {
        if !now.inputs.iter().any(|(kind, _, _)| *kind == input.kind) {
            reasons.push(StaleReason::Input { kind: input.kind });
        }
    }
    reasons
}

/// Fields that differ, by dotted name, in the order in which they are spelled.
fn changed_fields(was: &CellConfig, now: &CellConfig) -> Vec<StaleReason> {
    let (was, now) = (leaves(was), leaves(now));
    let mut reasons: Vec<StaleReason> = Vec::new();
    for (field, value) in &now {
        let before = was.iter().find(|(name, _)| name == field).map(|(_, value)| value);
        if before != Some(value) {
            let was = before.map_or_else(|| "none".to_owned(), shown);
            reasons.push(StaleReason::Field { field: field.clone(), was, now: shown(value) });
        }
    }
    for (field, value) in &was {
        if !now.iter().any(|(name, _)| name == field) {
            reasons.push(StaleReason::Field { field: field.clone(), was: shown(value), now: "none".to_owned() });
        }
    }
    reasons
}

fn leaves(config: &CellConfig) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    collect("", &serde_json::to_value(config).unwrap_or_default(), &mut leaves);
    leaves.retain(|(name, _)| name != "kind");
    leaves
}

fn collect(name: &str, value: &Value, leaves: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let dotted = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                collect(&dotted, value, leaves);
            }
        }
        leaf => leaves.push((name.to_owned(), leaf.clone())),
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn contents(identity: &str) -> String {
    match identity.get(..8) {
        Some(start) => format!("contents {start}"),
        None => "absent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use spec::{Projection, TemplateConfig, TrainConfig};

    use super::*;

    fn check(change: impl FnOnce(&mut TrainConfig), field: &str, was: &str, now: &str) {
        let before = TrainConfig::default();
        let mut after = before.clone();
        change(&mut after);
        let expected = StaleReason::Field { field: field.to_owned(), was: was.to_owned(), now: now.to_owned() };
        assert_eq!(changed_fields(&CellConfig::Train(before), &CellConfig::Train(after)), [expected]);
    }

    #[test]
    fn a_changed_field_is_named_with_both_values() {
        check(|config| config.learning_rate = 0.0002, "learning_rate", "0.001", "0.0002");
        check(|config| config.max_steps = Some(5), "max_steps", "none", "5");
        check(|config| config.target_modules = vec![Projection::QProj], "target_modules", "q_proj, v_proj", "q_proj");
    }

    #[test]
    fn a_nested_field_has_a_dotted_name() {
        let template = TemplateConfig { end: spec::EndMarker::None, ..TemplateConfig::default() };
        check(|config| config.template = template, "template.end", "eos", "none");
    }

    #[test]
    fn long_values_are_clipped_between_characters() {
        let value = Value::String("é".repeat(100));
        assert_eq!(shown(&value).chars().count(), LONGEST_VALUE + 1);
    }
}
