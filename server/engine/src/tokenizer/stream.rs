//! Token ids one by one into text, without decoding the whole history each time and without half characters.

use super::Tokenizer;
use crate::Result;

/// Ids one by one into text that only grows: bytes of an unfinished character are held back.
///
/// Each id is decoded behind the ids of the text before it, since what a token looks like may depend on what precedes
/// it (the first word's space is dropped, a character's bytes are in several tokens).
#[derive(Default)]
pub struct TextStream {
    pub(super) window: Vec<u32>,
    /// So many of the window's ids have their text out already.
    settled: usize,
    /// The text of those.
    shown: String,
}

/// A character has at most four bytes; what is unfinished after twice as many tokens never will be finished.
const MAX_HELD: usize = 8;

impl TextStream {
    /// The text that this id adds; empty while a character is unfinished.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String> {
        if tokenizer.silent.contains(&id) {
            return Ok(String::new());
        }
        self.window.push(id);
        let text = tokenizer.decode(&self.window)?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) && self.window.len() - self.settled < MAX_HELD {
            return Ok(String::new());
        }
        self.settle(tokenizer, &text)
    }

    /// What is still held back, at the end: an unfinished character shows as U+FFFD.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String> {
        if self.settled == self.window.len() {
            return Ok(String::new());
        }
        let text = tokenizer.decode(&self.window)?;
        self.settle(tokenizer, &text)
    }

    fn settle(&mut self, tokenizer: &Tokenizer, text: &str) -> Result<String> {
        let added = match text.strip_prefix(&self.shown) {
            Some(added) => added.to_owned(),
            // Bytes that make no character can change how earlier ones decode; what is out stays out.
            None => tokenizer.decode(&self.window[self.settled..])?,
        };
        self.window.drain(..self.settled);
        self.settled = self.window.len();
        self.shown = tokenizer.decode(&self.window)?;
        Ok(added)
    }
}
