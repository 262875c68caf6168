//! The directory of a GGUF file, versions 2 and 3: every count, length, dimension and offset is checked against the
//! file's real size before it is believed.

use std::io::Read;
use std::path::Path;

use super::MAGIC;
use super::bytes::Bytes;
use super::metadata::{Metadata, Value};
use crate::error::TRUNCATED_HINT;
use crate::model::storage::{Extent, Storage};
use crate::{Error, Result};

pub struct Header {
    pub metadata: Metadata,
    pub tensors: Vec<Tensor>,
}

pub struct Tensor {
    pub name: String,
    /// Out features first, as HF has it (a GGUF's own order is the reverse).
    pub shape: Vec<usize>,
    pub extent: Extent,
}

/// A vocabulary of a million long words fits; more is taken for damage.
const MAX_HEADER: u64 = 256 << 20;
const MAX_KEYS: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 16;
const MAX_NAME: u64 = 1 << 10;
const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;
/// Behind the last tensor: padding. All of a file is hashed, so an endless one is refused before that.
const MOST_TRAILING: u64 = 1 << 20;

impl Header {
    /// Reads from the start of a file of `size` bytes. `path` is for messages.
    pub fn read(path: &Path, source: impl Read, size: u64) -> Result<Self> {
        let mut bytes = Bytes::new(source, size.min(MAX_HEADER));
        let header = Self::read_from(path, &mut bytes, size);
        header.map_err(|error| if bytes.ended() { error.with_hint(TRUNCATED_HINT) } else { error })
    }

    fn read_from(path: &Path, bytes: &mut Bytes<impl Read>, size: u64) -> Result<Self> {
        let at = |place: &'static str| move |problem| Error::malformed(path, place, problem);
        let magic: [u8; 4] = bytes.array().map_err(at("magic"))?;
        if magic != *MAGIC {
            return Err(Error::malformed(path, "magic", "this is not a GGUF file"));
        }
        match bytes.u32().map_err(at("version"))? {
            2 | 3 => {}
            version if version.swap_bytes() <= 3 => {
                return Err(Error::unsupported(path, "a big-endian GGUF", "little-endian ones are"));
            }
            version => return Err(Error::unsupported(path, format!("GGUF version {version}"), "versions 2 and 3 are")),
        }
        let n_tensors = bytes.u64().map_err(at("tensor_count"))?;
        let n_keys = bytes.u64().map_err(at("metadata_kv_count"))?;
        for (field, count, limit) in [("tensor_count", n_tensors, MAX_TENSORS), ("metadata_kv_count", n_keys, MAX_KEYS)]
        {
            if count > limit {
                return Err(Error::malformed(path, field, format!("is {count}; the limit is {limit}")));
            }
        }
        let mut metadata = Metadata::new(path);
        for index in 0..n_keys {
            let key = bytes
                .string(MAX_NAME)
                .map_err(|problem| Error::malformed(path, format!("metadata key {index}"), problem))?;
            let value =
                Value::read(bytes).map_err(|problem| Error::malformed(path, format!("metadata {key}"), problem))?;
            metadata.insert(key, value)?;
        }
        let mut entries = Vec::new();
        for index in 0..n_tensors {
            entries.push(Entry::read(path, bytes, index)?);
        }
        let data_start = padded(bytes.position(), alignment(path, &metadata)?);
        let ends = entries.iter().map(|entry| entry.offset.saturating_add(entry.size_bytes));
        let end = data_start.saturating_add(ends.max().unwrap_or(0));
        if size > end.saturating_add(MOST_TRAILING) {
            let problem = format!("the file has {size} bytes, but its last tensor ends at {end}");
            return Err(Error::malformed(path, "size", problem)
                .with_hint("The file was filled up behind its end: get it again."));
        }
        let tensors = entries.into_iter().map(|entry| entry.placed(path, data_start, size)).collect::<Result<_>>()?;
        Ok(Self { metadata, tensors })
    }
}

