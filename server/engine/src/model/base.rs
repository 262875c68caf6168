//! A base model ready to compute: weights on a device, tokenizer, and who it is.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};

use super::llama::{DropoutSeed, Int8Weights, Llama, LoraSet, Pass, Products};
use super::ops::{Rope, Segments, attention, target_log_probs};
use super::{LlamaConfig, LoadProgress, ModelFiles};
use crate::device::Device;
use crate::lora::Adapter;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Never changed once loaded; adapters stand beside it.
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
        let llama = Llama::load(&files, &device.inner, progress)?;
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
        let hidden = self.hidden_of(llama, None, ids, Products::Many)?;
        let before = hidden.narrow(0, 0, ids.len() - 1);
        let log_probs = target_log_probs(&before, &llama.head, &ids[1..]);
        Ok(-log_probs.iter().map(|&value| f64::from(value)).sum::<f64>() / log_probs.len() as f64)
    }

    /// As [`Self::score`], in eight bits as in generation; None where there is no such form.
    pub fn score_int8(&self, texts: &[Vec<u32>]) -> Result<Option<Vec<f64>>> {
        let Some(small) = Int8Weights::of(&self.llama) else { return Ok(None) };
        let score = |ids: &Vec<u32>| {
            let before = self.hidden_of(&self.llama, None, ids, Products::Int8(&small))?.narrow(0, 0, ids.len() - 1);
            let log_probs = log_softmax(self.llama.logits(before, Products::Int8(&small)), 1);
            let targets: Vec<i64> = ids[1..].iter().map(|&id| i64::from(id)).collect();
            let targets = Tensor::from_data(TensorData::new(targets, [ids.len() - 1, 1]), &self.llama.device);
            Ok(-f64::from(log_probs.gather(1, targets).mean().into_scalar::<f32>()))
        };
        texts.iter().map(score).collect::<Result<_>>().map(Some)
    }

    fn logits_of(&self, llama: &Llama, lora: Option<&LoraSet>, ids: &[u32], last: usize) -> Result<Vec<Vec<f32>>> {
        if last == 0 || last > ids.len() {
            return Err(Error::invalid("last", last, format!("1 to the {} tokens of the sequence", ids.len())));
        }
        let hidden = self.hidden_of(llama, lora, ids, Products::Many)?.narrow(0, ids.len() - last, last);
        let logits = llama.logits(hidden, Products::Many).into_data();
        let logits: Vec<f32> = logits.try_to_vec().expect("the engine's float tensors are f32");
        Ok(logits.chunks(self.config.vocab_size).map(<[f32]>::to_vec).collect())
    }

    /// [tokens, hidden]
    fn hidden_of(
        &self,
        llama: &Llama,
        lora: Option<&LoraSet>,
        ids: &[u32],
        products: Products<'_>,
    ) -> Result<Tensor<2>> {
        self.check_ids(ids)?;
        let config = &self.config;
        let positions: Vec<usize> = (0..ids.len()).collect();
        let rope = Rope::new(&positions, config.head_dim, config.rope_theta, &llama.device);
        let pass = Pass { rope, lora, dropout: DropoutSeed::OFF, products };
        let segments = Segments::new(
            &[ids.len()],
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            &llama.device,
        );
        Ok(llama.hidden(ids, &pass, &mut |_, q, k, v| attention(q, k, v, &segments)))
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
