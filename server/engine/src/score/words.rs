//! Words, as every figure counts them: lower-cased runs of `\w` (letters, digits, underscore).

use std::collections::HashMap;

/// Words of a text that are compared; a longer text is measured by these, and only its length by all.
pub const MOST_WORDS: usize = 8_192;

pub fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The words of a lower-cased text.
pub fn of(lowered: &str) -> impl Iterator<Item = &str> {
    lowered.split(|letter| !is_word(letter)).filter(|word| !word.is_empty())
}

pub fn count(text: &str) -> usize {
    of(&text.to_lowercase()).count()
}

/// Numbers words, so that texts are compared as numbers. Equal words get equal numbers within one `Numbers`.
#[derive(Default)]
pub struct Numbers(HashMap<String, u32>);

impl Numbers {
    /// The first [`MOST_WORDS`] words of a text.
    pub fn of(&mut self, text: &str) -> Vec<u32> {
        of(&text.to_lowercase()).take(MOST_WORDS).map(|word| self.number(word)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_cased_runs_of_letters_digits_and_underscores() {
        let text = "Don't SHOUT: naïve_x 3.5—ja, Ünlü!".to_lowercase();
        assert_eq!(of(&text).collect::<Vec<_>>(), ["don", "t", "shout", "naïve_x", "3", "5", "ja", "ünlü"]);
        assert_eq!(count(" *** \n"), 0);
    }
}
