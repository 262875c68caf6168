//! A base model's files, opened and checked but not read whole: an HF folder or a GGUF file. Every tensor that the
//! configuration asks for is known to be there in its shape before one number is read.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::LlamaConfig;
use super::storage::{Extent, Storage};
use crate::file_kind::FileKind;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, source};

mod folder;
mod hash;
mod safetensors;
mod single;

/// Tensors are asked for by HF names (`model.layers.0.self_attn.q_proj.weight`) and come as f32 in row-major order, in
/// HF's rotate-half layout wherever they are stored.
pub struct ModelFiles {
    pub config: LlamaConfig,
    /// `Q4_1, Q8_0, F32`
    pub stored_as: String,
    pub size_bytes: u64,
    /// Of the weights' bytes and the configuration.
    pub sha256: String,
    files: Vec<OpenFile>,
    tensors: HashMap<String, StoredTensor>,
    tokenizer: TokenizerSource,
}

/// Kept open, so that what was checked is what is read.
struct OpenFile {
    path: PathBuf,
    file: File,
    size: u64,
}

struct StoredTensor {
    file: usize,
    shape: Vec<usize>,
    extent: Extent,
    /// Rows of each head in pairs, not in halves.
    interleaved: bool,
}

enum TokenizerSource {
    Folder(PathBuf),
    Gguf(Box<super::gguf::Metadata>),
}

/// What a path turned out to be.
enum Kind {
    Folder,
    Gguf(PathBuf),
}

/// Formats that run code when they are read.
const PICKLES: [&str; 6] = ["bin", "pt", "pth", "ckpt", "pkl", "pickle"];
/// Far above any real `config.json`.
const MAX_CONFIG: u64 = 4 << 20;

impl ModelFiles {
    /// An HF folder, a `.gguf` file, or a folder with exactly one `.gguf` file in it. Reads all bytes once for the
    /// hash: about half a second per gigabyte where the processor has SHA instructions, else three.
    pub fn open(path: &Path) -> Result<Self> {
        match kind_of(path)? {
            Kind::Folder => folder::open(path),
            Kind::Gguf(path) => single::open(&path),
        }
    }

    /// From what is known of the files, after checking that they hold what the configuration asks for.
    fn checked(
        config: LlamaConfig,
        files: Vec<OpenFile>,
        tensors: HashMap<String, StoredTensor>,
        sha256: String,
        tokenizer: TokenizerSource,
    ) -> Result<Self> {
        let size_bytes = files.iter().map(|file| file.size).sum();
        let mut bytes_as: HashMap<Storage, u64> = HashMap::new();
        let loaded = Self { config, stored_as: String::new(), size_bytes, sha256, files, tensors, tokenizer };
        for (name, shape) in loaded.config.tensors() {
            let extent = loaded.find(&name, &shape)?.extent;
            *bytes_as.entry(extent.storage).or_default() +=
                extent.storage.size_bytes(extent.values as u64).unwrap_or(0);
        }
        let mut stored: Vec<_> = bytes_as.into_iter().collect();
        stored.sort_by_key(|&(storage, bytes)| (std::cmp::Reverse(bytes), storage));
        let names: Vec<_> = stored.iter().map(|(storage, _)| storage.name()).collect();
        Ok(Self { stored_as: names.join(", "), ..loaded })
    }

    /// The tokenizer beside or inside the weights; every id that it can give has a row in the embedding.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        match &self.tokenizer {
            TokenizerSource::Folder(folder) => Tokenizer::from_folder_within(folder, Some(self.config.vocab_size)),
            TokenizerSource::Gguf(metadata) => Tokenizer::from_gguf(metadata, self.config.vocab_size),
        }
    }

    /// Reads one tensor; its stored shape must be `shape` (out features first, as HF stores them). Decodes on all
    /// threads, and may be called from several.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.find(name, shape)?;
        let file = &self.files[tensor.file];
        let values = tensor.extent.read(&file.path, &file.file)?;
        Ok(if tensor.interleaved { halved(&values, shape, self.config.head_dim) } else { values })
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<&StoredTensor> {
        let Some(tensor) = self.tensors.get(name) else {
            let path = self.files.first().map(|file| file.path.as_path()).unwrap_or(Path::new(""));
            let known = self.config.tensors().iter().filter(|(name, _)| self.tensors.contains_key(name)).count();
            let problem = match self.tensors.keys().min() {
                Some(other) if known == 0 => {
                    format!("is missing; its {} tensors have other names, such as {other}", self.tensors.len())
                }
                _ => "is missing".to_owned(),
            };
            return Err(Error::malformed(path, format!("tensor {name}"), problem)
                .with_hint("Get a complete Llama in Hugging Face's format, with all files of its weights."));
        };
        if tensor.shape != shape {
            let problem = format!("has shape {:?}; the configuration asks for {shape:?}", tensor.shape);
            return Err(Error::malformed(&self.files[tensor.file].path, format!("tensor {name}"), problem));
        }
        Ok(tensor)
    }
}

