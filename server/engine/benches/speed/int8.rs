//! Mean negative log-likelihood of real texts in f32 and in int8.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use engine::device::Device;
use serde_json::{Value, json};

use super::{load, text};

#[derive(Args)]
pub struct Int8 {
    #[arg(long)]
    model: PathBuf,
    /// LIMA-form JSONL
    #[arg(long)]
    rows: PathBuf,
    #[arg(long, default_value_t = 40)]
    n: usize,
    /// Tokens of each text
    #[arg(long, default_value_t = 256)]
    most: usize,
}

impl Int8 {
    pub fn run(self, device: &Device) -> Result<Value> {
        let model = load(&self.model, device)?;
        let mut texts = Vec::new();
        for row in text::rows(&self.rows)? {
            let response = row["conversations"][1].as_str().unwrap_or_default();
            let mut ids = model.tokenizer.encode_with_bos(response)?;
            ids.truncate(self.most);
            if ids.len() > 1 && texts.len() < self.n {
                texts.push(ids);
            }
        }
        let plain = texts.iter().map(|ids| model.score(ids)).collect::<engine::Result<Vec<_>>>()?;
        let small = model.score_int8(&texts)?.context("this model has no int8 form here")?;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let largest = plain.iter().zip(&small).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        Ok(json!({
            "work": "int8",
            "texts": texts.len(),
            "nll_f32": mean(&plain),
            "nll_int8": mean(&small),
            "largest_difference": largest,
        }))
    }
}
