//! A base model ready to compute: weights on a device, tokenizer, identity.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};

use super::llama::{DropoutSeed, Int8Weights, Llama, LoraSet, Matmul, Pass};
use super::ops::{Rope, Segments, attention, target_log_probs};
use super::{LlamaConfig, LoadProgress, ModelFiles};
use crate::control::Control;
use crate::device::Device;
use crate::lora::Adapter;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

const NON_FINITE_WEIGHTS: &str = "the weights may hold NaN, infinity or values that overflow";

/// Immutable once loaded; adapters are separate.
pub struct BaseModel {
    pub config: LlamaConfig,
    pub tokenizer: Arc<Tokenizer>,
    /// Of the weights and the configuration.
    pub sha256: String,
    /// `Q4_1, Q8_0, F32`
    pub stored_as: String,
    pub size_bytes: u64,
    pub device: Device,
    pub(crate) llama: Llama,
}

impl BaseModel {
    /// An HF folder, a GGUF file, or a folder that holds one.
    pub fn load(path: &Path, device: &Device, progress: LoadProgress<'_>) -> Result<Self> {
        let files = ModelFiles::open(path)?;
        let tokenizer = files.tokenizer()?;
        if tokenizer.vocabulary() > files.config.vocab_size {
            return Err(Error::malformed(
                path,
                "tokenizer",
                format!(
                    "it has {} tokens, but the model's embedding has {} rows",
                    tokenizer.vocabulary(),
                    files.config.vocab_size
                ),
            ));
        }
        let llama = Llama::load(&files, device, progress)?;
        Ok(Self {
            config: files.config.clone(),
            tokenizer: Arc::new(tokenizer),
            sha256: files.sha256.clone(),
            stored_as: files.stored_as.clone(),
            size_bytes: files.size_bytes,
            device: device.clone(),
            llama,
        })
    }

    /// Logits at the last `last` positions of one sequence: `[last][vocabulary]`.
    pub fn logits(&self, ids: &[u32], last: usize) -> Result<Vec<Vec<f32>>> {
        self.logits_of(&self.llama, None, ids, last)
    }

    /// As [`Self::logits`], with the adapter's factors beside the weights.
    pub fn logits_with(&self, adapter: &Adapter, ids: &[u32], last: usize) -> Result<Vec<Vec<f32>>> {
        self.logits_of(&self.llama, Some(&adapter.set), ids, last)
    }

    /// As [`Self::logits`], with the adapter merged into a copy of the weights: `W + alpha / rank * B A`.
    pub fn logits_merged(&self, adapter: &Adapter, ids: &[u32], last: usize) -> Result<Vec<Vec<f32>>> {
        self.logits_of(&self.llama.merged(&adapter.set), None, ids, last)
    }

    /// Mean negative log-likelihood of `ids[1..]` given what precedes each, in nats.
    pub fn score(&self, ids: &[u32]) -> Result<f64> {
        if ids.len() < 2 {
            return Err(Error::invalid("ids", ids.len(), "at least 2 tokens long"));
        }
        self.score_of(&self.llama, ids)
    }

    fn score_of(&self, llama: &Llama, ids: &[u32]) -> Result<f64> {
        let hidden = self.hidden_of(llama, None, ids, Matmul::Prefill)?;
        let before = hidden.narrow(0, 0, ids.len() - 1);
        let log_probs = target_log_probs(llama.device.kernels, &before, &llama.head, &ids[1..]);
        finite(-log_probs.iter().map(|&value| f64::from(value)).sum::<f64>() / log_probs.len() as f64)
    }

    /// As [`Self::score`], in int8 as in generation; None if the model cannot be quantized here.
    pub fn score_int8(&self, texts: &[Vec<u32>]) -> Result<Option<Vec<f64>>> {
        let Some(weights) = Int8Weights::of(&self.llama) else { return Ok(None) };
        let score = |ids: &Vec<u32>| {
            let before = self.hidden_of(&self.llama, None, ids, Matmul::Int8(&weights))?.narrow(0, 0, ids.len() - 1);
            let log_probs = log_softmax(self.llama.logits(before, Matmul::Int8(&weights)), 1);
            let targets: Vec<i64> = ids[1..].iter().map(|&id| i64::from(id)).collect();
            let targets = Tensor::from_data(TensorData::new(targets, [ids.len() - 1, 1]), &self.llama.device.inner);
            finite(-f64::from(log_probs.gather(1, targets).mean().into_scalar::<f32>()))
        };
        texts.iter().map(score).collect::<Result<_>>().map(Some)
    }

    fn logits_of(&self, llama: &Llama, lora: Option<&LoraSet>, ids: &[u32], last: usize) -> Result<Vec<Vec<f32>>> {
        if last == 0 || last > ids.len() {
            return Err(Error::invalid("last", last, format!("1 to the {} tokens of the sequence", ids.len())));
        }
        let hidden = self.hidden_of(llama, lora, ids, Matmul::Prefill)?.narrow(0, ids.len() - last, last);
        let logits = llama.logits(hidden, Matmul::Prefill).into_data();
        let logits: Vec<f32> = logits.try_to_vec().expect("the engine's float tensors are f32");
        if let Some(index) = logits.iter().position(|logit| !logit.is_finite()) {
            let vocabulary = self.config.vocab_size;
            let what = format!("the logit of token {}", index % vocabulary);
            let position = ids.len() - last + index / vocabulary;
            return Err(Error::NonFinite { what, detail: format!("at position {position}; {NON_FINITE_WEIGHTS}") });
        }
        Ok(logits.chunks(self.config.vocab_size).map(<[f32]>::to_vec).collect())
    }

    /// [tokens, hidden]
    fn hidden_of(&self, llama: &Llama, lora: Option<&LoraSet>, ids: &[u32], matmul: Matmul<'_>) -> Result<Tensor<2>> {
        self.check_ids(ids)?;
        let config = &self.config;
        let positions: Vec<usize> = (0..ids.len()).collect();
        let rope = Rope::new(&positions, config.head_dim, config.rope_theta, &llama.device);
        let control = Control::default();
        let pass = Pass { rope, lora, dropout: DropoutSeed::OFF, matmul, control: &control };
        let segments = Segments::new(
            &[ids.len()],
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            &llama.device,
        );
        llama.hidden(ids, &pass, &mut |_, q, k, v| attention(q, k, v, &segments))
    }

    /// Ids that this model can read, no more than it has positions for.
    pub(crate) fn check_ids(&self, ids: &[u32]) -> Result<()> {
        let context = self.config.max_position_embeddings;
        if ids.is_empty() || ids.len() > context {
            return Err(Error::invalid("ids", ids.len(), format!("1 to {context} tokens long (the model's context)")));
        }
        match ids.iter().find(|&&id| id as usize >= self.config.vocab_size) {
            Some(id) => Err(Error::invalid("id", id, format!("below {} (the vocabulary)", self.config.vocab_size))),
            None => Ok(()),
        }
    }
}

fn finite(negative_log_likelihood: f64) -> Result<f64> {
    if negative_log_likelihood.is_finite() {
        return Ok(negative_log_likelihood);
    }
    let what = "the mean negative log-likelihood".to_owned();
    Err(Error::NonFinite { what, detail: NON_FINITE_WEIGHTS.to_owned() })
}
