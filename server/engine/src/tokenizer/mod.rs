//! Text to token ids and back: a Hugging Face `tokenizer.json`, or the one that a GGUF file carries (put into the same
//! form first). Knows nothing of templates or of what the ids are for; texts from data have no power here unless
//! [`Tokenizer::encode`] is asked for.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use sha2::Digest;
use tokenizers::AddedToken;

use crate::{Error, Result, artifact};

mod bounds;
mod folder;
mod gguf;
mod pieces;
mod sentencepiece;
mod stream;
#[cfg(test)]
mod tests;
mod tokenizer_json;
mod vocabulary;

pub use stream::TextStream;
use tokenizer_json::TokenizerJson;

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The same without special tokens, and without the post-processor, which may trim offsets.
    plain: tokenizers::Tokenizer,
    special_tokens: SpecialTokens,
    sha256: String,
    specials: Vec<String>,
    /// Those that [`Self::decode`] leaves out.
    silent: HashSet<u32>,
    byte_level: bool,
    vocabulary: usize,
    /// Where it was read, for messages.
    path: PathBuf,
}

/// A token with the byte range of the text that it covers. Ranges are in order and are on character bounds; the
/// tokens of one split character all have that character's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: u32,
    pub start: usize,
    pub end: usize,
}

/// What a `tokenizer.json` does not say itself.
struct SpecialTokens {
    bos: Option<u32>,
    /// Never empty. The first is the tokenizer's own, with which texts end in training; generation stops at all.
    eos: Vec<u32>,
    adds_bos: bool,
}

impl Tokenizer {
    /// `folder/tokenizer.json`, with BOS/EOS from tokenizer_config.json, generation_config.json or config.json beside
    /// it.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        Self::from_folder_within(folder, None)
    }

    fn build(path: &Path, json: TokenizerJson, mut special_tokens: SpecialTokens) -> Self {
        let TokenizerJson { inner, mut digest, byte_level, vocabulary } = json;
        let mut seen = HashSet::new();
        special_tokens.eos.retain(|id| seen.insert(*id));
        let SpecialTokens { bos, eos, adds_bos } = &special_tokens;
        // Adapters store this hash: what ids mean to a text decides, further ids at which generation stops do not.
        let first_eos = eos.first().copied().unwrap_or_default();
        digest.update(format!("bos {bos:?} eos {first_eos} adds_bos {adds_bos}"));
        let sha256 = artifact::hex(&digest.finalize());

        let added: Vec<(u32, AddedToken)> = inner.get_added_tokens_decoder().into_iter().collect();
        let silent = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        // Added tokens of spaces alone are ordinary words of some vocabularies; all others are markup.
        let markup: Vec<AddedToken> =
            added.into_iter().map(|(_, token)| token).filter(|token| !token.content.trim().is_empty()).collect();
        let mut specials: Vec<String> = markup.iter().map(|token| token.content.clone()).collect();
        specials.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));

        let mut plain = inner.clone();
        plain.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        let powerless: Vec<AddedToken> = markup.into_iter().map(|token| token.special(true)).collect();
        plain.add_special_tokens(&powerless);
        plain.set_encode_special_tokens(true);

        Self { plain, inner, special_tokens, sha256, specials, silent, byte_level, vocabulary, path: path.to_owned() }
    }

    /// Ids of a text as transformers gives them with `add_special_tokens=False`: special tokens written in the text
    /// are recognised.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| malformed(&self.path, "text", &*error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`Self::encode`], with BOS in front where this tokenizer adds one.
    pub fn encode_with_bos(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(text)?;
        if let Some(bos) = self.bos().filter(|_| self.adds_bos()) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// Pieces of a text in which special tokens have no power (they are split into ordinary pieces), so that no
    /// data can end a turn or forge one.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<Piece>> {
        let encoding = self.plain.encode(text, false).map_err(|error| malformed(&self.path, "text", &*error))?;
        let ranges = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(ranges.map(|(&id, &(start, end))| Piece { id, start, end }).collect())
    }

    /// The id of a special (added) token by its text: `<|im_end|>`.
    pub fn special(&self, text: &str) -> Option<u32> {
        self.specials.iter().any(|special| special == text).then(|| self.inner.token_to_id(text)).flatten()
    }

    /// The texts of all special tokens, longest first.
    pub fn specials(&self) -> Vec<String> {
        self.specials.clone()
    }

    /// Text of ids, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|error| malformed(&self.path, "ids", &*error))
    }

    /// One token as a person may see it in a mask view (never panics on partial UTF-8).
    pub fn piece_text(&self, id: u32) -> String {
        let Some(token) = self.inner.id_to_token(id) else { return format!("[{id}]") };
        if self.silent.contains(&id) || self.specials.contains(&token) {
            return token;
        }
        pieces::text(&token, self.byte_level)
    }

    pub fn bos(&self) -> Option<u32> {
        self.special_tokens.bos
    }

    /// The token that ends a text in training.
    pub fn eos(&self) -> u32 {
        self.eos_ids().first().copied().unwrap_or_default()
    }

    /// Every token that ends a text in generation: the tokenizer's, and all that the model's configurations list.
    pub fn eos_ids(&self) -> &[u32] {
        &self.special_tokens.eos
    }

    pub fn adds_bos(&self) -> bool {
        self.special_tokens.adds_bos && self.special_tokens.bos.is_some()
    }

    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Of the tokenizer's serialised form: equal tokenizers, equal hash.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

fn malformed(path: &Path, place: &str, error: &(impl std::fmt::Display + ?Sized)) -> Error {
    let mut problem = error.to_string();
    if let Some((end, _)) = problem.char_indices().nth(300) {
        problem.truncate(end);
    }
    Error::malformed(path, place, problem)
}
