//! Instructions for the first two-turn responses of a LIMA-form file, every one of the same length, as the peers write them.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use engine::Control;
use engine::device::Device;
use engine::generate::{GenerateConfig, GenerateEvent, GenerateRow, generate};
use serde_json::{Value, json};

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
    batch: usize,
    /// New tokens for each; nothing ends earlier
    #[arg(long, default_value_t = 48)]
    new: usize,
    #[arg(long, default_value_t = 512)]
    max_prompt: usize,
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
            temperature: 0.7,
            top_p: 0.9,
            top_k: 50,
            repetition_penalty: 1.0,
            max_new_tokens: self.new,
            batch_size: self.batch,
            seed: 1,
        };
        let started = Instant::now();
        let (mut first, mut written, mut finished) = (None, 0, 0);
        // No stop token: every row runs to its limit.
        generate(&model, None, &rows, &[], &config, &Control::default(), &mut |event| match event {
            GenerateEvent::Token { .. } => {
                first.get_or_insert_with(|| started.elapsed().as_secs_f64());
            }
            GenerateEvent::Row(row) => {
                written += row.ids.len();
                finished += 1;
            }
        })?;
        let seconds = started.elapsed().as_secs_f64();
        let prefill = first.unwrap_or(seconds);
        Ok(json!({
            "work": "generate",
            "n": finished,
            "batch": self.batch,
            "new": self.new,
            "prompt_tokens": rows.iter().map(|row| row.prompt.ids.len()).sum::<usize>(),
            "seconds": seconds,
            "first_token_s": prefill,
            "new_tokens_per_s": (written - 1) as f64 / (seconds - prefill),
            "instructions_per_s": f64::from(finished) / seconds,
        }))
    }
}