/// The rows of each head from pairs (0, 1), (2, 3), … to halves: all firsts, then all seconds.
fn halved(values: &[f32], shape: &[usize], head_dim: usize) -> Vec<f32> {
    let width: usize = shape[1..].iter().product();
    let mut rows = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * width) {
        for second in [0, 1] {
            for row in head.chunks_exact(width).skip(second).step_by(2) {
                rows.extend_from_slice(row);
            }
        }
    }
    rows
}

/// What can be said without the weights' numbers: a folder, a `config.json` alone, or a GGUF file.
pub fn inspect(path: &Path) -> Result<LlamaConfig> {
    if path.extension().is_some_and(|extension| extension == "json") {
        return LlamaConfig::from_json(path, &source::read_small(path, MAX_CONFIG)?);
    }
    let config = path.join("config.json");
    if config.is_file() {
        return LlamaConfig::from_json(&config, &source::read_small(&config, MAX_CONFIG)?);
    }
    match kind_of(path)? {
        Kind::Folder => Err(missing(&config)),
        Kind::Gguf(path) => single::inspect(&path),
    }
}

fn kind_of(path: &Path) -> Result<Kind> {
    let about = std::fs::metadata(path).map_err(Error::io(path))?;
    if !about.is_dir() {
        let (file, _) = source::open_regular(path)?;
        let head = source::head(path, &file)?;
        let kind = FileKind::of(&head);
        refuse_pickle(path, kind)?;
        if kind == Some(FileKind::Gguf) || has_extension(path, "gguf") {
            return Ok(Kind::Gguf(path.to_owned()));
        }
        if let Some(kind) = kind {
            return Err(kind.error(path, "a model", "give the model's folder or a .gguf file"));
        }
        return Err(Error::unsupported(path, "a single file of this kind", "give the model's folder or a .gguf file"));
    }
    let entries = std::fs::read_dir(path).map_err(Error::io(path))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    if files.iter().any(|file| has_extension(file, "safetensors")) {
        return Ok(Kind::Folder);
    }
    let ggufs: Vec<&PathBuf> = files.iter().filter(|file| has_extension(file, "gguf")).collect();
    match ggufs[..] {
        [only] => Ok(Kind::Gguf(only.clone())),
        [] => match files.iter().find(|file| is_weights_pickle(file)) {
            Some(pickle) => refuse_pickle(pickle, None).map(|()| Kind::Folder),
            None => Err(missing(&path.join("model.safetensors"))),
        },
        _ => {
            let supported = "name the file that is meant";
            Err(Error::unsupported(path, format!("a folder with {} .gguf files", ggufs.len()), supported))
        }
    }
}

/// PyTorch's own files are pickles, in a zip archive or bare.
fn refuse_pickle(path: &Path, kind: Option<FileKind>) -> Result<()> {
    if !matches!(kind, Some(FileKind::Zip | FileKind::Pickle)) && (kind.is_some() || !is_weights_pickle(path)) {
        return Ok(());
    }
    let supported = "convert it to safetensors: reading a pickle runs the code in it";
    let hint = "In Python: load the model with transformers and save it with `save_pretrained(folder)`.";
    Err(Error::unsupported(path, "a pickle", supported).with_hint(hint))
}

fn is_weights_pickle(path: &Path) -> bool {
    PICKLES.iter().any(|extension| has_extension(path, extension))
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn missing(path: &Path) -> Error {
    Error::Io { path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() }
}

impl OpenFile {
    /// Weights; what is another kind of file is refused by name.
    fn open(path: &Path) -> Result<Self> {
        let (file, size) = source::open_regular(path)?;
        match FileKind::of(&source::head(path, &file)?) {
            None | Some(FileKind::Gguf | FileKind::Safetensors) => Ok(Self { path: path.to_owned(), size, file }),
            Some(kind) => Err(kind.error(path, "the weights", "safetensors and GGUF are")),
        }
    }
}

#[cfg(test)]
mod tests;
