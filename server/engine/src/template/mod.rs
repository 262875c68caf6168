//! The text around a response and an instruction, its end marker, and how a pair becomes token ids.
//!
//! Invariants: the prompt's ids are the same in training and in generation; with [`Truncation::Response`] a target
//! is never cut and ends in the end marker; text of the data never acts as a special token.
//!
//! Prompt and target are encoded apart, for generation knows only the prompt. The target is encoded as a continuation
//! (no word mark is put before it that a text's beginning would get), so that the ids of a pair are those of the whole text
//! in one go wherever that has a token boundary between prompt and target. Where it has none (a prompt that ends in a
//! space before a word, an instruction whose first line break would join the prompt's last), no encoding could
//! have both properties, and the prompt's is kept.

use serde::{Deserialize, Serialize};

use crate::artifact;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, data::Pair};

mod segments;
#[cfg(test)]
mod tests;

use segments::{Segments, Slotted};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateText {
    /// Holds `{response}` once.
    pub prompt: String,
    /// Holds `{instruction}` once.
    pub target: String,
    pub end: EndMarker,
    /// None: generation uses `prompt`.
    pub generation_prompt: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndMarker {
    Eos,
    None,
    /// A literal text; where it is one token, that token. Generation stops at single tokens only, so a text of several
    /// ordinary ones is followed by EOS in training.
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// The response loses tokens at its end; the target and the template's own text stay whole.
    Response,
    /// Whatever lies beyond the limit is lost, the target first.
    Right,
}

const RESPONSE: &str = "{response}";
const INSTRUCTION: &str = "{instruction}";
/// No template needs more; each part is encoded for every pair.
const MOST_TEXT_BYTES: usize = 16_384;
/// Texts that a continuation is encoded behind where the prompt's own end does not leave it whole.
const ANCHORS: [&str; 3] = ["\n", ".", "a"];

/// A template made ready for one tokenizer.
#[derive(Clone, Debug)]
pub struct Template {
    text: TemplateText,
    sha256: String,
    prompt: Segments,
    generation_prompt: Option<Segments>,
    target: Segments,
    /// What the target continues: see [`Segments::ending`].
    prompt_end: Option<String>,
    end_ids: Vec<u32>,
    stop_ids: Vec<u32>,
}

/// One pair as the model reads it: `ids = prompt ++ target`, the target with its end marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPair {
    pub ids: Vec<u32>,
    /// Length of the prompt within `ids`.
    pub prompt_len: usize,
    pub response_tokens_cut: usize,
    pub target_tokens_cut: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPrompt {
    pub ids: Vec<u32>,
    pub response_tokens_cut: usize,
}

impl Template {
    /// Refuses a text without its slot, or with it twice, by field name.
    pub fn new(text: TemplateText, tokenizer: &Tokenizer) -> Result<Self> {
        check("prompt", &text.prompt, RESPONSE, INSTRUCTION)?;
        check("target", &text.target, INSTRUCTION, RESPONSE)?;
        if let Some(prompt) = &text.generation_prompt {
            check("generation_prompt", prompt, RESPONSE, INSTRUCTION)?;
        }
        let json = serde_json::to_vec(&text).expect("texts have a JSON form");
        let prompt = Segments::compile(&text.prompt, RESPONSE, tokenizer);
        let generation_prompt =
            text.generation_prompt.as_ref().map(|prompt| Segments::compile(prompt, RESPONSE, tokenizer));
        let target = Segments::compile(&text.target, INSTRUCTION, tokenizer);
        let (end_ids, stop_id) = end(&text.end, tokenizer)?;
        let mut stop_ids: Vec<u32> = stop_id.into_iter().collect();
        stop_ids.extend(tokenizer.eos_ids().iter().filter(|id| Some(**id) != stop_id));
        Ok(Self {
            sha256: artifact::sha256(&json),
            prompt_end: prompt.ending().map(ToOwned::to_owned),
            prompt,
            generation_prompt,
            target,
            end_ids,
            stop_ids,
            text,
        })
    }

    /// None: the target alone (with the prompt's fixed part) does not fit into `max_length`; such a pair is dropped and counted.
    pub fn encode_pair(
        &self,
        tokenizer: &Tokenizer,
        pair: &Pair,
        max_length: usize,
        truncation: Truncation,
    ) -> Result<Option<EncodedPair>> {
        let mut prompt = self.encode_slotted(tokenizer, &self.prompt, &pair.response)?;
        let target = self.encode_target(tokenizer, &pair.instruction)?;
        match truncation {
            Truncation::Response => {
                let Some(room) = max_length.checked_sub(target.len()) else { return Ok(None) };
                let Some(response_tokens_cut) = prompt.shorten(room) else { return Ok(None) };
                let mut ids = prompt.ids;
                let prompt_len = ids.len();
                ids.extend(target);
                Ok(Some(EncodedPair { ids, prompt_len, response_tokens_cut, target_tokens_cut: 0 }))
            }
            Truncation::Right => {
                let whole = prompt.ids.len();
                let prompt_len = whole.min(max_length);
                let response_tokens_cut = prompt.response.clone().filter(|&place| place >= max_length).count();
                let kept = target.len().min(max_length - prompt_len);
                let mut ids = prompt.ids;
                ids.truncate(prompt_len);
                ids.extend(&target[..kept]);
                Ok(Some(EncodedPair { ids, prompt_len, response_tokens_cut, target_tokens_cut: target.len() - kept }))
            }
        }
    }

    /// The generation prompt in at most `max_prompt` tokens, shortened by the same rule as in training.
    ///
    /// Errors: `max_prompt` does not hold the prompt's own text.
    pub fn encode_prompt(&self, tokenizer: &Tokenizer, response: &str, max_prompt: usize) -> Result<EncodedPrompt> {
        let segments = self.generation_prompt.as_ref().unwrap_or(&self.prompt);
        let mut prompt = self.encode_slotted(tokenizer, segments, response)?;
        let fixed = prompt.ids.len() - prompt.response.len();
        match prompt.shorten(max_prompt) {
            Some(response_tokens_cut) => Ok(EncodedPrompt { ids: prompt.ids, response_tokens_cut }),
            None => Err(Error::invalid(
                "max_prompt",
                format!("{max_prompt} tokens"),
                format!("at least {fixed}, the length of the prompt's own text"),
            )),
        }
    }

    /// Ids that end a generated instruction: the end marker's, and always every EOS of the model.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The instruction in a generated text: what stands in the target's slot, trimmed.
    ///
    /// Takes away the target's own text before the slot and, from its first occurrence, a literal end marker or the
    /// target's own text behind the slot (unless it is white space). Nothing else is cut: a prompt's label that appears in the
    /// text is a failure that the tags must see.
    pub fn extract<'a>(&self, generated: &'a str) -> &'a str {
        let (before, behind) = self.text.target.split_once(INSTRUCTION).unwrap_or_default();
        let mut text = generated.trim();
        text = text.strip_prefix(before.trim()).unwrap_or(text);
        let end = match &self.text.end {
            EndMarker::Text(end) => end.trim(),
            EndMarker::Eos | EndMarker::None => "",
        };
        for mark in [end, behind.trim()] {
            if let Some(place) = text.find(mark).filter(|_| !mark.is_empty()) {
                text = &text[..place];
            }
        }
        text.trim()
    }

    pub fn text(&self) -> &TemplateText {
        &self.text
    }

    /// Of the template's canonical JSON.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// A prompt with BOS in front where the tokenizer adds one, and only one where the template writes it itself.
    fn encode_slotted(&self, tokenizer: &Tokenizer, segments: &Segments, text: &str) -> Result<Slotted> {
        let mut encoded = segments.encode(tokenizer, text)?;
        if let Some(bos) = tokenizer.bos().filter(|bos| tokenizer.adds_bos() && encoded.ids.first() != Some(bos)) {
            encoded.ids.insert(0, bos);
            encoded.response = encoded.response.start + 1..encoded.response.end + 1;
        }
        Ok(encoded)
    }

    fn encode_target(&self, tokenizer: &Tokenizer, instruction: &str) -> Result<Vec<u32>> {
        let mut ids = self.target.encode_behind(tokenizer, instruction, self.prompt_end.as_deref())?;
        ids.extend(&self.end_ids);
        Ok(ids)
    }
}

