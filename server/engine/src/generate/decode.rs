//! The decoding loop: rows are prefilled packed, decoded one token at a time together, and a finished row's place is
//! taken at once by the next one.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use super::cache::RowCache;
use super::sampler::Sampler;
use super::{GenerateConfig, GenerateEvent, GenerateRow, GeneratedRow};
use crate::control::Control;
use crate::model::BaseModel;
use crate::model::llama::{DropoutSeed, Llama, Pass};
use crate::model::ops::{Rope, Segments, attend_cached, attention, linear};
use crate::tokenizer::TextStream;
use crate::{Error, Result};

/// Prompt tokens prefilled together: enough rows for full products, few enough that memory stays flat.
const PREFILL_TOKENS: usize = 2048;

/// A row being written.
struct Active<'a> {
    row: &'a GenerateRow,
    cache: RowCache,
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
    on_event: &'a mut dyn FnMut(GenerateEvent),
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
        if row.prompt.ids.len() + config.max_new_tokens > context {
            return Err(Error::invalid(
                "max_new_tokens",
                config.max_new_tokens,
                format!(
                    "at most {} behind a prompt of {} tokens",
                    context - row.prompt.ids.len(),
                    row.prompt.ids.len()
                ),
            ));
        }
    }
    let mut decoder = Decoder { model, llama, stop_ids, config, on_event };
    let mut waiting: VecDeque<&GenerateRow> = rows.iter().collect();
    let mut active: Vec<Active<'_>> = Vec::with_capacity(config.batch_size);
    while !(waiting.is_empty() && active.is_empty()) {
        if control.asked().is_some() {
            return Err(Error::Stopped);
        }
        let free = config.batch_size - active.len();
        if free > 0 && !waiting.is_empty() {
            active.extend(decoder.prefill(&mut waiting, free)?);
        } else {
            decoder.step(&mut active)?;
        }
    }
    Ok(())
}

impl<'a> Decoder<'a> {
    /// Reads the prompts of the next rows, at most `free` of them, and writes their first token.
    fn prefill(&mut self, waiting: &mut VecDeque<&'a GenerateRow>, free: usize) -> Result<Vec<Active<'a>>> {
        let mut chosen: Vec<&GenerateRow> = Vec::new();
        let mut tokens = 0;
        while chosen.len() < free {
            let fits = |row: &&GenerateRow| chosen.is_empty() || tokens + row.prompt.ids.len() <= PREFILL_TOKENS;
            let Some(row) = waiting.front().copied().filter(fits) else { break };
            waiting.pop_front();
            tokens += row.prompt.ids.len();
            chosen.push(row);
        }
        let ids: Vec<u32> = chosen.iter().flat_map(|row| row.prompt.ids.iter().copied()).collect();
        let lengths: Vec<usize> = chosen.iter().map(|row| row.prompt.ids.len()).collect();
        let positions: Vec<usize> = lengths.iter().flat_map(|&length| 0..length).collect();
        let device = &self.llama.device;
        let mut caches: Vec<RowCache> = lengths
            .iter()
            .map(|length| RowCache::new(&self.model.config, length + self.config.max_new_tokens, device))
            .collect();

        let config = &self.model.config;
        let (heads, kv_heads, head_dim) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let segments = Segments::new(&lengths, heads, kv_heads, head_dim, device);
        let hidden = self.llama.hidden(&ids, &self.pass(&positions), &mut |layer, q, k, v| {
            let mut start = 0;
            for (cache, &length) in caches.iter_mut().zip(&lengths) {
                cache.push(layer, k.clone().narrow(0, start, length), v.clone().narrow(0, start, length));
                start += length;
            }
            attention(q, k, v, &segments)
        });
        let mut start = 0;
        let mut last = Vec::with_capacity(chosen.len());
        for (cache, &length) in caches.iter_mut().zip(&lengths) {
            cache.advance(length);
            start += length;
            last.push(hidden.clone().narrow(0, start - 1, 1));
        }
        let mut started: Vec<Active<'a>> = chosen
            .into_iter()
            .zip(caches)
            .map(|(row, cache)| Active {
                row,
                cache,
                sampler: Sampler::new(self.config, row.index, &row.prompt.ids),
                stream: TextStream::default(),
                ids: Vec::new(),
                text: String::new(),
            })
            .collect();
        self.write(&mut started, Tensor::cat(last, 0))?;
        Ok(started)
    }

    /// One token for each active row.
    fn step(&mut self, active: &mut Vec<Active<'a>>) -> Result<()> {
        let ids: Vec<u32> = active.iter().filter_map(|row| row.ids.last().copied()).collect();
        let positions: Vec<usize> = active.iter().map(|row| row.cache.length()).collect();
        let hidden = self.llama.hidden(&ids, &self.pass(&positions), &mut |layer, q, k, v| {
            let one = |x: &Tensor<2>, index| x.clone().narrow(0, index, 1);
            let contexts = active
                .iter_mut()
                .enumerate()
                .map(|(index, row)| {
                    row.cache.push(layer, one(k, index), one(v, index));
                    let (keys, values) = row.cache.read(layer, 1);
                    attend_cached(one(q, index), keys, values)
                })
                .collect();
            Tensor::cat(contexts, 0)
        });
        for row in active.iter_mut() {
            row.cache.advance(1);
        }
        self.write(active, hidden)
    }

    fn pass(&self, positions: &[usize]) -> Pass<'static> {
        let config = &self.model.config;
        let rope = Rope::new(positions, config.head_dim, config.rope_theta, &self.llama.device);
        Pass { rope, lora: None, dropout: DropoutSeed::OFF }
    }

    /// Draws each row's next token from its last hidden state, [rows, hidden]; rows that end leave.
    fn write(&mut self, rows: &mut Vec<Active<'a>>, hidden: Tensor<2>) -> Result<()> {
        let logits = linear(hidden, &self.llama.head, None).into_data();
        let mut logits: Vec<f32> = logits.try_to_vec().expect("the engine's float tensors are f32");
        let mut still = Vec::with_capacity(rows.len());
        for (mut row, logits) in rows.drain(..).zip(logits.chunks_mut(self.model.config.vocab_size)) {
            let id = row.sampler.next(logits, self.config).ok_or_else(|| Error::NonFinite {
                what: "every logit",
                step: row.ids.len() as u32,
                detail: format!("row {}; the adapter may have diverged in training", row.row.index),
            })?;
            if self.stop_ids.contains(&id) {
                self.finish(row, Some(id));
                continue;
            }
            row.ids.push(id);
            let text = row.stream.push(&self.model.tokenizer, id)?;
            if !text.is_empty() {
                row.text.push_str(&text);
                (self.on_event)(GenerateEvent::Token { index: row.row.index, text });
            }
            if row.ids.len() >= self.config.max_new_tokens {
                self.finish(row, None);
            } else {
                still.push(row);
            }
        }
        *rows = still;
        Ok(())
    }

    fn finish(&mut self, row: Active<'a>, stopped_by: Option<u32>) {
        (self.on_event)(GenerateEvent::Row(GeneratedRow {
            index: row.row.index,
            // Decoded whole: the stream may still hold back bytes of an unfinished character.
            text: self.model.tokenizer.decode(&row.ids).unwrap_or(row.text),
            ids: row.ids,
            stopped_by,
            response_tokens_cut: row.row.prompt.response_tokens_cut,
        }));
    }
}
