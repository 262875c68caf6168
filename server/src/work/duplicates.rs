//! Texts that nearly equal an earlier one, by MinHash (Broder 1997) over runs of words.

use txtfp::{
    Canonicalizer, Fingerprinter as _, LshIndex, LshIndexBuilder, MinHashFingerprinter, MinHashSig, ShingleTokenizer,
    WordTokenizer,
};

/// Hashes of a text: the similarity is known to some 0.04.
const HASHES: usize = 128;

/// What makes two texts nearly equal.
#[derive(Clone, Copy, Debug)]
pub struct Similarity {
    /// Words in a run.
    words: usize,
    /// The least share of runs, of all in either text, that are in both (Jaccard similarity).
    least: f32,
}

/// Short texts: one word more or less is much of them.
pub const INSTRUCTIONS: Similarity = Similarity { words: 1, least: 0.8 };
pub const RESPONSES: Similarity = Similarity { words: 3, least: 0.7 };

/// Texts to find others by.
pub struct NearDuplicateIndex {
    similarity: Similarity,
    hasher: MinHashFingerprinter<ShingleTokenizer<WordTokenizer>, HASHES>,
    index: LshIndex<HASHES>,
}

impl NearDuplicateIndex {
    pub fn new(similarity: Similarity) -> Self {
        let words = ShingleTokenizer { k: similarity.words, inner: WordTokenizer };
        // Bands that find more than is wanted; what they find is compared.
        let bands = LshIndexBuilder::new(HASHES / 4, 4);
        Self { similarity, hasher: MinHashFingerprinter::new(Canonicalizer::default(), words), index: bands.build() }
    }

    /// The first known text that this one nearly equals. None for a text without words.
    pub fn find(&self, text: &str) -> Option<u64> {
        self.like(&self.hashes(text)?)
    }

    /// As [`Self::find`]; then the text is known too.
    pub fn find_and_add(&mut self, number: u64, text: &str) -> Option<u64> {
        let hashes = self.hashes(text)?;
        let found = self.like(&hashes);
        self.index.insert(number, hashes);
        found
    }

    fn like(&self, hashes: &MinHashSig<HASHES>) -> Option<u64> {
        self.index.query_with_threshold(hashes, self.similarity.least).into_iter().min()
    }

    /// A text that is empty, or has no words, has none.
    fn hashes(&self, text: &str) -> Option<MinHashSig<HASHES>> {
        self.hasher.fingerprint(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_a_word_changed_is_nearly_the_same_and_another_one_is_not() {
        let mut known = NearDuplicateIndex::new(INSTRUCTIONS);
        let first = "Write a short rhyming poem about a lighthouse whose keeper has left the coast";
        assert_eq!(known.find_and_add(7, first), None);
        assert_eq!(known.find_and_add(8, &first.replace("short", "brief").to_uppercase()), Some(7));
        assert_eq!(known.find_and_add(9, "Explain why there are usually two high tides a day instead of one"), None);
        assert_eq!((known.find(""), known.find_and_add(10, " \n")), (None, None));
        assert_eq!(known.find(first), Some(7), "the first one");
    }

    #[test]
    fn responses_are_compared_by_runs_of_words() {
        let words: Vec<String> = (0..200).map(|word| format!("word{word}")).collect();
        let text = words.join(" ");
        let mut known = NearDuplicateIndex::new(RESPONSES);
        known.find_and_add(1, &text);
        assert_eq!(known.find(&format!("A new beginning. {text}")), Some(1));
        let mut shuffled = words;
        shuffled.sort_by_key(|word| word.chars().rev().collect::<String>());
        assert_eq!(known.find(&shuffled.join(" ")), None, "the same words in another order are another text");
    }

    #[test]
    fn texts_without_spaces_are_compared_too() {
        let mut known = NearDuplicateIndex::new(INSTRUCTIONS);
        known.find_and_add(1, "请写一首关于灯塔的短诗");
        assert_eq!(known.find("请写一首关于灯塔的短诗。"), Some(1));
        assert_eq!(known.find("为什么一天有两次涨潮"), None);
    }
}
