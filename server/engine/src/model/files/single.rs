//! A model in one GGUF file: weights, configuration and tokenizer.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::Path;

use super::{ModelFiles, OpenFile, StoredTensor, TokenizerSource, hash};
use crate::model::LlamaConfig;
use crate::model::gguf::{Header, huggingface_name, is_interleaved};
use crate::{Error, Result};

pub fn open(path: &Path) -> Result<ModelFiles> {
    let file = OpenFile::open(path)?;
    let header = read_header(&file)?;
    let config = LlamaConfig::from_gguf(&header)?;
    let mut tensors = HashMap::new();
    for tensor in header.tensors {
        if tensor.name.ends_with(".attn_rot_embd") {
            continue; // a table that can be computed
        }
        let Some(name) = huggingface_name(&tensor.name) else {
            let what = format!("tensor {:?}", tensor.name);
            return Err(Error::unsupported(path, what, "a plain Llama has no such tensor"));
        };
        let interleaved = is_interleaved(&tensor.name);
        let stored = StoredTensor { file: 0, shape: tensor.shape, extent: tensor.extent, interleaved };
        if tensors.insert(name, stored).is_some() {
            return Err(Error::malformed(path, format!("tensor {}", tensor.name), "is there twice"));
        }
    }
    // Of the file alone: configuration and tokenizer are in it, and it can be compared with what a publisher says.
    let sha256 = hash::of_file(path, &file.file)?;
    ModelFiles::checked(config, vec![file], tensors, sha256, TokenizerSource::Gguf(Box::new(header.metadata)))
}

pub fn inspect(path: &Path) -> Result<LlamaConfig> {
    LlamaConfig::from_gguf(&read_header(&OpenFile::open(path)?)?)
}

fn read_header(file: &OpenFile) -> Result<Header> {
    Header::read(&file.path, BufReader::with_capacity(1 << 20, &file.file), file.size)
}
