//! An HF folder: config.json, one safetensors file or several with an index, tokenizer.json.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;

use super::{MAX_CONFIG, ModelFiles, OpenFile, StoredTensor, TokenizerSource, hash, missing, safetensors};
use crate::model::LlamaConfig;
use crate::{Error, Result, source};

const MAX_INDEX: u64 = 32 << 20;
const MAX_SHARDS: usize = 1024;

pub fn open(folder: &Path) -> Result<ModelFiles> {
    let config_path = folder.join("config.json");
    let config = LlamaConfig::from_json(&config_path, &source::read_small(&config_path, MAX_CONFIG)?)?;
    let files: Vec<OpenFile> = weights_files(folder)?.iter().map(|path| OpenFile::open(path)).collect::<Result<_>>()?;
    let mut stored = Vec::new();
    for (index, file) in files.iter().enumerate() {
        stored.extend(safetensors::read(file, index)?);
    }
    add_missing_prefix(&mut stored);
    let mut tensors: HashMap<String, StoredTensor> = HashMap::new();
    for (name, tensor) in stored {
        let file = &files[tensor.file];
        if name.starts_with("model.layers.") && name.ends_with(".bias") {
            return Err(Error::unsupported(&file.path, format!("tensor {name}"), "projections have no bias"));
        }
        if let Some(other) = tensors.insert(name.clone(), tensor) {
            let problem = format!("is in {} too", files[other.file].path.display());
            return Err(Error::malformed(&file.path, format!("tensor {name}"), problem));
        }
    }
    let hashes: Vec<String> =
        files.par_iter().map(|file| hash::of_file(&file.path, &file.file)).collect::<Result<_>>()?;
    let sha256 = hash::of_model(&config, &hashes);
    ModelFiles::checked(config, files, tensors, sha256, TokenizerSource::Folder(folder.to_owned()))
}

/// A `LlamaModel` saved without its head has names without `model.`, which transformers adds when it loads one.
fn add_missing_prefix(tensors: &mut [(String, StoredTensor)]) {
    let is_bare = |name: &str| name == "embed_tokens.weight" || name == "norm.weight" || name.starts_with("layers.");
    if tensors.iter().any(|(name, _)| name.starts_with("model.")) {
        return;
    }
    for (name, _) in tensors.iter_mut().filter(|(name, _)| is_bare(name)) {
        name.insert_str(0, "model.");
    }
}

/// `model.safetensors`, or the files that the index names, in the order of their names.
fn weights_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let single = folder.join("model.safetensors");
    if single.exists() {
        return Ok(vec![single]);
    }
    let index = folder.join("model.safetensors.index.json");
    if !index.is_file() {
        return Err(missing(&single));
    }
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let parsed: Index = source::read_json(&index, MAX_INDEX)?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    if names.is_empty() || names.len() > MAX_SHARDS {
        let problem = format!("names {} files; it must be 1 to {MAX_SHARDS}", names.len());
        return Err(Error::malformed(&index, "weight_map", problem));
    }
    names
        .into_iter()
        .map(|name| {
            let mut components = Path::new(&name).components();
            match (components.next(), components.next()) {
                (Some(Component::Normal(_)), None) if name.ends_with(".safetensors") => Ok(folder.join(name)),
                _ => {
                    let problem = format!("names {name:?}; it must be a .safetensors file in this folder");
                    Err(Error::malformed(&index, "weight_map", problem))
                }
            }
        })
        .collect()
}
