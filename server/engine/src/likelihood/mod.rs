//! How probable texts are to a model: log-probabilities of continuations of a context.
//!
//! Knows token ids only; which texts are compared, and why, is the callers' matter.

mod texts;

use burn::tensor::Tensor;

use crate::control::Control;
use crate::model::BaseModel;
use crate::model::llama::{DropoutSeed, Matmul, Pass};
use crate::model::ops::{KvCache, Rope, attend_cached, target_log_probs};
use crate::{Error, Result};

pub use texts::{Gain, Likelihoods, ReadResponse};

/// Tokens of continuations computed together: enough rows for full products.
const BATCH_TOKENS: usize = 512;
/// Continuations computed together: each holds a copy of the context's keys and values.
const BATCH_TEXTS: usize = 16;

/// ln p(continuation | context) under the base model without an adapter, in nats, for each continuation: the sum over its
/// tokens. The context is read once. An empty continuation has 0.
///
/// Errors: the context is empty; context and continuation exceed the model's context length; [`Error::Stopped`].
pub fn log_likelihoods(
    model: &BaseModel,
    context: &[u32],
    continuations: &[Vec<u32>],
    control: &Control,
) -> Result<Vec<f64>> {
    let Some((last, known)) = context.split_last() else {
        return Err(Error::invalid("context", "no token", "at least one token before a continuation".to_owned()));
    };
    model.check_ids(context)?;
    let (limit, longest) = (model.config.max_position_embeddings, continuations.iter().map(Vec::len).max());
    if context.len() + longest.unwrap_or(0) > limit {
        let whole = context.len() + longest.unwrap_or(0);
        return Err(Error::invalid("context", whole, format!("at most {limit} tokens, the model's context")));
    }
    let prefix = prefill(model, known, control)?;
    let mut all = vec![0.0; continuations.len()];
    let mut batch: Vec<usize> = Vec::new();
    let mut tokens = 0;
    for (at, continuation) in continuations.iter().enumerate().filter(|(_, continuation)| !continuation.is_empty()) {
        model.check_ids(continuation)?;
        if batch.len() == BATCH_TEXTS || tokens + continuation.len() > BATCH_TOKENS {
            add(model, *last, &prefix, continuations, &std::mem::take(&mut batch), control, &mut all)?;
            tokens = 0;
        }
        batch.push(at);
        tokens += continuation.len();
    }
    add(model, *last, &prefix, continuations, &batch, control, &mut all)?;
    Ok(all)
}

fn prefill(model: &BaseModel, ids: &[u32], control: &Control) -> Result<KvCache> {
    let llama = &model.llama;
    let mut cache = KvCache::new(&model.config, ids.len(), &llama.device);
    if !ids.is_empty() {
        let positions: Vec<usize> = (0..ids.len()).collect();
        llama.hidden_at(
            ids,
            &pass(model, &positions, control),
            &mut |layer, q, k, v| attend_cached(&mut [&mut cache], layer, q, k, v, &[ids.len()]),
            Some(&[ids.len() - 1]),
        )?;
        cache.advance(ids.len());
    }
    Ok(cache)
}

/// Fills in the continuations of one batch. `last` is the context's last token, which the prefix does not hold.
fn add(
    model: &BaseModel,
    last: u32,
    prefix: &KvCache,
    continuations: &[Vec<u32>],
    batch: &[usize],
    control: &Control,
    all: &mut [f64],
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let (llama, known) = (&model.llama, prefix.length());
    let texts: Vec<&Vec<u32>> = batch.iter().map(|&at| &continuations[at]).collect();
    // The last token of a continuation is predicted, never read.
    let ids: Vec<u32> =
        texts.iter().flat_map(|text| std::iter::once(last).chain(text[..text.len() - 1].iter().copied())).collect();
    let targets: Vec<u32> = texts.iter().flat_map(|text| text.iter().copied()).collect();
    let new: Vec<usize> = texts.iter().map(|text| text.len()).collect();
    let positions: Vec<usize> = new.iter().flat_map(|&new| known..known + new).collect();
    let mut caches: Vec<KvCache> = new
        .iter()
        .map(|new| {
            let mut cache = KvCache::new(&model.config, known + new, &llama.device);
            if known > 0 {
                cache.copy_prefix(prefix, known);
            }
            cache
        })
        .collect();
    let mut rows: Vec<&mut KvCache> = caches.iter_mut().collect();
    let attend =
        &mut |layer: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| attend_cached(&mut rows, layer, q, k, v, &new);
    let hidden = llama.hidden(&ids, &pass(model, &positions, control), attend)?;
    let log_probs = target_log_probs(llama.device.kernels, &hidden, &llama.head, &targets);
    let mut rest = log_probs.as_slice();
    for (&at, &length) in batch.iter().zip(&new) {
        let (own, behind) = rest.split_at(length);
        rest = behind;
        all[at] = own.iter().map(|&value| f64::from(value)).sum();
        if !all[at].is_finite() {
            let detail = "the weights may hold NaN or infinity".to_owned();
            return Err(Error::NonFinite { what: format!("the log-likelihood of text {at}"), detail });
        }
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

    fn of(model: &BaseModel, context: &[u32], continuations: &[Vec<u32>]) -> Vec<f64> {
        log_likelihoods(model, context, continuations, &Control::default()).unwrap()
    }

    #[test]
    fn the_probabilities_of_all_next_tokens_sum_to_one() {
        let model = tiny();
        for context in [&[5_u32][..], &[5, 6, 7, 8]] {
            let each: Vec<Vec<u32>> = (0..model.config.vocab_size as u32).map(|id| vec![id]).collect();
            let sum: f64 = of(&model, context, &each).iter().map(|log| log.exp()).sum();
            assert!((sum - 1.0).abs() < 1e-4, "{sum}");
        }
    }

    #[test]
    fn a_text_is_as_probable_as_its_parts_after_each_other_whatever_stands_beside_it() {
        let model = tiny();
        let texts: Vec<Vec<u32>> =
            (1..40).map(|length| (0..length).map(|at| 5 + (at * 7 + length) % 90).collect()).collect();
        let together = of(&model, &[9, 8, 7], &texts);
        for (text, log) in texts.iter().zip(&together) {
            let (first, rest) = text.split_at(text.len() / 2);
            let context = [&[9, 8, 7], first].concat();
            let parts = of(&model, &[9, 8, 7], &[first.to_vec()])[0] + of(&model, &context, &[rest.to_vec()])[0];
            assert!((parts - log).abs() < 1e-3 * (1.0 + log.abs()), "{parts} {log}");
        }
    }

    #[test]
    fn a_stop_an_empty_context_and_one_that_is_too_long_are_errors() {
        let model = tiny();
        let stopped = Control::default();
        stopped.stop(Stop::Save);
        assert!(matches!(log_likelihoods(&model, &[5, 6], &[vec![7]], &stopped), Err(Error::Stopped)));
        let error = |context: &[u32]| {
            log_likelihoods(&model, context, &[vec![7]], &Control::default()).unwrap_err().to_string()
        };
        assert!(error(&[]).contains("at least one token"));
        assert!(error(&vec![5; model.config.max_position_embeddings]).contains("the model's context"));
    }
}