fn alignment(path: &Path, metadata: &Metadata) -> Result<u64> {
    let alignment = metadata.unsigned("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        let problem = format!("is {alignment}; it must be a power of two, at most {}", 1 << 20);
        return Err(Error::malformed(path, "general.alignment", problem));
    }
    Ok(alignment)
}

fn padded(position: u64, alignment: u64) -> u64 {
    position.next_multiple_of(alignment)
}

/// A tensor as the directory has it: its offset counts from the end of the directory, which is not known yet.
struct Entry {
    name: String,
    shape: Vec<usize>,
    storage: Storage,
    values: u64,
    size_bytes: u64,
    offset: u64,
}

impl Entry {
    fn read(path: &Path, bytes: &mut Bytes<impl Read>, index: u64) -> Result<Self> {
        let name = bytes
            .string(MAX_NAME)
            .map_err(|problem| Error::malformed(path, format!("name of tensor {index}"), problem))?;
        let at = |problem| Error::malformed(path, format!("tensor {name}"), problem);
        let n_dimensions = bytes.u32().map_err(at)?;
        if n_dimensions == 0 || n_dimensions > MAX_DIMENSIONS {
            return Err(at(format!("has {n_dimensions} dimensions; it must be 1 to {MAX_DIMENSIONS}")));
        }
        let dimensions: Vec<u64> = (0..n_dimensions).map(|_| bytes.u64()).collect::<Result<_, _>>().map_err(at)?;
        let kind = bytes.u32().map_err(at)?;
        let offset = bytes.u64().map_err(at)?;
        let Some(storage) = storage_of(kind) else {
            let what = format!("tensor {name}, stored as {},", type_name(kind));
            return Err(Error::unsupported(path, what, Storage::SUPPORTED));
        };
        let values = dimensions.iter().try_fold(1u64, |product, &n| product.checked_mul(n).filter(|&p| p > 0));
        let row_is_whole = dimensions[0].is_multiple_of(storage.block().0 as u64);
        let size_bytes = values.filter(|_| row_is_whole).and_then(|values| storage.size_bytes(values));
        let (Some(values), Some(size_bytes)) = (values, size_bytes) else {
            return Err(at(format!("{dimensions:?} is no shape of {} values", storage.name())));
        };
        let shape = dimensions.iter().rev().map(|&n| n as usize).collect();
        Ok(Self { name, shape, storage, values, size_bytes, offset })
    }

    fn placed(self, path: &Path, data_start: u64, file_size: u64) -> Result<Tensor> {
        let place = data_start.checked_add(self.offset);
        match place.and_then(|start| start.checked_add(self.size_bytes)) {
            Some(end) if end <= file_size => {
                let offset = data_start + self.offset;
                let extent = Extent { storage: self.storage, offset, values: self.values as usize };
                Ok(Tensor { name: self.name, shape: self.shape, extent })
            }
            _ => {
                let problem = format!(
                    "its {} bytes at {} + {} lie outside the file's {file_size}",
                    self.size_bytes, data_start, self.offset
                );
                Err(Error::truncated(path, format!("tensor {}", self.name), problem))
            }
        }
    }
}

/// ggml's numbers.
fn storage_of(kind: u32) -> Option<Storage> {
    Some(match kind {
        0 => Storage::F32,
        1 => Storage::F16,
        2 => Storage::Q4_0,
        3 => Storage::Q4_1,
        6 => Storage::Q5_0,
        7 => Storage::Q5_1,
        8 => Storage::Q8_0,
        10 => Storage::Q2K,
        11 => Storage::Q3K,
        12 => Storage::Q4K,
        13 => Storage::Q5K,
        14 => Storage::Q6K,
        30 => Storage::Bf16,
        _ => return None,
    })
}

