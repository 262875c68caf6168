//! Instructions for the first two-turn responses of a LIMA-form file, every one of the same length, as the peers write
//! them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use engine::Control;
use engine::device::Device;
use engine::generate::{GenerateEvent, GenerateRow, generate};
use serde_json::{Value, json};
use spec::{GenerateConfig, WeightFormat};

use super::{load, text};

#[derive(Args)]
pub struct Generate {
    #[arg(long)]
    model: PathBuf,
    /// LIMA-form JSONL
    #[arg(long)]
    rows: PathBuf,
    #[arg(long, default_value_t = 16)]
    n: usize,
    #[arg(long, default_value_t = 16)]
    batch: u32,
    /// New tokens for each; nothing ends earlier
    #[arg(long, default_value_t = 48)]
    new: u32,
    #[arg(long, default_value_t = 512)]
    max_prompt: usize,
    /// In int8
    #[arg(long)]
    int8: bool,
}

impl Generate {
    pub fn run(self, device: &Device) -> Result<Value> {
        let model = load(&self.model, device)?;
        let template = text::template(&model.tokenizer)?;
        let mut rows = Vec::new();
        for row in text::rows(&self.rows)? {
            let Some([_, response]) = row["conversations"].as_array().map(Vec::as_slice) else { continue };
            let response = response.as_str().unwrap_or_default();
            let prompt = template.encode_prompt(&model.tokenizer, response, self.max_prompt)?;
            rows.push(GenerateRow { index: rows.len() as u32, prompt });
            if rows.len() == self.n {
                break;
            }
        }
        let config = GenerateConfig {
            max_new_tokens: self.new,
            batch_size: self.batch,
            weights: if self.int8 { WeightFormat::Int8 } else { WeightFormat::F32 },
            ..GenerateConfig::default()
        };
        let started = Instant::now();
        let mut first = BTreeMap::new();
        let (mut finished, mut decoding) = (0, 0.0);
        // No stop token: every row runs to its limit.
        generate(&model, None, &rows, &[], &config, &Control::default(), &mut |event| match event {
            GenerateEvent::Token { index, .. } => {
                first.entry(index).or_insert_with(|| started.elapsed().as_secs_f64());
            }
            GenerateEvent::Row(row) => {
                finished += 1;
                decoding += started.elapsed().as_secs_f64() - first.get(&row.index).copied().unwrap_or_default();
            }
        })?;
        let seconds = started.elapsed().as_secs_f64();
        // Rows one after another: their own times add up. In one batch: from the last one's first token on.
        let decoding = if self.batch == 1 { decoding } else { seconds - first.into_values().fold(0.0, f64::max) };
        let written = rows.len() * (self.new as usize - 1);
        Ok(json!({
            "work": "generate",
            "n": finished,
            "batch": self.batch,
            "weights": if self.int8 { "int8" } else { "f32" },
            "new": self.new,
            "prompt_tokens": rows.iter().map(|row| row.prompt.ids.len()).sum::<usize>(),
            "seconds": seconds,
            "prefill_s": seconds - decoding,
            "decode_tokens_per_s": written as f64 / decoding,
            "instructions_per_s": f64::from(finished) / seconds,
        }))
    }
}
