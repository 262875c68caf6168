//! Figures of many pairs together, of the generated instructions and of the references beside them.

use std::collections::HashSet;

use rand::Rng;

use super::interner::WordInterner;
use super::overlap::{copying, rouge_l};
use super::{COPIED_RUN, PairScores, ScoreInput, Tag};
use crate::words;

#[derive(Clone, Debug, PartialEq)]
pub struct TextFigures {
    /// Of the texts that are not empty (an empty one has no length; the `empty` tag counts it). The mean of the
    /// middle two where their number is even; 0 without texts.
    pub median_words: f64,
    /// Share with a copied run of at least [`COPIED_RUN`] words.
    pub copied: f64,
    /// Means over all texts; an empty one counts 0.
    pub coverage: f64,
    pub density: f64,
    /// Different n-grams over all n-grams, of all texts together (Li et al., arXiv:1510.03055); none spans two texts.
    /// Falls as there are more texts: only sets of like size compare.
    pub distinct_1: f64,
    pub distinct_2: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub pairs: usize,
    pub with_reference: usize,
    pub generated: TextFigures,
    pub reference: Option<TextFigures>,
    /// Mean over the pairs with a reference.
    pub rouge_l: Option<f64>,
    /// Mean ROUGE-L against another pair's reference (a fixed derangement by `seed`); None with fewer than two
    /// references.
    pub rouge_l_shuffled: Option<f64>,
    /// In [`Tag::ALL`]'s order, zeros included.
    pub tags: Vec<(Tag, usize)>,
    pub without_tags: usize,
}

/// `scores` are those of [`super::score_pair`] for `inputs`, in the same order.
pub fn summarise(inputs: &[ScoreInput<'_>], scores: &[PairScores], seed: u64) -> Summary {
    let mut interner = WordInterner::default();
    let generated: Vec<Vec<u32>> = inputs.iter().map(|input| interner.words(input.generated)).collect();
    let referenced: Vec<(usize, &ScoreInput<'_>, &str)> =
        inputs.iter().enumerate().filter_map(|(at, input)| Some((at, input, input.reference?))).collect();
    let references: Vec<Vec<u32>> = referenced.iter().map(|(_, _, reference)| interner.words(reference)).collect();

    let mut of_references = FigureSums::default();
    for ((_, input, reference), numbered) in referenced.iter().zip(&references) {
        let copied = copying(numbered, &interner.words(input.response));
        of_references.add(reference, words::count(reference), copied.longest_run, copied.coverage, copied.density);
    }
    let mut of_generated = FigureSums::default();
    for (input, score) in inputs.iter().zip(scores) {
        of_generated.add(input.generated, score.words, score.copied_run, score.coverage, score.density);
    }

    let own = scores.iter().filter_map(|score| score.rouge_l);
    let shuffled = (references.len() > 1).then(|| {
        let others = derangement(references.len(), seed);
        mean(referenced.iter().zip(others).map(|((at, _, _), other)| rouge_l(&generated[*at], &references[other])))
    });
    Summary {
        pairs: inputs.len(),
        with_reference: references.len(),
        generated: of_generated.figures(&generated),
        reference: (!references.is_empty()).then(|| of_references.figures(&references)),
        rouge_l: (!references.is_empty()).then(|| mean(own)),
        rouge_l_shuffled: shuffled,
        tags: Tag::ALL.map(|tag| (tag, scores.iter().filter(|score| score.tags.contains(&tag)).count())).to_vec(),
        without_tags: scores.iter().filter(|score| score.tags.is_empty()).count(),
    }
}

#[derive(Default)]
struct FigureSums {
    texts: usize,
    words: Vec<usize>,
    copied: usize,
    coverage: f64,
    density: f64,
}

impl FigureSums {
    fn add(&mut self, text: &str, words: usize, copied_run: usize, coverage: f64, density: f64) {
        self.texts += 1;
        if !text.trim().is_empty() {
            self.words.push(words);
        }
        self.copied += usize::from(copied_run >= COPIED_RUN);
        self.coverage += coverage;
        self.density += density;
    }

    fn figures(mut self, texts: &[Vec<u32>]) -> TextFigures {
        let all = self.texts.max(1) as f64;
        self.words.sort_unstable();
        let middle = self.words.len() / 2;
        TextFigures {
            median_words: match self.words.len() {
                0 => 0.0,
                even if even % 2 == 0 => (self.words[middle - 1] + self.words[middle]) as f64 / 2.0,
                _ => self.words[middle] as f64,
            },
            copied: self.copied as f64 / all,
            coverage: self.coverage / all,
            density: self.density / all,
            distinct_1: distinct(texts, 1),
            distinct_2: distinct(texts, 2),
        }
    }
}

fn distinct(texts: &[Vec<u32>], length: usize) -> f64 {
    let grams = || texts.iter().flat_map(|text| text.windows(length));
    let different: HashSet<&[u32]> = grams().collect();
    different.len() as f64 / grams().count().max(1) as f64
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

/// A random permutation that leaves nothing in its place: one cycle through all (Sattolo 1986).
fn derangement(length: usize, seed: u64) -> Vec<usize> {
    let mut random = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..length).collect();
    for last in (1..length).rev() {
        order.swap(last, random.random_range(0..last));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derangement_moves_everything_and_depends_on_the_seed_alone() {
        for length in 2..40 {
            let order = derangement(length, 3);
            assert!(order.iter().enumerate().all(|(at, &other)| at != other));
            assert_eq!(order.iter().collect::<HashSet<_>>().len(), length);
            assert_eq!(order, derangement(length, 3));
        }
        assert_ne!(derangement(40, 3), derangement(40, 4));
    }
}
