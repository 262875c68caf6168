//! Text to token ids and back: a Hugging Face `tokenizer.json`, or the one that a GGUF file carries.

use std::path::Path;

use crate::Result;

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Option<u32>,
    eos: u32,
    adds_bos: bool,
    sha256: String,
}

/// A token with the byte range of the text that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: u32,
    pub start: usize,
    pub end: usize,
}

impl Tokenizer {
    /// `folder/tokenizer.json`, with BOS/EOS from tokenizer_config.json, generation_config.json or config.json beside it.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let _ = folder;
        todo!()
    }

    /// Ids of a text as transformers gives them with `add_special_tokens=False`: special tokens written in the text are recognised.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let _ = text;
        todo!()
    }

    /// As [`Self::encode`], with BOS in front where this tokenizer adds one.
    pub fn encode_with_bos(&self, text: &str) -> Result<Vec<u32>> {
        let _ = text;
        todo!()
    }

    /// Pieces of a text in which special tokens have no power (they are split into ordinary pieces), so that no
    /// data can end a turn or forge one.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<Piece>> {
        let _ = text;
        todo!()
    }

    /// The id of a special (added) token by its text: `<|im_end|>`.
    pub fn special(&self, text: &str) -> Option<u32> {
        let _ = text;
        todo!()
    }

    /// The texts of all special tokens, longest first.
    pub fn specials(&self) -> Vec<String> {
        todo!()
    }

    /// Text of ids, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let _ = ids;
        todo!()
    }

    /// One token as a person may see it in a mask view (never panics on partial UTF-8).
    pub fn piece_text(&self, id: u32) -> String {
        let _ = id;
        todo!()
    }

    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    pub fn eos(&self) -> u32 {
        self.eos
    }

    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Of the tokenizer's serialised form: equal tokenizers, equal hash.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// Ids one by one into text that only grows: bytes of an unfinished character are held back.
#[derive(Default)]
pub struct TextStream {
    ids: Vec<u32>,
    shown: usize,
}

impl TextStream {
    /// The text that this id adds; empty while a character is unfinished.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String> {
        let _ = (tokenizer, id, &self.ids, self.shown);
        todo!()
    }
}
