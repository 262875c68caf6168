//! The decoding loop (continuous batching): rows are prefilled packed and decoded together, one token of each at a
//! time; when a row is finished, the next one is prefilled at once.

use std::collections::{BTreeMap, VecDeque};

use burn::tensor::Tensor;
use rayon::prelude::*;
use spec::{GenerateConfig, WeightFormat};

use super::sampler::Sampler;
use super::{GenerateEvent, GenerateRow, GeneratedRow, GeneratedText};
use crate::control::Control;
use crate::model::BaseModel;
use crate::model::llama::{DropoutSeed, Int8Weights, Llama, Matmul, Pass};
use crate::model::ops::{KvCache, Rope, attend_cached};
use crate::tokenizer::TextStream;
use crate::{Error, Result};

/// Prompt tokens prefilled together: enough rows for full products, few enough that memory stays flat.
const PREFILL_TOKENS: usize = 2048;
/// A shorter common prefix of the prompts is prefilled with each of them: copying it would cost as much.
const MIN_PREFIX: usize = 16;

/// A row that is being generated.
struct Active<'a> {
    row: &'a GenerateRow,
    candidate: u32,
    cache: KvCache,
    sampler: Sampler,
    stream: TextStream,
    ids: Vec<u32>,
    text: String,
}

struct Decoder<'a> {
    model: &'a BaseModel,
    llama: &'a Llama,
    stop_ids: &'a [u32],
    config: &'a GenerateConfig,
    int8: Option<&'a Int8Weights>,
    control: &'a Control,
    on_event: &'a mut dyn FnMut(GenerateEvent),
    /// Finished candidates of rows that have unfinished ones, by row and number.
    finished: BTreeMap<u32, BTreeMap<u32, GeneratedText>>,
}

/// [`super::generate`] on given weights (an adapter merged in, or not).
pub(crate) fn generate_with(
    model: &BaseModel,
    llama: &Llama,
    rows: &[GenerateRow],
    stop_ids: &[u32],
    config: &GenerateConfig,
    control: &Control,
    on_event: &mut dyn FnMut(GenerateEvent),
) -> Result<()> {
    let context = model.config.max_position_embeddings;
    for row in rows {
        model.check_ids(&row.prompt.ids)?;
        let prompt = row.prompt.ids.len();
        let left = context.saturating_sub(prompt);
        if config.max_new_tokens as usize > left {
            let limit =
                format!("at most {left}: the prompt has {prompt} of the {context} tokens of the model's context");
            return Err(Error::invalid("max_new_tokens", config.max_new_tokens as usize, limit));
        }
    }
    let int8 = match config.weights {
        WeightFormat::F32 => None,
        WeightFormat::Int8 => Some(Int8Weights::of(llama).ok_or_else(|| {
            let limit = "f32 here: int8 needs the CPU's fused kernels and widths that are multiples of 32";
            Error::invalid("weights", "int8", limit)
        })?),
    };
    let mut decoder =
        Decoder { model, llama, stop_ids, config, int8: int8.as_ref(), control, on_event, finished: BTreeMap::new() };
    let prefix = decoder.prefill_prefix(rows)?;
    let mut waiting: VecDeque<&GenerateRow> = rows.iter().collect();
    let mut active: Vec<Active<'_>> = Vec::with_capacity(config.batch_size as usize);
    while !(waiting.is_empty() && active.is_empty()) {
        control.check()?;
        // A row's candidates begin together, so that its prompt is prefilled once.
        let free = (config.batch_size as usize).saturating_sub(active.len()) / config.candidates as usize;
        let free = if active.is_empty() { free.max(1) } else { free };
        if free > 0 && !waiting.is_empty() {
            active.extend(decoder.prefill(&mut waiting, free, prefix.as_ref())?);
        } else {
            decoder.step(&mut active)?;
        }
    }
    Ok(())
}

impl<'a> Decoder<'a> {
    /// Prefills the common prefix of all prompts once. None if it is too short to be worth it.
    fn prefill_prefix(&self, rows: &[GenerateRow]) -> Result<Option<KvCache>> {
        let [first, rest @ ..] = rows else { return Ok(None) };
        let first = &first.prompt.ids;
        let shared = rest.iter().fold(first.len(), |shared, row| {
            row.prompt.ids.iter().zip(&first[..shared]).take_while(|(a, b)| a == b).count()
        });
        // A row's last token is prefilled with the row: the first new token is drawn from its logits.
        let shortest = rows.iter().map(|row| row.prompt.ids.len()).min().unwrap_or(0);
        let shared = shared.min(shortest.saturating_sub(1));
        if rest.is_empty() || shared < MIN_PREFIX {
            return Ok(None);
        }
        let mut cache = KvCache::new(&self.model.config, shared, &self.llama.device);
        let positions: Vec<usize> = (0..shared).collect();
        self.llama.hidden_at(
            &first[..shared],
            &self.pass(&positions, self.prefill_matmul()),
            &mut |layer, q, k, v| attend_cached(&mut [&mut cache], layer, q, k, v, &[shared]),
            Some(&[shared - 1]),
        )?;
        cache.advance(shared);
        Ok(Some(cache))
    }

