//! The decoding loop: rows are prefilled packed, decoded one token at a time together, and a finished row's place is
//! taken at once by the next one.

use std::collections::VecDeque;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::sampler::Sampler;
use super::{GenerateConfig, GenerateEvent, GenerateRow, GeneratedRow, WeightFormat};
use crate::control::Control;
use crate::model::BaseModel;
use crate::model::llama::{DropoutSeed, Int8Weights, Llama, Pass, Products};
use crate::model::ops::{Rope, RowCache, attend_cached};
use crate::tokenizer::TextStream;
use crate::{Error, Result};

/// Prompt tokens prefilled together: enough rows for full products, few enough that memory stays flat.
const PREFILL_TOKENS: usize = 2048;
/// A shorter common beginning of the prompts is read with each of them: copying it would cost as much.
const LEAST_PREFIX: usize = 16;

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
    small: Option<&'a Int8Weights>,
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
    let small = match config.weights {
        WeightFormat::F32 => None,
        WeightFormat::Int8 => Some(Int8Weights::of(llama).ok_or_else(|| {
            let limit = "f32 here: int8 needs the CPU's fused kernels and widths that are multiples of 32";
            Error::invalid("weights", "int8", limit)
        })?),
    };
    let mut decoder = Decoder { model, llama, stop_ids, config, small: small.as_ref(), on_event };
    let prefix = decoder.read_prefix(rows);
    let mut waiting: VecDeque<&GenerateRow> = rows.iter().collect();
    let mut active: Vec<Active<'_>> = Vec::with_capacity(config.batch_size);
    while !(waiting.is_empty() && active.is_empty()) {
        if control.asked().is_some() {
            return Err(Error::Stopped);
        }
        let free = config.batch_size - active.len();
        if free > 0 && !waiting.is_empty() {
            active.extend(decoder.prefill(&mut waiting, free, prefix.as_ref())?);
        } else {
            decoder.step(&mut active)?;
        }
    }
    Ok(())
}

impl<'a> Decoder<'a> {
    /// Reads what all prompts begin with, once. None where that is too little to be worth it.
    fn read_prefix(&self, rows: &[GenerateRow]) -> Option<RowCache> {
        let [first, rest @ ..] = rows else { return None };
        let first = &first.prompt.ids;
        let shared = rest.iter().fold(first.len(), |shared, row| {
            row.prompt.ids.iter().zip(&first[..shared]).take_while(|(a, b)| a == b).count()
        });
        // A row's last token is read with the row: it is what the first new one is drawn from.
        let shortest = rows.iter().map(|row| row.prompt.ids.len()).min().unwrap_or(0);
        let shared = shared.min(shortest.saturating_sub(1));
        if rest.is_empty() || shared < LEAST_PREFIX {
            return None;
        }
        let mut cache = RowCache::new(&self.model.config, shared, &self.llama.device);
        let positions: Vec<usize> = (0..shared).collect();
        self.llama.hidden_at(
            &first[..shared],
            &self.pass(&positions, self.many()),
            &mut |layer, q, k, v| attend_cached(&mut [&mut cache], layer, q, k, v, &[shared]),
            Some(&[shared - 1]),
        );
        cache.advance(shared);
        Some(cache)
    }

    /// Reads the prompts of the next rows, at most `free` of them, and writes their first token.
    fn prefill(
        &mut self,
        waiting: &mut VecDeque<&'a GenerateRow>,
        free: usize,
        prefix: Option<&RowCache>,
    ) -> Result<Vec<Active<'a>>> {
        let known = prefix.map_or(0, RowCache::length);
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
        let mut caches: Vec<RowCache> = chosen
            .iter()
            .map(|row| {
                let capacity = row.prompt.ids.len() + self.config.max_new_tokens;
                let mut cache = RowCache::new(&self.model.config, capacity, &self.llama.device);
                if let Some(prefix) = prefix {
                    cache.take_prefix(prefix, known);
                }
                cache
            })
            .collect();
        let mut rows: Vec<&mut RowCache> = caches.iter_mut().collect();
        let hidden = self.llama.hidden_at(
            &ids,
            &self.pass(&positions, self.many()),
            &mut |layer, q, k, v| attend_cached(&mut rows, layer, q, k, v, &new),
            Some(&last),
        );
        let mut started: Vec<Active<'a>> = chosen
            .into_iter()
            .zip(caches)
            .zip(new)
            .map(|((row, mut cache), new)| {
                cache.advance(new);
                Active {
                    row,
                    cache,
                    sampler: Sampler::new(self.config, row.index, &row.prompt.ids),
                    stream: TextStream::default(),
                    ids: Vec::new(),
                    text: String::new(),
                }
            })
            .collect();
        self.write(&mut started, hidden)?;
        Ok(started)
    }

    /// One token for each active row.
    fn step(&mut self, active: &mut Vec<Active<'a>>) -> Result<()> {
        let ids: Vec<u32> = active.iter().filter_map(|row| row.ids.last().copied()).collect();
        let positions: Vec<usize> = active.iter().map(|row| row.cache.length()).collect();
        let new = vec![1; active.len()];
        let mut rows: Vec<&mut RowCache> = active.iter_mut().map(|row| &mut row.cache).collect();
        let pass = self.pass(&positions, self.few());
        let hidden =
            self.llama.hidden(&ids, &pass, &mut |layer, q, k, v| attend_cached(&mut rows, layer, q, k, v, &new));
        for row in active.iter_mut() {
            row.cache.advance(1);
        }
        self.write(active, hidden)
    }

    /// For prompts.
    fn many(&self) -> Products<'a> {
        self.small.map_or(Products::Many, Products::Int8)
    }

    /// For one token of each row.
    fn few(&self) -> Products<'a> {
        self.small.map_or(Products::Few, Products::Int8)
    }

    fn pass<'b>(&self, positions: &[usize], products: Products<'b>) -> Pass<'b> {
        let config = &self.model.config;
        let rope = Rope::new(positions, config.head_dim, config.rope_theta, &self.llama.device);
        Pass { rope, lora: None, dropout: DropoutSeed::OFF, products }
    }

    /// Draws each row's next token from its last hidden state, [rows, hidden]; rows that end leave.
    fn write(&mut self, rows: &mut Vec<Active<'a>>, hidden: Tensor<2>) -> Result<()> {
        let logits = self.llama.logits(hidden, self.few()).into_data();
        let mut logits: Vec<f32> = logits.try_to_vec().expect("the engine's float tensors are f32");
        let samplers: Vec<&mut Sampler> = rows.iter_mut().map(|row| &mut row.sampler).collect();
        let drawn: Vec<Option<u32>> = samplers
            .into_par_iter()
            .zip(logits.par_chunks_mut(self.model.config.vocab_size))
            .map(|(sampler, logits)| sampler.next(logits, self.config))
            .collect();
        let mut still = Vec::with_capacity(rows.len());
        for (mut row, drawn) in rows.drain(..).zip(drawn) {
            let id = drawn.ok_or_else(|| Error::NonFinite {
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
