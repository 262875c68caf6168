//! Checkpoints: everything that an exact resume needs, in a folder that appears whole or not at all.
//!
//! A checkpoint always lies between optimizer steps. It belongs to one job: model, tokenizer, template, settings
//! and data; another job's checkpoint is refused rather than continued.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainConfig;
use super::optimizer::AdamW;
use crate::lora::{Lock, read_factors, read_json, write_factors, write_json};
use crate::model::BaseModel;
use crate::model::llama::LoraSet;
use crate::{Error, Result, artifact};

const STATE: &str = "state.json";
const FACTORS: &str = "factors.safetensors";
const FIRST_MOMENT: &str = "first_moment.safetensors";
const SECOND_MOMENT: &str = "second_moment.safetensors";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Optimizer steps taken.
    pub(super) step: u32,
    /// Of the last step.
    pub(super) loss: f64,
    pub(super) validation_loss_before: Option<f64>,
    pub(super) validation_loss: Option<f64>,
    /// A stop came into the validation that is due after `step`: a resume begins with it.
    #[serde(default)]
    pub(super) evaluation_due: bool,
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
    format!("step-{step:08}")
}

pub(super) fn save(run: &Path, state: &State, set: &LoraSet, optimizer: &AdamW) -> Result<String> {
    let folder = folder_of(run);
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let name = name_of(state.step);
    artifact::write_folder(&folder.join(&name), |temporary| {
        write_json(&temporary.join(STATE), state)?;
        write_factors(&temporary.join(FACTORS), &set.factors)?;
        write_factors(&temporary.join(FIRST_MOMENT), &optimizer.first)?;
        write_factors(&temporary.join(SECOND_MOMENT), &optimizer.second)
    })?;
    Ok(name)
}

/// The newest checkpoint of this job that is whole. A damaged one is passed over for the one before it.
pub(super) fn newest(
    run: &Path,
    job: &JobIdentity,
    config: &TrainConfig,
    model: &BaseModel,
) -> Result<Option<(State, LoraSet, AdamW)>> {
    let folder = folder_of(run);
    if !folder.exists() {
        return Ok(None);
    }
    artifact::sweep(&folder)?;
    let mut names: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(Error::io(&folder))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-")))
        .collect();
    names.sort();
    let mut damaged = None;
    for path in names.into_iter().rev() {
        match open(&path, job, config, model) {
            Ok(found) => return Ok(Some(found)),
            Err(error @ Error::Invalid { .. }) => return Err(error),
            Err(error) => damaged = Some(error),
        }
    }
    // All damaged: starting over in silence would hide a loss from the person whose work it is.
    damaged.map_or(Ok(None), Err)
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
    let read = |name: &str| read_factors(&path.join(name), lora, &model.config, &model.llama.device);
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