fn check(field: &'static str, text: &str, slot: &str, other: &str) -> Result<()> {
    if text.len() > MOST_TEXT_BYTES {
        return Err(Error::invalid(
            field,
            format!("{} bytes long", text.len()),
            format!("at most {MOST_TEXT_BYTES} bytes"),
        ));
    }
    if text.matches(slot).count() != 1 || text.contains(other) {
        return Err(Error::invalid(
            field,
            format!("{text:?}"),
            format!("a text with {slot} in it once, and without {other}"),
        ));
    }
    Ok(())
}

/// The end marker's ids, and the one at which generation stops where that is not EOS.
fn end(marker: &EndMarker, tokenizer: &Tokenizer) -> Result<(Vec<u32>, Option<u32>)> {
    let text = match marker {
        EndMarker::Eos => return Ok((vec![tokenizer.eos()], None)),
        EndMarker::None => return Ok((Vec::new(), None)),
        EndMarker::Text(text) => text,
    };
    if text.trim().is_empty() || text.len() > MOST_TEXT_BYTES {
        return Err(Error::invalid("end", format!("{text:?}"), "`eos`, `none`, or a text of more than white space"));
    }
    if let Some(id) = tokenizer.special(text) {
        return Ok((vec![id], Some(id)));
    }
    let segments = Segments::compile(text, "", tokenizer);
    let mut ids = segments.encode_behind(tokenizer, "", Some(""))?;
    let stop = segments.leading_special().or(if ids.len() == 1 { Some(ids[0]) } else { None });
    if stop.is_none() {
        ids.push(tokenizer.eos());
    }
    Ok((ids, stop))
}
