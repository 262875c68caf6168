//! Whether an instruction and a response belong together, by the likelihoods of a base model without an adapter.
//!
//! Texts are put together as plain text, without a chat template: the same for every base model. docs/FORMATS.md gives
//! the formulas.

use super::log_likelihoods;
use crate::Result;
use crate::control::Control;
use crate::model::BaseModel;

/// Tokens of a response that are read: more would cost time and change little.
const RESPONSE_TOKENS: usize = 256;
/// Tokens of an instruction that are read.
const INSTRUCTION_TOKENS: usize = 128;
/// Tokens of the texts around them, at most.
const FIXED_TOKENS: usize = 112;

/// Between instruction and response.
const BREAK: &str = "\n\n";
const BACKWARD: &str = "\n\nInstruction for the text above:\n";
const JUDGE_RESPONSE: &str = "\n\nAnswer:\n";
const JUDGE_QUESTION: &str = "\n\nDoes the answer do what the task asks for? 1 means that it is about something else, 3 that it does part of it, 5 \
                              that it does all of it.\nGrade from 1 to 5:";
const JUDGE_INSTRUCTION: &str = "Task:\n";
const GRADES: [&str; 5] = [" 1", " 2", " 3", " 4", " 5"];

/// A base model as a measure of texts.
pub struct Likelihoods<'a> {
    model: &'a BaseModel,
    control: &'a Control,
    response_tokens: usize,
}

/// A response, read once for any number of instructions.
pub struct ReadResponse {
    ids: Vec<u32>,
    /// ln p(response) after a break.
    alone: f64,
}

/// A gain in log-likelihood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// In nats, over all tokens.
    pub nats: f64,
    pub tokens: usize,
}

impl Gain {
    /// In nats; 0 without tokens.
    pub fn per_token(self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.nats / self.tokens as f64 }
    }
}

impl<'a> Likelihoods<'a> {
    /// None: the model's context is too short to hold an instruction and a useful part of a response.
    pub fn new(model: &'a BaseModel, control: &'a Control) -> Option<Self> {
        let room = model.config.max_position_embeddings.checked_sub(INSTRUCTION_TOKENS + FIXED_TOKENS)?;
        let response_tokens = room.min(RESPONSE_TOKENS);
        (response_tokens >= 64).then_some(Self { model, control, response_tokens })
    }

    pub fn read(&self, response: &str) -> Result<ReadResponse> {
        let ids = self.tokens(response, self.response_tokens)?;
        let alone = self.of(&self.context("", BREAK)?, std::slice::from_ref(&ids))?[0];
        Ok(ReadResponse { ids, alone })
    }

    /// Cycle score: ln p(response | instruction) - ln p(response).
    pub fn cycle(&self, instruction: &str, response: &ReadResponse) -> Result<Gain> {
        let context = self.context(instruction, BREAK)?;
        let nats = self.of(&context, std::slice::from_ref(&response.ids))?[0] - response.alone;
        Ok(Gain { nats, tokens: response.ids.len() })
    }

    /// ln p(instruction | response), in nats, for each instruction.
    pub fn instructions_given(&self, response: &ReadResponse, instructions: &[&str]) -> Result<Vec<f64>> {
        let mut context = self.context("", "")?;
        context.extend(&response.ids);
        context.extend(self.model.tokenizer.encode(BACKWARD)?);
        self.instructions_after(&context, instructions)
    }

    /// ln p(instruction) without a response, in nats, with the number of its tokens, for each instruction.
    pub fn instructions_alone(&self, instructions: &[&str]) -> Result<Vec<Gain>> {
        let nats = self.instructions_after(&self.context("", BACKWARD)?, instructions)?;
        nats.into_iter()
            .zip(instructions)
            .map(|(nats, text)| Ok(Gain { nats, tokens: self.tokens(text, INSTRUCTION_TOKENS)?.len() }))
            .collect()
    }

    /// The mean grade from 1 to 5 by the probabilities of the five digits as the next token.
    pub fn grade(&self, instruction: &str, response: &ReadResponse) -> Result<f64> {
        let mut context = self.context("", JUDGE_INSTRUCTION)?;
        context.extend(self.tokens(instruction, INSTRUCTION_TOKENS)?);
        context.extend(self.model.tokenizer.encode(JUDGE_RESPONSE)?);
        context.extend(&response.ids);
        context.extend(self.model.tokenizer.encode(JUDGE_QUESTION)?);
        let grades = GRADES.iter().map(|grade| self.model.tokenizer.encode(grade)).collect::<Result<Vec<_>>>()?;
        let nats = self.of(&context, &grades)?;
        let highest = nats.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = nats.iter().map(|nats| (nats - highest).exp()).collect();
        let mean: f64 = (1..).zip(&weights).map(|(grade, weight)| f64::from(grade) * weight).sum();
        Ok(mean / weights.iter().sum::<f64>())
    }

    fn instructions_after(&self, context: &[u32], instructions: &[&str]) -> Result<Vec<f64>> {
        let texts =
            instructions.iter().map(|text| self.tokens(text, INSTRUCTION_TOKENS)).collect::<Result<Vec<_>>>()?;
        self.of(context, &texts)
    }

    /// A text and what stands behind it, as the beginning of what the model reads.
    fn context(&self, text: &str, behind: &str) -> Result<Vec<u32>> {
        let tokenizer = &self.model.tokenizer;
        // Every sequence begins with the same token, so that the first token of a text is predicted too.
        let mut ids = vec![tokenizer.bos().unwrap_or_else(|| tokenizer.eos())];
        ids.extend(self.tokens(text, INSTRUCTION_TOKENS)?);
        if !behind.is_empty() {
            ids.extend(tokenizer.encode(behind)?);
        }
        Ok(ids)
    }

    fn tokens(&self, text: &str, limit: usize) -> Result<Vec<u32>> {
        let text = text.trim();
        let mut ids = if text.is_empty() { Vec::new() } else { self.model.tokenizer.encode(text)? };
        ids.truncate(limit);
        Ok(ids)
    }

    fn of(&self, context: &[u32], texts: &[Vec<u32>]) -> Result<Vec<f64>> {
        log_likelihoods(self.model, context, texts, self.control)
    }
}
