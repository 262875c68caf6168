//! Figures of many pairs together, of the generated instructions and of the references beside them.

use std::collections::HashSet;

use rand::Rng;
use spec::{Interval, PairScores, ScoreSummary, Tag, TagCount, TextFigures};

use super::interner::WordInterner;
use super::overlap::{copying, rouge_l};
use super::{COPIED_RUN, ScoreInput, whole};
use crate::words;

/// `scores` are those of [`super::score_pair`] for `inputs`, in the same order.
pub fn summarise(inputs: &[ScoreInput<'_>], scores: &[PairScores], seed: u64) -> ScoreSummary {
    let mut interner = WordInterner::default();
    let generated: Vec<Vec<u32>> = inputs.iter().map(|input| interner.words(input.generated)).collect();
    let referenced: Vec<(usize, &ScoreInput<'_>, &str)> =
        inputs.iter().enumerate().filter_map(|(at, input)| Some((at, input, input.reference?))).collect();
    let references: Vec<Vec<u32>> = referenced.iter().map(|(_, _, reference)| interner.words(reference)).collect();

    let mut of_references = FigureSums::default();
    for ((_, input, reference), numbered) in referenced.iter().zip(&references) {
        let copied = copying(numbered, &interner.words(input.response));
        of_references.add(
            reference,
            whole(words::count(reference)),
            whole(copied.longest_run),
            copied.coverage,
            copied.density,
        );
    }
    let mut of_generated = FigureSums::default();
    for (input, score) in inputs.iter().zip(scores) {
        of_generated.add(input.generated, score.words, score.copied_run, score.coverage, score.density);
    }

    let own: Vec<f64> = scores.iter().filter_map(|score| score.rouge_l).collect();
    let shuffled: Vec<f64> = match references.len() {
        0 | 1 => Vec::new(),
        count => {
            let others = derangement(count, seed);
            referenced
                .iter()
                .zip(others)
                .map(|((at, _, _), other)| rouge_l(&generated[*at], &references[other]))
                .collect()
        }
    };
    let gain: Vec<f64> = own.iter().zip(&shuffled).map(|(own, other)| own - other).collect();
    ScoreSummary {
        pairs: inputs.len() as u64,
        with_reference: references.len() as u64,
        generated: of_generated.figures(&generated),
        reference: (!references.is_empty()).then(|| of_references.figures(&references)),
        rouge_l: (!references.is_empty()).then(|| mean(own.iter().copied())),
        rouge_l_shuffled: (!shuffled.is_empty()).then(|| mean(shuffled.iter().copied())),
        rouge_l_interval: rouge_l_interval(&own),
        rouge_l_gain_interval: mean_interval(&gain),
        tags: Tag::ALL
            .iter()
            .map(|&tag| TagCount { tag, count: count(scores, |score| score.tags.contains(&tag)) })
            .collect(),
        without_tags: count(scores, |score| score.tags.is_empty()),
    }
}

/// Of the mean of ROUGE-L values, within their range.
pub fn rouge_l_interval(values: &[f64]) -> Option<Interval> {
    let Interval { low, high } = mean_interval(values)?;
    Some(Interval { low: low.max(0.0), high: high.min(1.0) })
}

/// 1.96 standard errors to both sides of the mean (normal approximation). None for fewer than two values.
fn mean_interval(values: &[f64]) -> Option<Interval> {
    let count = values.len() as f64;
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values.iter().copied());
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = 1.96 * (variance / count).sqrt();
    Some(Interval { low: mean - half, high: mean + half })
}

fn count(scores: &[PairScores], holds: impl Fn(&PairScores) -> bool) -> u64 {
    scores.iter().filter(|score| holds(score)).count() as u64
}

#[derive(Default)]
struct FigureSums {
    texts: usize,
    words: Vec<u32>,
    copied: usize,
    coverage: f64,
    density: f64,
}

impl FigureSums {
    fn add(&mut self, text: &str, words: u32, copied_run: u32, coverage: f64, density: f64) {
        self.texts += 1;
        if !text.trim().is_empty() {
            self.words.push(words);
        }
        self.copied += usize::from(copied_run as usize >= COPIED_RUN);
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
                even if even % 2 == 0 => {
                    f64::midpoint(f64::from(self.words[middle - 1]), f64::from(self.words[middle]))
                }
                _ => f64::from(self.words[middle]),
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
    fn an_interval_narrows_with_the_root_of_the_number_and_needs_two_values() {
        assert_eq!((mean_interval(&[]), mean_interval(&[0.5])), (None, None));
        let values = |count: usize| (0..count).map(|at| if at % 2 == 0 { 0.2 } else { 0.4 }).collect::<Vec<f64>>();
        let half = |count: usize| {
            let Interval { low, high } = mean_interval(&values(count)).unwrap();
            assert!((low + high - 0.6).abs() < 1e-12, "around the mean");
            (high - low) / 2.0
        };
        // The standard deviation is 0.1 * sqrt(n / (n - 1)).
        assert!((half(100) - 1.96 * 0.1 / 99_f64.sqrt()).abs() < 1e-12);
        assert!((half(400) / half(100) - 0.5).abs() < 0.01);
        assert_eq!(rouge_l_interval(&[0.0, 1.0]), Some(Interval { low: 0.0, high: 1.0 }));
    }

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
