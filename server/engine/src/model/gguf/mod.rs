//! GGUF: header, metadata and tensor directory, read with bounds; and what a Llama's names and layouts are there, in
//! HF's terms. Reads no weights (that is `storage`'s) and builds no tokenizer (it hands out the metadata).

mod architecture;
mod bytes;
mod header;
mod metadata;
mod names;
#[cfg(test)]
pub(crate) mod write;

pub use header::Header;
pub use metadata::Metadata;
pub use names::{huggingface_name, is_interleaved};

/// The first bytes of every GGUF file.
pub const MAGIC: &[u8; 4] = b"GGUF";
