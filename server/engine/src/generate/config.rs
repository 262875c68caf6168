//! What can be set about generation, and the ranges that are accepted.

use crate::{Error, Result};

#[derive(Clone, Debug, PartialEq)]
pub struct GenerateConfig {
    /// 0 is greedy.
    pub temperature: f64,
    pub top_p: f64,
    /// 0 keeps every token.
    pub top_k: usize,
    /// Logits of tokens that stand in the prompt or were written are divided by this (multiplied where negative), as in
    /// CTRL (arXiv:1909.05858) and transformers. 1 turns it off.
    pub repetition_penalty: f64,
    pub max_new_tokens: usize,
    /// Rows decoded together.
    pub batch_size: usize,
    pub seed: u64,
    pub weights: WeightFormat,
}

/// The form of the weights that projections and the head are computed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightFormat {
    #[default]
    F32,
    /// Eight bits in blocks of 32, and likewise the values that they are multiplied with: products of whole numbers, and a quarter of the
    /// bytes. Other texts, equally good: docs/PERFORMANCE.md has the figures. On flex with its fused kernels, for models whose
    /// widths are multiples of 32.
    Int8,
}

impl GenerateConfig {
    pub fn greedy(max_new_tokens: usize, batch_size: usize) -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            repetition_penalty: 1.0,
            max_new_tokens,
            batch_size: batch_size.max(1),
            seed: 0,
            weights: WeightFormat::F32,
        }
    }

    /// Ranges of every field, by name.
    pub fn validate(&self) -> Result<()> {
        let number = |field, value: f64, good: bool, limit: &str| {
            if value.is_finite() && good { Ok(()) } else { Err(Error::invalid(field, value, limit)) }
        };
        number("temperature", self.temperature, (0.0..=10.0).contains(&self.temperature), "0 to 10")?;
        number("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "greater than 0 and at most 1")?;
        let penalty = self.repetition_penalty;
        number("repetition_penalty", penalty, (0.1..=10.0).contains(&penalty), "0.1 to 10")?;
        for (field, value, most) in
            [("max_new_tokens", self.max_new_tokens, 1 << 16), ("batch_size", self.batch_size, 1024)]
        {
            if !(1..=most).contains(&value) {
                return Err(Error::invalid(field, value, format!("1 to {most}")));
            }
        }
        Ok(())
    }
}
