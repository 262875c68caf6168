//! Words as numbers, so that texts are compared as numbers.

use std::collections::HashMap;

use crate::words;

/// Words of a text that are compared; a longer text is measured by these, and only its length by all.
pub const MOST_WORDS: usize = 8_192;

/// Equal words get equal numbers within one `WordInterner`.
#[derive(Default)]
pub struct WordInterner(HashMap<String, u32>);

impl WordInterner {
    /// The first [`MOST_WORDS`] words of a text.
    pub fn words(&mut self, text: &str) -> Vec<u32> {
        words::of(&text.to_lowercase()).take(MOST_WORDS).map(|word| self.number(word)).collect()
    }

    fn number(&mut self, word: &str) -> u32 {
        match self.0.get(word) {
            Some(&number) => number,
            None => {
                let number = u32::try_from(self.0.len()).expect("fewer words than bytes in memory");
                self.0.insert(word.to_owned(), number);
                number
            }
        }
    }
}
