//! Why a run no longer matches its cell: which fields differ, which inputs changed.

use spec::{CellConfig, CellKind, StaleReason};

use super::fingerprint::CellStatus;
use crate::resources::Resources;
use crate::store::RunRow;

/// In characters.
const MAX_VALUE: usize = 60;

/// Empty if the run's fingerprint is the cell's, or its settings cannot be read. Files and models go by their names.
pub fn reasons(run: &RunRow, now: &CellStatus, resources: &Resources) -> Vec<StaleReason> {
    if run.fingerprint == now.fingerprint || run.unreadable.is_some() {
        return Vec::new();
    }
    let name = |field: &str, id: &str| match field {
        "file" => resources.file_name(id),
        "model" => Some(resources.model_name(id)),
        _ => None,
    };
    let mut reasons = changed_fields(&run.config, &now.cell.config, &name);
    if run.identity != now.identity && now.cell.config.kind() == CellKind::Curate {
        reasons.push(StaleReason::Decisions);
    } else if reasons.is_empty() && run.identity != now.identity {
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

/// Settings that differ and that results depend on, in the order of the form. `name` turns the id in a setting into a name.
fn changed_fields(was: &CellConfig, now: &CellConfig, name: &dyn Fn(&str, &str) -> Option<String>) -> Vec<StaleReason> {
    let shown = |key: &str, value: String| clipped(name(key, &value).unwrap_or(value));
    let changed = was.values().into_iter().zip(now.values());
    changed
        .filter(|((setting, was), (_, now))| setting.rule.changes_results && was != now)
        .map(|((setting, was), (_, now))| {
            let (was, mut now) = (shown(setting.key, was), shown(setting.key, now));
            if now == was {
                // Two files of the same name, or texts that differ after what is shown of them.
                now.push_str(" (another)");
            }
            StaleReason::Field { field: setting.key.to_owned(), was, now }
        })
        .collect()
}

fn clipped(text: String) -> String {
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn contents(identity: &str) -> String {
    if identity.is_empty() { "missing".to_owned() } else { format!("contents with sha256 {identity}…") }
}

#[cfg(test)]
mod tests {
    use spec::{DataConfig, Projection, RunState, TemplateConfig, TrainConfig};

    use super::super::fingerprint::statuses;
    use super::*;
    use crate::store::CellRow;

    fn check(change: impl FnOnce(&mut TrainConfig), field: &str, was: &str, now: &str) {
        let before = TrainConfig::default();
        let mut after = before.clone();
        change(&mut after);
        let expected = StaleReason::Field { field: field.to_owned(), was: was.to_owned(), now: now.to_owned() };
        assert_eq!(changed_fields(&CellConfig::Train(before), &CellConfig::Train(after), &|_, _| None), [expected]);
    }

    #[test]
    fn a_changed_field_is_named_with_both_values() {
        check(|config| config.learning_rate = 0.0002, "learning_rate", "0.001", "0.0002");
        check(|config| config.max_steps = Some(5), "max_steps", "none", "5");
        check(|config| config.target_modules = vec![Projection::QProj], "target_modules", "q_proj, v_proj", "q_proj");
    }

    #[test]
    fn a_file_is_named_as_its_owner_calls_it() {
        let data = tempfile::tempdir().unwrap();
        let resources = Resources::open(data.path()).unwrap();
        let upload = data.path().join("x");
        std::fs::write(&upload, "{}\n").unwrap();
        let file = resources.import_file("my pairs.jsonl", &upload).unwrap().id;
        let cell = |file: String| CellRow {
            id: 1,
            experiment: 1,
            version: 0,
            config: CellConfig::Data(DataConfig { file, ..DataConfig::default() }),
        };
        let now = &statuses(vec![cell(file)], |_, _| String::new())[0];
        let run = RunRow {
            id: 2,
            experiment: 1,
            cell: 1,
            state: RunState::Done,
            config: cell("sample-pairs".to_owned()).config,
            fingerprint: String::new(),
            identity: String::new(),
            inputs: Vec::new(),
            created_ms: 0,
            unreadable: None,
        };
        let expected = StaleReason::Field {
            field: "file".to_owned(),
            was: "Sample: pairs to train on".to_owned(),
            now: "my pairs.jsonl".to_owned(),
        };
        assert_eq!(reasons(&run, now, &resources), [expected]);
    }

    #[test]
    fn a_nested_field_has_a_dotted_name() {
        let template = TemplateConfig { end: spec::EndMarker::None, ..TemplateConfig::default() };
        check(|config| config.template = template, "template.end", "eos", "none");
    }

    #[test]
    fn a_setting_that_changes_no_result_is_no_reason() {
        let thrifty = TrainConfig { gradient_checkpointing: true, keep_checkpoints: 9, ..TrainConfig::default() };
        let changed =
            changed_fields(&CellConfig::default_of(CellKind::Train), &CellConfig::Train(thrifty), &|_, _| None);
        assert_eq!(changed, []);
    }

    #[test]
    fn long_values_are_clipped_between_characters() {
        assert_eq!(clipped("é".repeat(100)).chars().count(), MAX_VALUE + 1);
    }
}