fn type_name(kind: u32) -> String {
    const OTHERS: [(u32, &str); 17] = [
        (9, "Q8_1"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (39, "MXFP4"),
    ];
    match OTHERS.iter().find(|(number, _)| *number == kind) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("ggml type {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::write::{Writer, mutants};
    use super::*;

    fn read(bytes: &[u8]) -> Result<Header> {
        Header::read(Path::new("model.gguf"), bytes, bytes.len() as u64)
    }

    fn small() -> Writer {
        let mut writer = Writer::default();
        writer.text("general.architecture", "llama");
        writer.unsigned("llama.block_count", 2);
        writer.texts("tokenizer.ggml.tokens", &["a", "bc", "ħ"]);
        writer.floats("tokenizer.ggml.scores", &[0.0, -1.0, -2.0]);
        writer.flag("tokenizer.ggml.add_bos_token", true);
        writer.tensor("one", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        writer.tensor("two", &[4], &[7.0; 4]);
        writer
    }

    #[test]
    fn a_small_file_is_read() {
        let bytes = small().bytes();
        let header = read(&bytes).unwrap();
        let metadata = &header.metadata;
        assert_eq!(metadata.text("general.architecture").unwrap(), Some("llama"));
        assert_eq!(metadata.unsigned("llama.block_count").unwrap(), Some(2));
        assert_eq!(metadata.flag("tokenizer.ggml.add_bos_token").unwrap(), Some(true));
        assert_eq!(metadata.floats("tokenizer.ggml.scores").unwrap(), Some(vec![0.0, -1.0, -2.0]));
        let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap().unwrap();
        assert_eq!(tokens.iter().collect::<Vec<_>>(), ["a", "bc", "ħ"]);
        assert_eq!(header.tensors[0].shape, [2, 3]);
        let extent = header.tensors[1].extent;
        let raw = &bytes[extent.offset as usize..][..16];
        let mut values = [0.0; 4];
        extent.storage.decode(raw, &mut values);
        assert_eq!(values, [7.0; 4]);
    }

    #[test]
    fn hostile_counts_and_places_are_refused_by_name() {
        let check = |change: &dyn Fn(&mut Writer), named: &str| {
            let mut writer = small();
            change(&mut writer);
            let message = read(&writer.bytes()).map(|_| ()).expect_err(named).to_string();
            assert!(message.contains(named), "{message}");
        };
        check(&|w| w.n_tensors = Some(u64::MAX), "tensor_count: is");
        check(&|w| w.n_tensors = Some(3), "name of tensor 2");
        check(&|w| w.n_keys = Some(u64::MAX), "metadata_kv_count");
        check(&|w| w.version = 1, "GGUF version 1");
        check(&|w| w.version = 3u32.swap_bytes(), "big-endian");
        check(&|w| w.unsigned("general.alignment", 0), "general.alignment");
        check(&|w| w.unsigned("llama.block_count", 3), "llama.block_count");
        check(&|w| w.raw("long", &[9, 0, 0, 0, 8, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 127]), "metadata long");
        check(&|w| w.raw("nested", &[9, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]), "metadata nested");
        check(&|w| w.entry("far", &[4], 0, 1 << 40), "tensor far");
        check(&|w| w.entry("far", &[4], 0, u64::MAX - 8), "tensor far");
        check(&|w| w.entry("huge", &[1 << 40, 1 << 40], 0, 0), "tensor huge");
        check(&|w| w.entry("empty", &[0], 0, 0), "tensor empty");
        check(&|w| w.entry("ragged", &[4, 33], 8, 0), "tensor ragged");
        check(&|w| w.data.resize(w.data.len() + (2 << 20), 0), "last tensor ends at");
        check(&|w| w.entry("strange", &[256], 16, 0), "IQ2_XXS");
    }

    #[test]
    fn mutants_give_errors_and_never_panics() {
        let bytes = small().bytes();
        for mutant in mutants(&bytes, 4000) {
            let _ = read(&mutant);
        }
        // The last 16 bytes pad the last tensor.
        for end in 0..bytes.len() - 16 {
            assert!(read(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
