//! Pairs and templates that the measurements share.

use std::path::Path;

use anyhow::{Context, Result};
use engine::data::Pair;
use engine::template::Template;
use engine::tokenizer::Tokenizer;
use serde_json::Value;
use spec::{EndMarker, TemplateConfig};

/// The peers' template, so that both sides read the same tokens.
pub fn template(tokenizer: &Tokenizer) -> Result<Template> {
    let text = TemplateConfig {
        prompt: "Response: {response}\n\nInstruction:".to_owned(),
        target: " {instruction}".to_owned(),
        end: EndMarker::Eos,
        generation_prompt: None,
    };
    Ok(Template::new(text, tokenizer)?)
}

pub fn pair(instruction: &str, response: &str) -> Pair {
    Pair {
        instruction: instruction.to_owned(),
        response: response.to_owned(),
        tree: String::new(),
        turn: 0,
        quality: None,
    }
}

/// `count` words in an order that repeats for the same seed: nothing to learn, nothing that a tokenizer merges oddly.
pub fn words(count: usize, seed: u64) -> String {
    const WORDS: [&str; 16] = [
        "river", "stone", "copper", "window", "letter", "garden", "number", "silver", "morning", "paper", "mountain",
        "bridge", "summer", "market", "doctor", "engine",
    ];
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 60) as usize]
    };
    (0..count).map(|_| next()).collect::<Vec<_>>().join(" ")
}

/// Rows of a JSONL file.
pub fn rows(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| serde_json::from_str(line).context("a row is not JSON")).collect()
}

pub fn field<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}
