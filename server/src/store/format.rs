//! Stored records: JSON beside the number of its format. What is sent to pages may change with every version; what is
//! stored must stay readable. So reading tolerates unknown fields, and each format has a number of its own.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use spec::{CellConfig, CellKind};

use super::{Result, StoreError};

/// Of configurations, inputs, events, pairs and reports as this version writes them. 1 is that of version 0.1.0.
/// A change that an older record cannot be read with gets the next number, and its conversion is in [`read`].
pub const RECORD: i64 = 1;

/// Of folded logs. Raise it whenever the fold changes: views of another number are folded again from their events.
pub const VIEW: i64 = 2;

/// The record's JSON, and the record as it will be read back. Refuses what would not be readable, such as a number
/// that is not finite.
pub fn write<T: Serialize + DeserializeOwned>(what: &str, value: &T) -> Result<(String, T)> {
    let text = serde_json::to_string(value).map_err(|error| unstorable(what, &error))?;
    let read = serde_json::from_str(&text).map_err(|error| unstorable(what, &error))?;
    Ok((text, read))
}

fn unstorable(what: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Unstorable { what: what.to_owned(), problem: error.to_string() }
}

/// The error says what is wrong with the record, without naming it.
pub fn read<T: DeserializeOwned>(format: i64, text: &str) -> Result<T, String> {
    if format > RECORD {
        return Err(format!("it has format {format}, and this version reads formats up to {RECORD}"));
    }
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// A value of an enum that is spelled as one name.
pub fn read_name<T: DeserializeOwned>(name: String) -> Option<T> {
    serde_json::from_value(Value::String(name)).ok()
}

/// A configuration with the default for each field that cannot be read, and what could not be read.
pub fn read_config(kind: CellKind, format: i64, text: &str) -> (CellConfig, Option<String>) {
    let problem = match read::<CellConfig>(format, text) {
        Ok(config) if config.kind() == kind => return (config, None),
        Ok(config) => format!("it is the configuration of a {} cell", config.kind().as_str()),
        Err(problem) => problem,
    };
    let default = CellConfig::default_of(kind);
    let stored = serde_json::from_str::<Value>(text).unwrap_or_default();
    let mut merged = serde_json::to_value(&default).unwrap_or_default();
    let mut config = default;
    if let Value::Object(fields) = stored {
        for (name, value) in fields.into_iter().filter(|(name, _)| name != "kind") {
            // By its key now, since a setting cannot be there under two spellings.
            let key =
                kind.settings().iter().find(|setting| setting.is_called(&name)).map_or(&*name, |setting| setting.key);
            let mut tried = merged.clone();
            tried[key] = value;
            if let Ok(read) = serde_json::from_value::<CellConfig>(tried.clone()) {
                (merged, config) = (tried, read);
            }
        }
    }
    (config, Some(problem))
}

#[cfg(test)]
mod tests {
    use spec::{EvaluationPoint, TrainConfig};

    use super::*;

    #[test]
    fn a_number_that_is_not_finite_is_refused() {
        for loss in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let refused = write("the evaluation", &EvaluationPoint { step: 0, loss }).unwrap_err();
            assert!(refused.to_string().starts_with("the evaluation cannot be stored"), "{refused}");
        }
    }

    #[test]
    fn fields_that_can_be_read_survive_one_that_cannot() {
        let stored = r#"{"kind":"train","rank":8,"max_length":64,"schedule":"polynomial","from_the_future":1}"#;
        let (config, problem) = read_config(CellKind::Train, RECORD, stored);
        let expected = TrainConfig { rank: 8, max_seq_length: 64, ..TrainConfig::default() };
        assert_eq!(config, CellConfig::Train(expected));
        assert!(problem.unwrap().contains("polynomial"));
    }

    #[test]
    fn unknown_fields_are_tolerated() {
        for kind in CellKind::ALL {
            let mut stored = serde_json::to_value(CellConfig::default_of(kind)).unwrap();
            stored["from_the_future"] = Value::from(1);
            assert_eq!(read_config(kind, RECORD, &stored.to_string()), (CellConfig::default_of(kind), None));
        }
    }

    #[test]
    fn what_is_no_configuration_at_all_gives_the_defaults_and_the_reason() {
        for stored in ["", "null", "[1]", "{", r#"{"kind":"note","text":"x"}"#] {
            let (config, problem) = read_config(CellKind::Data, RECORD, stored);
            assert_eq!(config, CellConfig::default_of(CellKind::Data), "{stored}");
            assert!(problem.is_some(), "{stored}");
        }
        assert!(read_config(CellKind::Note, RECORD + 1, r#"{"kind":"note"}"#).1.unwrap().contains("format"));
    }
}
