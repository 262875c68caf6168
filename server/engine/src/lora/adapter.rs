//! An adapter on disk: PEFT's file names and tensor names, with the lock that ties it to what it was trained with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde::{Deserialize, Serialize};
use spec::{Projection, TemplateConfig};

use super::{LoraConfig, Placed as _};
use crate::model::llama::LoraSet;
use crate::model::ops::Factors;
use crate::model::{BaseModel, LlamaConfig};
use crate::template::Template;
use crate::{Error, Result, artifact};

pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";
const LOCK: &str = "lock.json";
/// Of a rank-1024 adapter on every projection of a 7B model, twice over.
const MOST_BYTES: u64 = 16 << 30;

/// Hashes of what an adapter was trained with; generation with anything else is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub template_sha256: String,
    pub tokenizer_sha256: String,
    pub base_model_sha256: String,
}

impl Lock {
    pub(crate) fn of(model: &BaseModel, template: &Template) -> Self {
        Self {
            template_sha256: template.sha256().to_owned(),
            tokenizer_sha256: model.tokenizer.sha256().to_owned(),
            base_model_sha256: model.sha256.clone(),
        }
    }

    /// Refuses what differs, naming both sides.
    pub(crate) fn check(&self, model: &BaseModel, template: &Template) -> Result<()> {
        let given = Self::of(model, template);
        for (what, trained, given) in [
            ("template", &self.template_sha256, given.template_sha256),
            ("tokenizer", &self.tokenizer_sha256, given.tokenizer_sha256),
            ("base model", &self.base_model_sha256, given.base_model_sha256),
        ] {
            if *trained != given {
                return Err(Error::TemplateLock { what, trained: trained.clone(), given });
            }
        }
        Ok(())
    }
}

/// What `lock.json` holds: the hashes, and what prompts are made by, so that an adapter's folder is all that generation needs.
#[derive(Serialize, Deserialize)]
struct LockFile {
    #[serde(flatten)]
    lock: Lock,
    template: TemplateConfig,
    #[serde(alias = "max_length")]
    max_seq_length: u32,
}

/// `adapter_config.json` as PEFT reads and writes it.
#[derive(Serialize, Deserialize)]
struct PeftConfig {
    peft_type: String,
    task_type: String,
    #[serde(flatten)]
    lora: LoraConfig,
    bias: String,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
}

/// Trained factors, bound to a base model, a tokenizer and a template.
pub struct Adapter {
    pub config: LoraConfig,
    pub lock: Lock,
    /// The template that it was trained with.
    pub template: TemplateConfig,
    /// The maximum length of the sequences that it was trained on, in tokens.
    pub max_seq_length: u32,
    /// Of its folder's manifest.
    pub sha256: String,
    pub(crate) set: LoraSet,
}

impl Adapter {
    /// A folder that training wrote, whole and unchanged.
    pub fn load(folder: &Path, model: &BaseModel) -> Result<Self> {
        let sha256 = artifact::verify_folder(folder)?;
        let peft: PeftConfig = read_json(&folder.join(CONFIG))?;
        let mut config = peft.lora;
        config.targets.sort();
        config.targets.dedup();
        config.validate()?;
        let LockFile { lock, template, max_seq_length } = read_json(&folder.join(LOCK))?;
        let factors = read_factors(&folder.join(WEIGHTS), &config, &model.config, &model.device.inner)?;
        Ok(Self { set: LoraSet { scale: config.scale(), factors }, config, lock, template, max_seq_length, sha256 })
    }

    /// Refuses another template, tokenizer or base model, naming both sides.
    pub fn check(&self, model: &BaseModel, template: &Template) -> Result<()> {
        self.lock.check(model, template)
    }

    /// Writes a whole folder, or none; its manifest's sha256.
    pub(crate) fn save(
        folder: &Path,
        config: &LoraConfig,
        lock: &Lock,
        (template, max_seq_length): (&TemplateConfig, u32),
        set: &LoraSet,
    ) -> Result<String> {
        let peft = PeftConfig {
            peft_type: "LORA".to_owned(),
            task_type: "CAUSAL_LM".to_owned(),
            lora: config.clone(),
            bias: "none".to_owned(),
            base_model_name_or_path: None,
        };
        let lock = LockFile { lock: lock.clone(), template: template.clone(), max_seq_length };
        artifact::write_folder(folder, |temporary| {
            write_json(&temporary.join(CONFIG), &peft)?;
            write_json(&temporary.join(LOCK), &lock)?;
            write_factors(&temporary.join(WEIGHTS), &set.factors)
        })?;
        artifact::verify_folder(folder)
    }
}

/// PEFT's name of a factor: `which` is `A` or `B`.
fn tensor_name(layer: usize, projection: Projection, which: char) -> String {
    format!("base_model.model.model.layers.{layer}.{}.lora_{which}.weight", projection.path())
}

/// Factors (or anything shaped like them: the optimizer's moments) as safetensors with PEFT's names.
pub(crate) fn write_factors(path: &Path, factors: &BTreeMap<(usize, Projection), Factors>) -> Result<()> {
    let mut tensors = Vec::with_capacity(factors.len() * 2);
    for ((layer, projection), pair) in factors {
        for (which, tensor) in [('A', &pair.a), ('B', &pair.b)] {
            let values: Vec<f32> = tensor.to_data().try_to_vec().expect("the engine's float tensors are f32");
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            tensors.push((tensor_name(*layer, *projection, which), tensor.dims().to_vec(), bytes));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("four bytes were written per element");
        (name.as_str(), view)
    });
    let bytes = serialize(views, None).expect("names and shapes come from the model's own configuration");
    artifact::write(path, &bytes)
}

/// What [`write_factors`] or PEFT wrote, checked against the configuration.
pub(crate) fn read_factors(
    path: &Path,
    config: &LoraConfig,
    model: &LlamaConfig,
    device: &Device,
) -> Result<BTreeMap<(usize, Projection), Factors>> {
    let size = fs::metadata(path).map_err(Error::io(path))?.len();
    if size > MOST_BYTES {
        return Err(Error::malformed(path, "size", format!("{size} bytes; at most {MOST_BYTES}")));
    }
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| Error::malformed(path, "header", error.to_string()))?;
    let mut factors = BTreeMap::new();
    for layer in 0..model.num_hidden_layers {
        for &projection in &config.targets {
            let [out, input] = projection.shape(model);
            let read = |which, shape| read_factor(path, &file, &tensor_name(layer, projection, which), shape, device);
            let pair = Factors { a: read('A', [config.rank, input])?, b: read('B', [out, config.rank])? };
            factors.insert((layer, projection), pair);
        }
    }
    Ok(factors)
}

fn read_factor(
    path: &Path,
    file: &SafeTensors<'_>,
    name: &str,
    shape: [usize; 2],
    device: &Device,
) -> Result<Tensor<2>> {
    let view = file.tensor(name).map_err(|_| Error::malformed(path, name, "it is not there"))?;
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        return Err(Error::malformed(
            path,
            name,
            format!("it is {:?} {:?}; it must be F32 {shape:?}", view.dtype(), view.shape()),
        ));
    }
    let values: Vec<f32> =
        view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect();
    if values.iter().any(|value| !value.is_finite()) {
        return Err(Error::malformed(path, name, "it holds a value that is not finite"));
    }
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(value).expect("plain data without maps of non-string keys");
    artifact::write(path, &bytes)
}

pub(crate) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::malformed(path, format!("line {}", error.line()), error.to_string()))
}
