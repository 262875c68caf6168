//! The header of one safetensors file, checked against the file's size. The format's own rules (offsets that follow one
//! another, sizes that are shape times type) are the `safetensors` crate's.

use std::path::Path;

use ::safetensors::tensor::{Dtype, Metadata};

use super::{Extent, OpenFile, Storage, StoredTensor};
use crate::{Error, Result};

/// A header has about 100 bytes per tensor.
const MAX_HEADER: u64 = 32 << 20;

/// Names and tensors of `file`, which will be number `index` of the model's files.
pub fn read(file: &OpenFile, index: usize) -> Result<Vec<(String, StoredTensor)>> {
    use std::io::Read;
    let mut source = &file.file;
    let mut length = [0; 8];
    source
        .read_exact(&mut length)
        .map_err(|_| Error::truncated(&file.path, "header", format!("the file has {} bytes only", file.size)))?;
    let length = u64::from_le_bytes(length);
    check_length(&file.path, length, file.size)?;
    let mut header = vec![0; length as usize];
    source.read_exact(&mut header).map_err(Error::io(&file.path))?;
    parse(&file.path, &header, file.size, index)
}

fn check_length(path: &Path, length: u64, file_size: u64) -> Result<()> {
    if length > MAX_HEADER {
        let problem = format!("would be {length} bytes long, but at most {MAX_HEADER} are read; is it safetensors?");
        return Err(Error::malformed(path, "header", problem));
    }
    if length > file_size.saturating_sub(8) {
        return Err(Error::truncated(path, "header", format!("is {length} bytes long; the file has {file_size}")));
    }
    Ok(())
}

fn parse(path: &Path, header: &[u8], file_size: u64, index: usize) -> Result<Vec<(String, StoredTensor)>> {
    let metadata: Metadata =
        serde_json::from_slice(header).map_err(|error| Error::malformed(path, "header", error.to_string()))?;
    let data_start = 8 + header.len() as u64;
    let data_length = file_size.saturating_sub(data_start);
    if metadata.data_len() as u64 != data_length {
        let problem = format!("describes {} bytes of data; the file has {data_length}", metadata.data_len());
        let is_short = metadata.data_len() as u64 > data_length;
        return Err(if is_short {
            Error::truncated(path, "header", problem)
        } else {
            Error::malformed(path, "header", problem)
        });
    }
    let mut tensors = Vec::new();
    for (name, info) in metadata.tensors() {
        let storage = match info.dtype {
            Dtype::F32 => Storage::F32,
            Dtype::F16 => Storage::F16,
            Dtype::BF16 => Storage::Bf16,
            // Buffers that old exports hold beside the weights; a weight that is missed will be named.
            _ if !name.ends_with(".weight") => continue,
            other => {
                let what = format!("tensor {name}, stored as {other},");
                return Err(Error::unsupported(path, what, "F32, F16 and BF16 are"));
            }
        };
        let extent = Extent {
            storage,
            offset: data_start + info.data_offsets.0 as u64,
            values: (info.data_offsets.1 - info.data_offsets.0) / storage.block().1,
        };
        tensors.push((name, StoredTensor { file: index, shape: info.shape.clone(), extent, interleaved: false }));
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gguf::write::mutants;

    fn check(bytes: &[u8]) -> Result<Vec<(String, StoredTensor)>> {
        let path = Path::new("model.safetensors");
        let Some((length, rest)) = bytes.split_first_chunk() else {
            return Err(Error::malformed(path, "header", "short"));
        };
        let length = u64::from_le_bytes(*length);
        check_length(path, length, bytes.len() as u64)?;
        parse(path, &rest[..length as usize], bytes.len() as u64, 0)
    }

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    const TWO: &str = r#"{"__metadata__":{"format":"pt"},
        "a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
        "b.weight":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}}"#;

    #[test]
    fn extents_count_from_the_start_of_the_file() {
        let mut tensors = check(&file(TWO, 32)).unwrap();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let start = 8 + TWO.len() as u64;
        assert_eq!(tensors[0].1.extent, Extent { storage: Storage::F32, offset: start, values: 6 });
        assert_eq!(tensors[1].1.extent, Extent { storage: Storage::Bf16, offset: start + 24, values: 4 });
    }

    #[test]
    fn files_that_lie_are_refused() {
        assert!(check(&file(TWO, 31)).is_err());
        assert!(check(&file(TWO, 33)).is_err());
        assert!(check(&[255; 16]).is_err());
        assert!(
            check(&file(
                r#"{"a.weight":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}}"#,
                4
            ))
            .is_err()
        );
        assert!(check(&file(r#"{"a.weight":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#, 4)).is_err());
        let error = check(&file(r#"{"a.weight":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}}"#, 4)).err().unwrap();
        assert!(error.to_string().contains("a.weight, stored as I8"), "{error}");
        assert!(check(&file(&"[".repeat(100_000), 0)).is_err());
    }

    #[test]
    fn mutants_give_errors_and_never_panics() {
        for mutant in mutants(&file(TWO, 32), 4000) {
            if let Ok(tensors) = check(&mutant) {
                for (_, tensor) in tensors {
                    let bytes = tensor.extent.storage.size_bytes(tensor.extent.values as u64).unwrap();
                    assert!(tensor.extent.offset + bytes <= mutant.len() as u64);
                }
            }
        }
    }
}
