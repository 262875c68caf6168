//! How numbers lie in a weights file, and their way to f32. Knows neither files' headers nor tensors' names: a
//! [`Storage`] is a block layout, an [`Extent`] a place in an open file.

use std::fs::File;
use std::path::Path;

use rayon::prelude::*;

use crate::{Error, Result};

mod blocks;
mod k_quants;

/// Plain numbers are blocks of one value. Quantised layouts are ggml's, by its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Storage {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// Values decoded by one thread at a time; a whole number of every layout's blocks.
const CHUNK: usize = 1 << 16;

impl Storage {
    pub const SUPPORTED: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 and Q2_K to Q6_K are";

    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Values and bytes of one block.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of so many values; `None` if they do not fill whole blocks or overflow.
    pub fn size_bytes(self, values: u64) -> Option<u64> {
        let (per_block, bytes) = self.block();
        let blocks = values.is_multiple_of(per_block as u64).then(|| values / per_block as u64)?;
        blocks.checked_mul(bytes as u64)
    }

    /// Whole blocks, little-endian, into as many values as they hold.
    pub fn decode(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            Self::F32 => each(bytes, values, |bytes: &[u8; 4], [value]: &mut [f32; 1]| {
                *value = f32::from_le_bytes(*bytes);
            }),
            Self::F16 => each(bytes, values, |bytes: &[u8; 2], [value]: &mut [f32; 1]| {
                *value = half::f16::from_le_bytes(*bytes).to_f32();
            }),
            Self::Bf16 => each(bytes, values, |bytes: &[u8; 2], [value]: &mut [f32; 1]| {
                *value = half::bf16::from_le_bytes(*bytes).to_f32();
            }),
            Self::Q8_0 => each(bytes, values, blocks::q8_0),
            Self::Q4_0 => each(bytes, values, blocks::q4_0),
            Self::Q4_1 => each(bytes, values, blocks::q4_1),
            Self::Q5_0 => each(bytes, values, blocks::q5_0),
            Self::Q5_1 => each(bytes, values, blocks::q5_1),
            Self::Q2K => each(bytes, values, k_quants::q2_k),
            Self::Q3K => each(bytes, values, k_quants::q3_k),
            Self::Q4K => each(bytes, values, k_quants::q4_k),
            Self::Q5K => each(bytes, values, k_quants::q5_k),
            Self::Q6K => each(bytes, values, k_quants::q6_k),
        }
    }
}

fn each<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    values: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    let (blocks, values) = (bytes.as_chunks().0, values.as_chunks_mut().0);
    for (block, values) in blocks.iter().zip(values) {
        decode(block, values);
    }
}

/// A half-precision number at byte `at` of a block.
fn f16(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Where a tensor's numbers lie; checked against the file's size when it was opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    pub storage: Storage,
    pub offset: u64,
    pub values: usize,
}

impl Extent {
    /// The numbers, read and decoded in pieces on all threads. A file that has shrunk since is an error.
    pub fn read(&self, path: &Path, file: &File) -> Result<Vec<f32>> {
        let (per_block, block_bytes) = self.storage.block();
        let chunk_bytes = CHUNK / per_block * block_bytes;
        let mut values = vec![0.0; self.values];
        values
            .par_chunks_mut(CHUNK)
            .enumerate()
            .try_for_each_init(Vec::new, |bytes, (index, values)| {
                bytes.resize(values.len() / per_block * block_bytes, 0);
                read_exact_at(file, bytes, self.offset + (index * chunk_bytes) as u64)?;
                self.storage.decode(bytes, values);
                Ok(())
            })
            .map_err(Error::io(path))?;
        Ok(values)
    }
}

/// Without a shared cursor, so that threads may read one file at once.
#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Storage; 13] = [
        Storage::F32,
        Storage::F16,
        Storage::Bf16,
        Storage::Q8_0,
        Storage::Q4_0,
        Storage::Q4_1,
        Storage::Q5_0,
        Storage::Q5_1,
        Storage::Q2K,
        Storage::Q3K,
        Storage::Q4K,
        Storage::Q5K,
        Storage::Q6K,
    ];

    /// Made by `reference/ggml_blocks.py` with the Python package `gguf`: for each layout some blocks and their values.
    const GOLDEN: &str = include_str!("../../../reference/ggml_blocks.json");

    #[test]
    fn every_layout_decodes_as_the_gguf_package_does() {
        #[derive(serde::Deserialize)]
        struct Case {
            storage: String,
            bytes: String,
            values: Vec<f32>,
        }
        let cases: Vec<Case> = serde_json::from_str(GOLDEN).unwrap();
        for storage in ALL {
            let case = cases.iter().find(|case| case.storage == storage.name()).unwrap();
            let bytes: Vec<u8> = (0..case.bytes.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&case.bytes[i..i + 2], 16).unwrap())
                .collect();
            let mut values = vec![f32::NAN; case.values.len()];
            assert_eq!(storage.size_bytes(values.len() as u64), Some(bytes.len() as u64));
            storage.decode(&bytes, &mut values);
            for (index, (found, expected)) in values.iter().zip(&case.values).enumerate() {
                let close = (found - expected).abs() <= 1e-6 * expected.abs().max(1e-3);
                assert!(close, "{}: value {index} is {found}, expected {expected}", storage.name());
            }
        }
    }

    #[test]
    fn a_long_tensor_is_read_whole_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        let numbers: Vec<f32> = (0..3 * CHUNK + 17).map(|n| n as f32).collect();
        let mut bytes = vec![0xAA; 3];
        bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        std::fs::write(&path, bytes).unwrap();
        let file = File::open(&path).unwrap();
        let extent = Extent { storage: Storage::F32, offset: 3, values: numbers.len() };
        assert_eq!(extent.read(&path, &file).unwrap(), numbers);
        let beyond = Extent { values: numbers.len() + 1, ..extent };
        assert_eq!(beyond.read(&path, &file).unwrap_err().code(), spec::ErrorCode::Io);
    }

    #[test]
    fn chunks_are_whole_blocks_and_sizes_do_not_overflow() {
        for storage in ALL {
            assert!(CHUNK.is_multiple_of(storage.block().0));
        }
        assert_eq!(Storage::F32.size_bytes(u64::MAX), None);
        assert_eq!(Storage::Q4K.size_bytes(100), None);
        assert_eq!(Storage::Q4_1.size_bytes(64), Some(40));
    }
}
