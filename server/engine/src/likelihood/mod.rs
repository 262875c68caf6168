//! How probable texts are to a base model: log-probabilities of texts behind others.
//!
//! Knows token ids only; which texts are compared, and why, is in [`texts`].

mod texts;

use burn::tensor::{Int, Tensor, TensorData};

use crate::control::Control;
use crate::model::BaseModel;
use crate::model::llama::{DropoutSeed, Matmul, Pass};
use crate::model::ops::{KvCache, Rope, attend_cached, target_log_probs};
use crate::{Error, Result};

pub use texts::{Gain, Likelihoods, ReadResponse};

/// Tokens computed together: enough rows for full products.
const BATCH_TOKENS: usize = 512;
/// Texts computed together: each holds a copy of the prefix's keys and values.
const BATCH_TEXTS: usize = 16;

/// A text whose probability is asked for, and what stands before it, behind the prefix.
#[derive(Clone, Copy, Debug)]
struct Continuation<'a> {
    /// Read, not counted.
    given: &'a [u32],
    text: &'a [u32],
}

impl Continuation<'_> {
    /// Tokens that are read: the last one is predicted, never read.
    fn read(&self) -> impl Iterator<Item = u32> {
        let tokens = self.given.len() + self.text.len() - 1;
        self.given.iter().chain(self.text).copied().take(tokens)
    }
}

/// Reads what several texts begin with, once. At least one token.
fn prefill(model: &BaseModel, ids: &[u32], control: &Control) -> Result<KvCache> {
    model.check_ids(ids)?;
    check_length(model, ids.len())?;
    let llama = &model.llama;
    let mut cache = KvCache::new(&model.config, ids.len(), &llama.device);
    let positions: Vec<usize> = (0..ids.len()).collect();
    llama.hidden_at(
        ids,
        &pass(model, &positions, control),
        &mut |layer, q, k, v| attend_cached(&mut [&mut cache], layer, q, k, v, &[ids.len()]),
        Some(&[ids.len() - 1]),
    )?;
    cache.advance(ids.len());
    Ok(cache)
}

