//! Checkpoints: everything that an exact resume needs, in a folder that appears whole or not at all.
//!
//! A checkpoint is taken between optimizer steps. It belongs to one job (model, tokenizer, template, settings and data)
//! and is refused for any other. Old checkpoints are removed: the newest ones and the best one are kept.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::{RunEvent, Settings as _, TrainConfig};

use super::optimizer::AdamW;
use crate::lora::{Lock, LoraConfig, read_factors, read_json, write_factors, write_json};
use crate::model::BaseModel;
use crate::model::llama::LoraSet;
use crate::{Error, Result, artifact};

const STATE: &str = "state.json";
const FACTORS: &str = "factors.safetensors";
const FIRST_MOMENT: &str = "first_moment.safetensors";
const SECOND_MOMENT: &str = "second_moment.safetensors";
const STEP: &str = "step-";
/// A checkpoint that does not match its manifest, set aside when the one before it is resumed.
const DAMAGED: &str = "damaged-";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Optimizer steps taken.
    pub(super) step: u32,
    /// Of the last step.
    pub(super) loss: f64,
    pub(super) validation_loss_before: Option<f64>,
    /// Of the last evaluation.
    pub(super) validation_loss: Option<f64>,
    /// The step of the last evaluation.
    #[serde(default)]
    pub(super) evaluated_step: Option<u32>,
    /// The evaluation that is due after `step` was stopped: a resume begins with it.
    #[serde(default)]
    pub(super) evaluation_due: bool,
    /// Trained tokens and seconds of all sessions up to here.
    #[serde(default)]
    pub(super) tokens: u64,
    #[serde(default)]
    pub(super) seconds: f64,
    pub(super) job: JobIdentity,
}

/// What must be equal for a resume to be exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct JobIdentity {
    pub(super) lock: Lock,
    /// The settings as JSON.
    pub(super) settings: String,
    /// Of all encoded sequences, in order.
    pub(super) data_sha256: String,
}

impl JobIdentity {
    /// What differs, by name; empty if a resume is exact.
    fn differences(&self, now: &Self) -> Vec<String> {
        let (saved, settings) = (result_settings(&self.settings), result_settings(&now.settings));
        let mut found: Vec<String> = saved
            .iter()
            .zip(&settings)
            .filter(|(saved, now)| saved != now)
            .map(|((key, saved), (_, now))| format!("{key} was {saved} and is {now}"))
            .collect();
        let (lock, of) = (&self.lock, &now.lock);
        for (what, same) in [
            ("the base model", lock.base_model_sha256 == of.base_model_sha256),
            ("the tokenizer", lock.tokenizer_sha256 == of.tokenizer_sha256),
            ("the template", lock.template_sha256 == of.template_sha256),
            ("the form of the settings", !saved.is_empty() || self.settings == now.settings),
        ] {
            if !same {
                found.push(format!("{what} is another"));
            }
        }
        // Other settings make other sequences, so the data is named only where it is all that differs.
        if found.is_empty() && self.data_sha256 != now.data_sha256 {
            found.push("the training data is other".to_owned());
        }
        found
    }
}

/// The settings that results depend on, with their values, from JSON of this version or an earlier one; empty if it cannot be read. The
/// template is not among them: the lock holds its hash.
///
/// Both sides of a comparison go through this, since a number may change in its last digit when it is parsed.
fn result_settings(json: &str) -> Vec<(&'static str, String)> {
    let Ok(mut settings) = serde_json::from_str::<Value>(json) else { return Vec::new() };
    // Earlier versions kept the adapter's settings in a table of their own.
    if let Some(Value::Object(lora)) = settings.as_object_mut().and_then(|fields| fields.remove("lora"))
        && let Some(fields) = settings.as_object_mut()
    {
        fields.extend(lora);
    }
    let Ok(config) = serde_json::from_value::<TrainConfig>(settings) else { return Vec::new() };
    let values = config.values().into_iter();
    values
        .filter(|(setting, _)| setting.rule.changes_results && !setting.key.starts_with("template."))
        .map(|(setting, value)| (setting.key, value))
        .collect()
}

pub(super) fn folder_of(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

pub(super) fn name_of(step: u32) -> String {
    format!("{STEP}{step:08}")
}

pub(super) fn save(run: &Path, state: &State, set: &LoraSet, optimizer: &AdamW) -> Result<String> {
    let folder = folder_of(run);
    fs::create_dir_all(run).map_err(Error::io(run))?;
    artifact::create_folder(&folder)?;
    let name = name_of(state.step);
    artifact::write_folder(&folder.join(&name), |temporary| {
        write_json(&temporary.join(STATE), state)?;
        write_factors(&temporary.join(FACTORS), &set.factors)?;
        write_factors(&temporary.join(FIRST_MOMENT), &optimizer.first)?;
        write_factors(&temporary.join(SECOND_MOMENT), &optimizer.second)
    })?;
    Ok(name)
}

/// Removes all checkpoints but the newest `keep`, this step's included, and the one with the lowest evaluation loss.
pub(super) fn prune(run: &Path, state: &State, keep: u32) -> Result<()> {
    let folder = folder_of(run);
    // Later ones are damaged ones of an earlier session.
    let mut names = names(&folder)?;
    names.retain(|name| *name <= name_of(state.step));
    let old = names.len().saturating_sub(keep.max(1) as usize);
    if old == 0 {
        return Ok(());
    }
    // One that cannot be read is not the best.
    let loss = |name: &String| {
        let state: State = read_json(&folder.join(name).join(STATE)).ok()?;
        state.validation_loss.filter(|_| state.evaluated_step == Some(state.step))
    };
    let best = names.iter().filter_map(|name| Some((loss(name)?, name))).min_by(|a, b| a.0.total_cmp(&b.0));
    let best = best.map(|(_, name)| name.clone());
    for name in &names[..old] {
        if Some(name) != best.as_ref() {
            artifact::remove_folder(&folder.join(name))?;
        }
    }
    Ok(())
}

/// The names of all checkpoints, in the order of their steps.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let name = entry.map_err(Error::io(folder))?.file_name();
        names.extend(name.into_string().ok().filter(|name| name.starts_with(STEP)));
    }
    names.sort();
    Ok(names)
}

