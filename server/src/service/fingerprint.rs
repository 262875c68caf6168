//! Fingerprints of cells: sha256 over their configuration, the file it names, and their inputs' fingerprints.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::Value;
use spec::{CellConfig, CellKind};

use crate::resources::Resources;
use crate::store::CellRow;

/// A cell as it stands in its experiment now.
#[derive(Clone, Debug)]
pub struct Standing {
    pub cell: CellRow,
    pub fingerprint: String,
    /// Hash of the file that its configuration names; empty where it names none.
    pub identity: String,
    /// Kind, cell and fingerprint of each input: the nearest of its kind above.
    pub inputs: Vec<(CellKind, i64, String)>,
    pub missing_input: Option<CellKind>,
}

/// Works out where every cell of an experiment stands, in order.
pub fn standings(cells: Vec<CellRow>, mut identity: impl FnMut(&CellRow) -> String) -> Vec<Standing> {
    let mut above: Vec<Standing> = Vec::with_capacity(cells.len());
    for cell in cells {
        let kind = cell.config.kind();
        let mut inputs = Vec::new();
        let mut missing_input = None;
        for wanted in kind.inputs() {
            match above.iter().rev().find(|other| other.cell.config.kind() == *wanted) {
                Some(input) => inputs.push((*wanted, input.cell.id, input.fingerprint.clone())),
                None => missing_input = missing_input.or(Some(*wanted)),
            }
        }
        let identity = identity(&cell);
        let fingerprint = fingerprint(&cell.config, &identity, &inputs);
        above.push(Standing { cell, fingerprint, identity, inputs, missing_input });
    }
    above
}

fn fingerprint(config: &CellConfig, identity: &str, inputs: &[(CellKind, i64, String)]) -> String {
    let inputs: Vec<Value> =
        inputs.iter().map(|(kind, _, fingerprint)| serde_json::json!([kind.as_str(), fingerprint])).collect();
    let config = serde_json::to_value(config).unwrap_or_default();
    let mut text = String::new();
    canonical(&serde_json::json!([config, identity, inputs]), &mut text);
    engine::artifact::sha256(text.as_bytes())
}

/// JSON with sorted keys and no spaces, so that equal values have equal text.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            text.push('{');
            for name in names {
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                canonical(&fields[name], text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        simple => text.push_str(&simple.to_string()),
    }
}

/// Hashes of data files, computed once per size and time of change.
#[derive(Default)]
pub struct Identities {
    known: Mutex<HashMap<PathBuf, Known>>,
}

/// Size, time of change, and the hash that the file had then.
type Known = (u64, Option<SystemTime>, String);

impl Identities {
    pub fn of(&self, config: &CellConfig, resources: &Resources) -> String {
        let file = match config {
            CellConfig::Data(config) => &config.file,
            CellConfig::Generate(config) => &config.file,
            CellConfig::Model(_) | CellConfig::Train(_) | CellConfig::Report(_) | CellConfig::Note(_) => {
                return String::new();
            }
        };
        // An absent file has no identity; the run that needs it says so.
        let Ok(path) = resources.file(file) else { return String::new() };
        let Ok(metadata) = std::fs::metadata(&path) else { return String::new() };
        let (size, changed) = (metadata.len(), metadata.modified().ok());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known_size, known_changed, hash)) = known.get(&path)
            && (*known_size, *known_changed) == (size, changed)
        {
            return hash.clone();
        }
        let hash = engine::artifact::sha256_file(&path).unwrap_or_default();
        known.insert(path, (size, changed, hash.clone()));
        hash
    }
}

#[cfg(test)]
mod tests {
    use spec::{DataConfig, TrainConfig};

    use super::*;

    fn cells(kinds: &[CellKind]) -> Vec<CellRow> {
        let row = |(id, kind): (usize, &CellKind)| CellRow {
            id: id as i64,
            experiment: 1,
            config: CellConfig::default_of(*kind),
            version: 0,
        };
        kinds.iter().enumerate().map(row).collect()
    }

    const PIPELINE: [CellKind; 5] =
        [CellKind::Data, CellKind::Model, CellKind::Train, CellKind::Generate, CellKind::Report];

    #[test]
    fn a_change_reaches_all_cells_below_and_none_beside() {
        let before = standings(cells(&PIPELINE), |_| String::new());
        let mut changed = cells(&PIPELINE);
        changed[0].config = CellConfig::Data(DataConfig { words_above: 6, ..DataConfig::default() });
        let after = standings(changed, |_| String::new());
        let differs: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a.fingerprint != b.fingerprint).collect();
        assert_eq!(differs, [true, false, true, true, true]);
    }

    #[test]
    fn other_contents_of_the_same_file_are_another_fingerprint() {
        let one = standings(cells(&PIPELINE), |cell| format!("1{}", cell.config.kind().as_str()));
        let other = standings(cells(&PIPELINE), |cell| format!("2{}", cell.config.kind().as_str()));
        assert_ne!(one[0].fingerprint, other[0].fingerprint);
    }

    #[test]
    fn inputs_are_the_nearest_above() {
        use CellKind::{Data, Model, Train};
        let standings = standings(cells(&[Data, Model, Data, Train]), |_| String::new());
        let inputs: Vec<i64> = standings[3].inputs.iter().map(|(_, cell, _)| *cell).collect();
        assert_eq!(inputs, [2, 1]);
    }

    #[test]
    fn a_missing_input_is_named() {
        let standings = standings(cells(&[CellKind::Data, CellKind::Train]), |_| String::new());
        assert_eq!(standings[1].missing_input, Some(CellKind::Model));
    }

    #[test]
    fn the_order_of_fields_does_not_matter() {
        let text = |json: &str| {
            let mut text = String::new();
            canonical(&serde_json::from_str(json).unwrap(), &mut text);
            text
        };
        assert_eq!(text(r#"{"b":[1,{"d":2,"c":"x"}],"a":null}"#), text(r#"{"a":null,"b":[1,{"c":"x","d":2}]}"#));
        let config = serde_json::to_string(&CellConfig::Train(TrainConfig::default())).unwrap();
        assert_eq!(text(&config), text(&config));
    }
}
