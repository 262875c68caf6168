//! Whether an instruction and a response belong together, by the likelihoods of a base model without an adapter.
//!
//! Texts are put together as plain text, without a chat template: the same for every base model. docs/FORMATS.md gives
//! the formulas.

use super::{Continuation, log_likelihoods, next_token_logits, prefill};
use crate::Result;
use crate::control::Control;
use crate::model::BaseModel;
use crate::model::ops::KvCache;

/// Tokens of a response that are read: more would cost time and change little.
const RESPONSE_TOKENS: usize = 192;
/// The least that is of use.
const FEWEST_RESPONSE_TOKENS: usize = 64;
/// Tokens of an instruction that are read.
const INSTRUCTION_TOKENS: usize = 96;

/// Between instruction and response.
const BREAK: &str = "\n\n";
const BACKWARD: &str = "\n\nInstruction for the text above:\n";
const JUDGE_INSTRUCTION: &str = "\n\nIs the text above an answer to this task?\nTask: ";
const JUDGE_QUESTION: &str =
    "\nGrade from 1 (it is about something else) to 5 (it does all that the task asks for). Grade:";
const GRADES: [&str; 5] = [" 1", " 2", " 3", " 4", " 5"];

/// A base model as a measure of texts.
pub struct Likelihoods<'a> {
    model: &'a BaseModel,
    control: &'a Control,
    response_tokens: usize,
    /// What every sequence begins with, so that the first token of a text is predicted too.
    beginning: u32,
    separator: Vec<u32>,
    backward: Vec<u32>,
    judge_instruction: Vec<u32>,
    judge_question: Vec<u32>,
    /// The tokens of the grades 1 to 5, behind the question.
    grades: Vec<u32>,
}

/// A response, read once for any number of instructions behind it.
pub struct ReadResponse {
    ids: Vec<u32>,
    cache: KvCache,
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
    pub fn new(model: &'a BaseModel, control: &'a Control) -> Result<Option<Self>> {
        let encode = |text: &str| model.tokenizer.encode(text);
        let (backward, judge_instruction) = (encode(BACKWARD)?, encode(JUDGE_INSTRUCTION)?);
        let mut judge_question = encode(JUDGE_QUESTION)?;
        let grades = GRADES.iter().map(|grade| encode(grade)).collect::<Result<Vec<_>>>()?;
        // Some tokenizers write the space as a token of its own.
        let common = (0..grades[0].len()).take_while(|&at| grades.iter().all(|ids| ids.get(at) == grades[0].get(at)));
        let common = common.count().min(grades[0].len().saturating_sub(1));
        judge_question.extend(&grades[0][..common]);
        let grades = grades.iter().filter_map(|ids| ids.get(common).copied()).collect();
        // The longest text around instruction and response, and what it begins with.
        let around = 1 + backward.len().max(judge_instruction.len() + judge_question.len());
        let room = model.config.max_position_embeddings.saturating_sub(INSTRUCTION_TOKENS + around);
        let it = Self {
            model,
            control,
            response_tokens: room.min(RESPONSE_TOKENS),
            beginning: model.tokenizer.bos().unwrap_or_else(|| model.tokenizer.eos()),
            separator: encode(BREAK)?,
            backward,
            judge_instruction,
            judge_question,
            grades,
        };
        Ok((it.response_tokens >= FEWEST_RESPONSE_TOKENS).then_some(it))
    }

    pub fn read(&self, response: &str) -> Result<ReadResponse> {
        let ids = self.tokens(response, self.response_tokens)?;
        let cache = self.prefill(&ids)?;
        Ok(ReadResponse { ids, cache })
    }

    /// Cycle scores: ln p(response | instruction) - ln p(response), for each instruction.
    pub fn cycles(&self, response: &ReadResponse, instructions: &[&str]) -> Result<Vec<Gain>> {
        let mut given = vec![self.separator.clone()];
        for instruction in instructions {
            given.push([self.tokens(instruction, INSTRUCTION_TOKENS)?, self.separator.clone()].concat());
        }
        let each: Vec<_> = given.iter().map(|given| Continuation { given, text: &response.ids }).collect();
        let nats = log_likelihoods(self.model, &self.prefill(&[])?, &each, self.control)?;
        Ok(nats[1..].iter().map(|with| Gain { nats: with - nats[0], tokens: response.ids.len() }).collect())
    }

    /// ln p(instruction | response), in nats, for each instruction.
    pub fn instructions_given(&self, response: &ReadResponse, instructions: &[&str]) -> Result<Vec<f64>> {
        self.instructions_after(&response.cache, instructions)
    }

    /// ln p(instruction) without a response, in nats, with the number of its tokens, for each instruction.
    pub fn instructions_alone(&self, instructions: &[&str]) -> Result<Vec<Gain>> {
        let nats = self.instructions_after(&self.prefill(&[])?, instructions)?;
        nats.into_iter()
            .zip(instructions)
            .map(|(nats, text)| Ok(Gain { nats, tokens: self.tokens(text, INSTRUCTION_TOKENS)?.len() }))
            .collect()
    }

    /// The mean grade from 1 to 5 by the probabilities of the five digits as the next token.
    pub fn grade(&self, instruction: &str, response: &ReadResponse) -> Result<f64> {
        let task = self.tokens(instruction, INSTRUCTION_TOKENS)?;
        let given = [self.judge_instruction.as_slice(), &task, &self.judge_question].concat();
        let logits = next_token_logits(self.model, &response.cache, &given, &self.grades, self.control)?;
        let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logits.iter().map(|logit| (logit - highest).exp()).collect();
        let mean: f64 = (1..).zip(&weights).map(|(grade, weight)| f64::from(grade) * weight).sum();
        Ok(mean / weights.iter().sum::<f64>())
    }

    fn instructions_after(&self, prefix: &KvCache, instructions: &[&str]) -> Result<Vec<f64>> {
        let texts =
            instructions.iter().map(|text| self.tokens(text, INSTRUCTION_TOKENS)).collect::<Result<Vec<_>>>()?;
        let each: Vec<_> = texts.iter().map(|text| Continuation { given: &self.backward, text }).collect();
        log_likelihoods(self.model, prefix, &each, self.control)
    }

    fn prefill(&self, ids: &[u32]) -> Result<KvCache> {
        prefill(self.model, &[&[self.beginning], ids].concat(), self.control)
    }

    fn tokens(&self, text: &str, limit: usize) -> Result<Vec<u32>> {
        let text = text.trim();
        let mut ids = if text.is_empty() { Vec::new() } else { self.model.tokenizer.encode(text)? };
        ids.truncate(limit);
        Ok(ids)
    }
}
