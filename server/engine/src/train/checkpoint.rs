//! Checkpoints: everything that an exact resume needs, in a folder that appears whole or not at all.
//!
//! A checkpoint is taken between optimizer steps. It belongs to one job (model, tokenizer, template, settings and data)
//! and is refused for any other. Old checkpoints are removed: the newest ones and the best one are kept.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::optimizer::AdamW;
use super::{TrainConfig, TrainEvent};
use crate::lora::{Lock, read_factors, read_json, write_factors, write_json};
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
    /// The settings as JSON: text compares exactly, where a number that went through a file may not.
    pub(super) settings: String,
    /// Of all encoded sequences, in order.
    pub(super) data_sha256: String,
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

/// The newest checkpoint of this job that matches its manifest. A damaged one is reported and set aside, and the one
/// before it is used.
pub(super) fn newest(
    run: &Path,
    job: &JobIdentity,
    config: &TrainConfig,
    model: &BaseModel,
    on_event: &mut dyn FnMut(TrainEvent),
) -> Result<Option<(State, LoraSet, AdamW)>> {
    let folder = folder_of(run);
    if !folder.exists() {
        return Ok(None);
    }
    artifact::sweep(&folder)?;
    let mut damaged: Vec<(String, Error)> = Vec::new();
    for name in names(&folder)?.into_iter().rev() {
        match open(&folder.join(&name), job, config, model) {
            Ok(found) => {
                for (name, error) in damaged {
                    if error.code() != spec::ErrorCode::Io {
                        // It must not count as one of those that are kept.
                        artifact::rename_folder(&folder.join(&name), &folder.join(format!("{DAMAGED}{name}")))?;
                    }
                    let text = format!("checkpoint {name} is damaged ({error}): resuming from step {}", found.0.step);
                    on_event(TrainEvent::Warning(text));
                }
                return Ok(Some(found));
            }
            Err(error @ Error::Invalid { .. }) => return Err(error),
            Err(error) => damaged.push((name, error)),
        }
    }
    // All damaged: starting from the beginning without being asked would hide the loss.
    damaged.into_iter().next_back().map_or(Ok(None), |(_, error)| Err(error))
}

fn open(path: &Path, job: &JobIdentity, config: &TrainConfig, model: &BaseModel) -> Result<(State, LoraSet, AdamW)> {
    artifact::verify_folder(path)?;
    let state: State = read_json(&path.join(STATE))?;
    if state.job != *job {
        return Err(Error::invalid(
            "resume",
            path.display(),
            format!("of the same job, but its {} differs", difference(&state.job, job)),
        ));
    }
    let lora = &config.lora;
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

fn difference(saved: &JobIdentity, now: &JobIdentity) -> &'static str {
    if saved.lock.base_model_sha256 != now.lock.base_model_sha256 {
        "base model"
    } else if saved.lock != now.lock {
        "template or tokenizer"
    } else if saved.data_sha256 != now.data_sha256 {
        "training data"
    } else {
        "configuration"
    }
}