    /// Prefills the prompts of the next rows, at most `free` of them, and draws the first token of each candidate.
    fn prefill(
        &mut self,
        waiting: &mut VecDeque<&'a GenerateRow>,
        free: usize,
        prefix: Option<&KvCache>,
    ) -> Result<Vec<Active<'a>>> {
        let known = prefix.map_or(0, KvCache::length);
        let mut chosen: Vec<&GenerateRow> = Vec::new();
        let mut tokens = 0;
        while chosen.len() < free {
            let fits =
                |row: &&GenerateRow| chosen.is_empty() || tokens + row.prompt.ids.len() - known <= PREFILL_TOKENS;
            let Some(row) = waiting.front().copied().filter(fits) else { break };
            waiting.pop_front();
            tokens += row.prompt.ids.len() - known;
            chosen.push(row);
        }
        let ids: Vec<u32> = chosen.iter().flat_map(|row| row.prompt.ids[known..].iter().copied()).collect();
        let new: Vec<usize> = chosen.iter().map(|row| row.prompt.ids.len() - known).collect();
        let positions: Vec<usize> = new.iter().flat_map(|&new| known..known + new).collect();
        let last: Vec<usize> = new
            .iter()
            .scan(0, |end, &new| {
                *end += new;
                Some(*end - 1)
            })
            .collect();
        let mut caches: Vec<KvCache> = chosen
            .iter()
            .map(|row| {
                let capacity = row.prompt.ids.len() + self.config.max_new_tokens as usize;
                let mut cache = KvCache::new(&self.model.config, capacity, &self.llama.device);
                if let Some(prefix) = prefix {
                    cache.copy_prefix(prefix, known);
                }
                cache
            })
            .collect();
        let mut rows: Vec<&mut KvCache> = caches.iter_mut().collect();
        let hidden = self.llama.hidden_at(
            &ids,
            &self.pass(&positions, self.prefill_matmul()),
            &mut |layer, q, k, v| attend_cached(&mut rows, layer, q, k, v, &new),
            Some(&last),
        )?;
        let candidates = self.config.candidates;
        let mut started: Vec<Active<'a>> = Vec::with_capacity(chosen.len() * candidates as usize);
        for ((row, mut cache), new) in chosen.into_iter().zip(caches).zip(new) {
            cache.advance(new);
            let of_others: Vec<KvCache> = (1..candidates).map(|_| self.copy(&cache, row)).collect();
            started.extend((0..).zip(std::iter::once(cache).chain(of_others)).map(|(candidate, cache)| Active {
                row,
                candidate,
                cache,
                sampler: Sampler::new(self.config, row.index, candidate, &row.prompt.ids),
                stream: TextStream::default(),
                ids: Vec::new(),
                text: String::new(),
            }));
        }
        let hidden = if candidates == 1 {
            hidden
        } else {
            let [rows, width] = hidden.dims();
            hidden.reshape([rows, 1, width]).repeat_dim(1, candidates as usize).reshape([started.len(), width])
        };
        self.draw(&mut started, hidden)?;
        Ok(started)
    }

    /// A copy of a prefilled prompt with room for new tokens.
    fn copy(&self, prompt: &KvCache, row: &GenerateRow) -> KvCache {
        let capacity = row.prompt.ids.len() + self.config.max_new_tokens as usize;
        let mut copy = KvCache::new(&self.model.config, capacity, &self.llama.device);
        copy.copy_prefix(prompt, prompt.length());
        copy
    }

    /// One token for each active row.
    fn step(&mut self, active: &mut Vec<Active<'a>>) -> Result<()> {
        let ids: Vec<u32> = active.iter().filter_map(|row| row.ids.last().copied()).collect();
        let positions: Vec<usize> = active.iter().map(|row| row.cache.length()).collect();
        let new = vec![1; active.len()];
        let mut rows: Vec<&mut KvCache> = active.iter_mut().map(|row| &mut row.cache).collect();
        let pass = self.pass(&positions, self.decode_matmul());
        let hidden =
            self.llama.hidden(&ids, &pass, &mut |layer, q, k, v| attend_cached(&mut rows, layer, q, k, v, &new))?;
        for row in active.iter_mut() {
            row.cache.advance(1);
        }
        self.draw(active, hidden)
    }

    fn prefill_matmul(&self) -> Matmul<'a> {
        self.int8.map_or(Matmul::Prefill, Matmul::Int8)
    }

    fn decode_matmul(&self) -> Matmul<'a> {
        self.int8.map_or(Matmul::Decode, Matmul::Int8)
    }

    fn pass(&self, positions: &[usize], matmul: Matmul<'a>) -> Pass<'a> {
        let config = &self.model.config;
        let rope = Rope::new(positions, config.head_dim, config.rope_theta, &self.llama.device);
        Pass { rope, lora: None, dropout: DropoutSeed::OFF, matmul, control: self.control }
    }

    /// Draws each row's next token from its last hidden state, [rows, hidden]; finished rows are reported and removed.
    fn draw(&mut self, rows: &mut Vec<Active<'a>>, hidden: Tensor<2>) -> Result<()> {
        let logits = self.llama.logits(hidden, self.decode_matmul()).into_data();
        let mut logits: Vec<f32> = logits.try_to_vec().expect("the engine's float tensors are f32");
        let samplers: Vec<&mut Sampler> = rows.iter_mut().map(|row| &mut row.sampler).collect();
        let drawn: Vec<Option<u32>> = samplers
            .into_par_iter()
            .zip(logits.par_chunks_mut(self.model.config.vocab_size))
            .map(|(sampler, logits)| are_finite(logits).then(|| sampler.next(logits, self.config)).flatten())
            .collect();
        let mut still = Vec::with_capacity(rows.len());
        for (mut row, drawn) in rows.drain(..).zip(drawn) {
            let id = drawn.ok_or_else(|| Error::NonFinite {
                what: format!("a logit of new token {} of row {}", row.ids.len() + 1, row.row.index),
                detail: "the weights may hold NaN or infinity, or the adapter may have diverged in training".to_owned(),
            })?;
            if self.stop_ids.contains(&id) {
                self.finish(row, Some(id));
                continue;
            }
            row.ids.push(id);
            let text = row.stream.push(&self.model.tokenizer, id)?;
            if !text.is_empty() {
                row.text.push_str(&text);
                if row.candidate == 0 {
                    (self.on_event)(GenerateEvent::Token { index: row.row.index, text });
                }
            }
            if row.ids.len() >= self.config.max_new_tokens as usize {
                self.finish(row, None);
            } else {
                still.push(row);
            }
        }
        *rows = still;
        Ok(())
    }

    fn finish(&mut self, row: Active<'a>, stopped_by: Option<u32>) {
        // Decoded as a whole: the stream may hold back bytes of an incomplete character.
        let text = self.model.tokenizer.decode(&row.ids).unwrap_or(row.text);
        let index = row.row.index;
        let finished = self.finished.entry(index).or_default();
        finished.insert(row.candidate, GeneratedText { ids: row.ids, text, stopped_by });
        if finished.len() < self.config.candidates as usize {
            return;
        }
        let mut texts = self.finished.remove(&index).unwrap_or_default().into_values();
        let Some(GeneratedText { ids, text, stopped_by }) = texts.next() else { return };
        let response_tokens_cut = row.row.prompt.response_tokens_cut;
        let others = texts.collect();
        (self.on_event)(GenerateEvent::Row(GeneratedRow { index, ids, text, stopped_by, response_tokens_cut, others }));
    }
}

/// In blocks without a branch inside, which the compiler turns into vector instructions: a vocabulary is scanned for every
/// new token.
fn are_finite(logits: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    let is_finite = |logit: &f32| logit.to_bits() & EXPONENT != EXPONENT;
    logits.chunks(4096).all(|block| block.iter().fold(true, |finite, logit| finite & is_finite(logit)))
}

#[cfg(test)]
mod tests {
    use super::are_finite;

    #[test]
    fn one_value_that_is_not_finite_is_found_wherever_it_stands() {
        let mut logits: Vec<f32> = (0..10_000).map(|at| (at as f32 - 5e3) * 1e34).collect();
        assert!(are_finite(&logits) && are_finite(&[]) && are_finite(&[f32::MIN_POSITIVE / 2.0, f32::MAX]));
        for at in [0, 4095, 4096, 9_999] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let kept = std::mem::replace(&mut logits[at], bad);
                assert!(!are_finite(&logits), "{bad} at {at}");
                logits[at] = kept;
            }
        }
    }
}