/// The newest checkpoint of this job that matches its manifest. A damaged one is reported and renamed, and the one
/// before it is used.
pub(super) fn newest(
    run: &Path,
    job: &JobIdentity,
    config: &TrainConfig,
    lora: &LoraConfig,
    model: &BaseModel,
    on_event: &mut dyn FnMut(RunEvent),
) -> Result<Option<(State, LoraSet, AdamW)>> {
    let folder = folder_of(run);
    if !folder.exists() {
        return Ok(None);
    }
    artifact::sweep(&folder)?;
    let mut damaged: Vec<(String, Error)> = Vec::new();
    for name in names(&folder)?.into_iter().rev() {
        match open(&folder.join(&name), job, config, lora, model) {
            Ok(found) => {
                for (name, error) in damaged {
                    if error.code() != spec::ErrorCode::Io {
                        // It must not count as one of those that are kept.
                        artifact::rename_folder(&folder.join(&name), &folder.join(format!("{DAMAGED}{name}")))?;
                    }
                    let text = format!("checkpoint {name} is damaged ({error}): resuming from step {}", found.0.step);
                    on_event(RunEvent::Warning { text });
                }
                return Ok(Some(found));
            }
            Err(error @ Error::OtherJob { .. }) => return Err(error),
            Err(error) => damaged.push((name, error)),
        }
    }
    // All damaged: starting from the beginning without being asked would hide the loss.
    damaged.into_iter().next_back().map_or(Ok(None), |(_, error)| Err(error))
}

fn open(
    path: &Path,
    job: &JobIdentity,
    config: &TrainConfig,
    lora: &LoraConfig,
    model: &BaseModel,
) -> Result<(State, LoraSet, AdamW)> {
    artifact::verify_folder(path)?;
    let state: State = read_json(&path.join(STATE))?;
    let differences = state.job.differences(job);
    if !differences.is_empty() {
        return Err(Error::OtherJob { path: path.to_owned(), differences });
    }
    let read = |name: &str| read_factors(&path.join(name), lora, &model.config, &model.device.inner);
    let set = LoraSet { scale: lora.scale(), factors: read(FACTORS)? };
    let optimizer = AdamW {
        first: read(FIRST_MOMENT)?,
        second: read(SECOND_MOMENT)?,
        taken: state.step,
        weight_decay: config.weight_decay,
    };
    Ok((state, set, optimizer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(settings: &str) -> JobIdentity {
        let lock = Lock { template_sha256: "t".into(), tokenizer_sha256: "k".into(), base_model_sha256: "b".into() };
        JobIdentity { lock, settings: settings.to_owned(), data_sha256: "d".to_owned() }
    }

    #[test]
    fn a_checkpoint_of_an_earlier_version_is_of_the_same_job() {
        let config = TrainConfig { learning_rate: 0.1 + 0.2, dropout: 0.0, samples: 0, ..TrainConfig::default() };
        let now = identity(&serde_json::to_string(&config).unwrap());
        let old = r#"{"lora":{"rank":16,"alpha":32.0,"dropout":0.0,"targets":["q_proj","v_proj"]},"max_length":512,"truncation":"response","loss_on":"target","epochs":2,"max_steps":null,"batch_size":4,"accumulation":2,"learning_rate":0.30000000000000004,"schedule":"linear","warmup_steps":4,"weight_decay":0.01,"clip_norm":1.0,"seed":1,"evaluate_every":null,"checkpoint_every":10,"samples":0}"#;
        assert_eq!(identity(old).differences(&now), [] as [&str; 0]);
        let other = identity(&old.replace("\"rank\":16", "\"rank\":8"));
        assert_eq!(other.differences(&now), ["rank was 8 and is 16"]);
    }

    #[test]
    fn settings_that_change_no_result_are_no_part_of_a_job() {
        let of = |config: TrainConfig| identity(&serde_json::to_string(&config).unwrap());
        let plain = of(TrainConfig::default());
        let thrifty = TrainConfig { gradient_checkpointing: true, keep_checkpoints: 9, ..TrainConfig::default() };
        assert!(plain.differences(&of(thrifty)).is_empty());
        let other = TrainConfig { learning_rate: 5e-4, max_steps: Some(4), ..TrainConfig::default() };
        assert_eq!(
            plain.differences(&of(other)),
            ["learning_rate was 0.001 and is 0.0005", "max_steps was none and is 4"]
        );
        assert_eq!(identity("{").differences(&plain), ["the form of the settings is another"]);
    }
}
