//! Where models, shared data and golden files are, and small makers of what most tests need.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use engine::data::Pair;
use engine::device::Device;
use engine::model::BaseModel;
use engine::template::Template;
use engine::tokenizer::Tokenizer;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use spec::{EndMarker, Projection, Schedule, TemplateConfig, TrainConfig};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

pub fn fixture(name: &str) -> PathBuf {
    tests().join("fixtures").join(name)
}

pub fn golden_path(name: &str) -> PathBuf {
    tests().join("golden").join(name)
}

pub fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = golden_path(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file or folder of the data beside the checkout, which strangers do not have.
pub fn shared(path: &str) -> Option<PathBuf> {
    present(workspace().join("../shared/data").join(path))
}

/// What `backtranslate model fetch smollm2-135m-instruct --data data` or `cargo xtask test` leaves in the checkout.
pub fn smollm2_path() -> Option<PathBuf> {
    present(workspace().join("data/models/smollm2-135m-instruct"))
}

fn present(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

pub fn load(path: &Path) -> BaseModel {
    // `TEST_DEVICE=flex:composed` holds the path without fused kernels to the same figures.
    let spec = std::env::var("TEST_DEVICE").unwrap_or_else(|_| "flex".to_owned());
    let device = Device::open(&spec).unwrap();
    BaseModel::load(path, &device, &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}"))
}

pub fn tiny() -> BaseModel {
    load(&fixture("tiny-llama"))
}

/// tiny-llama with one value of a tensor replaced.
pub fn tiny_with(tensor: &str, value: f32) -> BaseModel {
    let (from, to) = (fixture("tiny-llama"), tempfile::tempdir().unwrap());
    for entry in fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    let weights = to.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let names: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let start = 8 + header + names[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[start..start + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(&weights, bytes).unwrap();
    load(to.path())
}

/// tiny-llama with its embeddings as the head.
pub fn tiny_tied() -> BaseModel {
    let (from, to) = (fixture("tiny-llama"), tempfile::tempdir().unwrap());
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    let config = fs::read_to_string(from.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["tie_word_embeddings"] = true.into();
    fs::write(to.path().join("config.json"), config.to_string()).unwrap();
    let mut weights = Factors::read(&from.join("model.safetensors"));
    weights.tensors.remove("lm_head.weight").unwrap();
    weights.write(&to.path().join("model.safetensors"));
    load(to.path())
}

/// f32 tensors by name, as a safetensors file holds them.
#[derive(Clone, Debug)]
pub struct Factors {
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Factors {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let values = |view: &TensorView<'_>| {
            assert_eq!(view.dtype(), Dtype::F32);
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let tensors =
            file.tensors().iter().map(|(name, view)| (name.clone(), (view.shape().to_vec(), values(view)))).collect();
        Self { tensors }
    }

    pub fn write(&self, path: &Path) {
        let bytes: BTreeMap<&String, Vec<u8>> = self
            .tensors
            .iter()
            .map(|(name, (_, values))| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
            .collect();
        let views = self.tensors.iter().map(|(name, (shape, _))| {
            (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap())
        });
        fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }

    /// The largest absolute difference, with the name of its tensor. Both must have the same names and shapes.
    pub fn largest_difference(&self, other: &Self) -> (f64, String) {
        assert!(self.tensors.keys().eq(other.tensors.keys()), "different tensors");
        let mut worst = (0.0, String::new());
        for (name, (shape, values)) in &self.tensors {
            let (other_shape, others) = &other.tensors[name];
            assert_eq!(shape, other_shape, "{name}");
            for (a, b) in values.iter().zip(others) {
                let difference = f64::from((a - b).abs());
                if difference > worst.0 {
                    worst = (difference, name.clone());
                }
            }
        }
        worst
    }
}

#[derive(Clone, Deserialize)]
pub struct GoldenPair {
    pub instruction: String,
    pub response: String,
    pub ids: Vec<u32>,
    pub prompt_len: usize,
}

impl GoldenPair {
    pub fn pair(&self) -> Pair {
        pair(&self.instruction, &self.response)
    }
}

pub fn pair(instruction: &str, response: &str) -> Pair {
    Pair {
        instruction: instruction.to_owned(),
        response: response.to_owned(),
        tree: response.to_owned(),
        turn: 0,
        quality: None,
    }
}

/// Eight pairs of unequal lengths.
pub fn golden_pairs() -> Vec<Pair> {
    #[derive(Deserialize)]
    struct File {
        pairs: Vec<GoldenPair>,
    }
    golden::<File>("lora.json").pairs.iter().map(GoldenPair::pair).collect()
}

pub fn template(prompt: &str, target: &str, tokenizer: &Tokenizer) -> Template {
    let text = TemplateConfig {
        prompt: prompt.to_owned(),
        target: target.to_owned(),
        end: EndMarker::Eos,
        generation_prompt: None,
    };
    Template::new(text, tokenizer).unwrap()
}

pub fn short_template(tokenizer: &Tokenizer) -> Template {
    template("R: {response}\nI: ", "{instruction}", tokenizer)
}

/// One epoch a step: four at a time, twice, without dropout or clipping.
pub fn full_batch(target_modules: Vec<Projection>, steps: u32) -> TrainConfig {
    TrainConfig {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        target_modules,
        epochs: steps,
        learning_rate: 1e-2,
        lr_scheduler: Schedule::Constant,
        warmup_steps: 0,
        max_grad_norm: 0.0,
        save_steps: None,
        samples: 0,
        ..TrainConfig::default()
    }
}

pub fn relative(ours: f64, theirs: f64) -> f64 {
    (ours - theirs).abs() / theirs.abs()
}