/// ln p(text | prefix, given) in nats, for each: the sum over the text's tokens. An empty text has 0. `given` holds at least
/// one token.
///
/// Errors: prefix and continuation exceed the model's context length; [`Error::Stopped`].
fn log_likelihoods(
    model: &BaseModel,
    prefix: &KvCache,
    continuations: &[Continuation<'_>],
    control: &Control,
) -> Result<Vec<f64>> {
    let mut all = vec![0.0; continuations.len()];
    let mut batch: Vec<usize> = Vec::new();
    let mut tokens = 0;
    for (at, continuation) in continuations.iter().enumerate().filter(|(_, of)| !of.text.is_empty()) {
        let length = continuation.given.len() + continuation.text.len();
        if batch.len() == BATCH_TEXTS || (tokens > 0 && tokens + length > BATCH_TOKENS) {
            add(model, prefix, continuations, &std::mem::take(&mut batch), control, &mut all)?;
            tokens = 0;
        }
        batch.push(at);
        tokens += length;
    }
    add(model, prefix, continuations, &batch, control, &mut all)?;
    Ok(all)
}

/// Fills in the continuations of one batch.
fn add(
    model: &BaseModel,
    prefix: &KvCache,
    continuations: &[Continuation<'_>],
    batch: &[usize],
    control: &Control,
    all: &mut [f64],
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let llama = &model.llama;
    let texts: Vec<Continuation<'_>> = batch.iter().map(|&at| continuations[at]).collect();
    let ids: Vec<Vec<u32>> = texts.iter().map(|text| text.read().collect()).collect();
    let hidden = behind(model, prefix, &ids, control)?;
    // Of all tokens that were read, those that predict one of the text.
    let mut rows = Vec::new();
    let mut targets: Vec<u32> = Vec::new();
    let mut start = 0;
    for (text, ids) in texts.iter().zip(&ids) {
        let end = start + ids.len();
        rows.extend((end - text.text.len()..end).map(|row| row as i64));
        targets.extend(text.text);
        start = end;
    }
    let count = rows.len();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &hidden.device());
    let log_probs = target_log_probs(llama.device.kernels, &hidden.select(0, rows), &llama.head, &targets);
    let mut rest = log_probs.as_slice();
    for (&at, text) in batch.iter().zip(&texts) {
        let (own, others) = rest.split_at(text.text.len());
        rest = others;
        all[at] = own.iter().map(|&value| f64::from(value)).sum();
        if !all[at].is_finite() {
            let detail = "the weights may hold NaN or infinity".to_owned();
            return Err(Error::NonFinite { what: format!("the log-likelihood of text {at}"), detail });
        }
    }
    Ok(())
}

/// Logits of these tokens as the next one behind prefix and `given`, which holds at least one token.
fn next_token_logits(
    model: &BaseModel,
    prefix: &KvCache,
    given: &[u32],
    of: &[u32],
    control: &Control,
) -> Result<Vec<f64>> {
    let hidden = behind(model, prefix, &[given.to_vec()], control)?;
    let last = hidden.narrow(0, given.len() - 1, 1);
    let logits = model.llama.logits(last, Matmul::Prefill).into_data();
    let logits: Vec<f32> = logits.try_to_vec().expect("the engine's float tensors are f32");
    Ok(of.iter().map(|&id| f64::from(logits[id as usize])).collect())
}

/// Hidden states of sequences that each continue the prefix: [tokens of all, hidden].
fn behind(model: &BaseModel, prefix: &KvCache, sequences: &[Vec<u32>], control: &Control) -> Result<Tensor<2>> {
    let (llama, known) = (&model.llama, prefix.length());
    let new: Vec<usize> = sequences.iter().map(Vec::len).collect();
    let ids = sequences.concat();
    model.check_ids(&ids)?;
    check_length(model, known + new.iter().max().copied().unwrap_or(0))?;
    let positions: Vec<usize> = new.iter().flat_map(|&new| known..known + new).collect();
    let mut caches: Vec<KvCache> = new
        .iter()
        .map(|new| {
            let mut cache = KvCache::new(&model.config, known + new, &llama.device);
            cache.copy_prefix(prefix, known);
            cache
        })
        .collect();
    let mut rows: Vec<&mut KvCache> = caches.iter_mut().collect();
    let attend =
        &mut |layer: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| attend_cached(&mut rows, layer, q, k, v, &new);
    llama.hidden(&ids, &pass(model, &positions, control), attend)
}

fn check_length(model: &BaseModel, tokens: usize) -> Result<()> {
    let limit = model.config.max_position_embeddings;
    if tokens > limit {
        return Err(Error::invalid("context", tokens, format!("at most {limit} tokens, the model's context")));
    }
    Ok(())
}

fn pass<'a>(model: &BaseModel, positions: &[usize], control: &'a Control) -> Pass<'a> {
    let config = &model.config;
    let rope = Rope::new(positions, config.head_dim, config.rope_theta, &model.llama.device);
    Pass { rope, lora: None, dropout: DropoutSeed::OFF, matmul: Matmul::Prefill, control }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Stop;
    use crate::device::Device;

    fn tiny() -> BaseModel {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        BaseModel::load(&path, &Device::open("flex").unwrap(), &mut |_, _| {}).unwrap()
    }

    fn of(model: &BaseModel, prefix: &[u32], continuations: &[(Vec<u32>, Vec<u32>)]) -> Vec<f64> {
        let control = Control::default();
        let prefix = prefill(model, prefix, &control).unwrap();
        let each: Vec<_> = continuations.iter().map(|(given, text)| Continuation { given, text }).collect();
        log_likelihoods(model, &prefix, &each, &control).unwrap()
    }

    #[test]
    fn the_probabilities_of_all_next_tokens_sum_to_one_and_go_with_the_logits() {
        let model = tiny();
        let all: Vec<u32> = (0..model.config.vocab_size as u32).collect();
        for prefix in [&[5_u32][..], &[5, 6, 7, 8]] {
            let each: Vec<_> = all.iter().map(|id| (vec![9, 4], vec![*id])).collect();
            let logs = of(&model, prefix, &each);
            let sum: f64 = logs.iter().map(|log| log.exp()).sum();
            assert!((sum - 1.0).abs() < 1e-4, "{sum}");
            let control = Control::default();
            let cache = prefill(&model, prefix, &control).unwrap();
            let logits = next_token_logits(&model, &cache, &[9, 4], &all, &control).unwrap();
            let difference = logits[3] - logs[3];
            assert!(logits.iter().zip(&logs).all(|(logit, log)| (logit - log - difference).abs() < 1e-3));
        }
    }

    #[test]
    fn a_text_is_as_probable_as_its_parts_after_each_other_whatever_stands_beside_it() {
        let model = tiny();
        let texts: Vec<Vec<u32>> =
            (1..40).map(|length| (0..length).map(|at| 5 + (at * 7 + length) % 90).collect()).collect();
        let together = of(&model, &[9, 8], &texts.iter().map(|text| (vec![7], text.clone())).collect::<Vec<_>>());
        for (text, log) in texts.iter().zip(&together) {
            let (first, rest) = text.split_at(text.len() / 2);
            let parts = of(&model, &[9], &[(vec![8, 7], first.to_vec())])[0]
                + of(&model, &[9, 8], &[([&[7], first].concat(), rest.to_vec())])[0];
            assert!((parts - log).abs() < 1e-3 * (1.0 + log.abs()), "{parts} {log}");
        }
    }

    #[test]
    fn a_stop_and_a_text_that_is_too_long_are_errors() {
        let model = tiny();
        let stopped = Control::default();
        stopped.stop(Stop::Save);
        assert!(matches!(prefill(&model, &[5, 6], &stopped), Err(Error::Stopped)));
        let limit = model.config.max_position_embeddings;
        let error = |ids: Vec<u32>| prefill(&model, &ids, &Control::default()).err().unwrap().to_string();
        assert!(error(vec![5; limit + 1]).contains("the model's context"));
    }
}
