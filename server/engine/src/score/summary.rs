//! Figures of many pairs together, of the generated instructions and of the references beside them.

use std::collections::HashSet;

use rand::Rng;
use spec::{
    BaselineFigures, BaselineSummary, Interval, JudgeSummary, LengthBand, LikelihoodSummary, Mean, MeansPerText,
    PairLikelihood, PairScores, PerText, ScoreSummary, Tag, TagCount, TextFigures,
};

use super::interner::WordInterner;
use super::overlap::{copying, rouge_l};
use super::{COPIED_RUN, ScoreInput, score_pair, whole};
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
        length_band: length_band(&referenced, scores),
        sources: Vec::new(),
        near_duplicates: None,
        likelihood: None,
        baseline: None,
    }
}

/// Of the references, and the share of generated instructions within it.
fn length_band(referenced: &[(usize, &ScoreInput<'_>, &str)], scores: &[PairScores]) -> Option<LengthBand> {
    if referenced.len() < LengthBand::FEWEST {
        return None;
    }
    let mut lengths: Vec<u32> = referenced.iter().map(|(_, _, text)| whole(words::count(text))).collect();
    lengths.sort_unstable();
    let nearest = |share: f64| lengths[((share * lengths.len() as f64).ceil() as usize).clamp(1, lengths.len()) - 1];
    let (low, high) = (nearest(0.05), nearest(0.95));
    let inside: Vec<bool> = scores.iter().map(|score| (low..=high).contains(&score.words)).collect();
    Some(LengthBand { low, high, inside: share_of(&inside)? })
}

/// Means of the pairs that were measured; None without any.
pub fn likelihood_summary(measured: &[PairLikelihood]) -> Option<LikelihoodSummary> {
    if measured.is_empty() {
        return None;
    }
    let picked_out = |which: fn(&PerText) -> Option<f64>| {
        share_of(&measured.iter().filter_map(|pair| which(&pair.rank)).map(|rank| rank == 1.0).collect::<Vec<_>>())
    };
    let chance = mean(measured.iter().map(|pair| 1.0 / f64::from(pair.ranked.max(1))));
    let aligned: Vec<f64> = measured.iter().filter_map(|pair| pair.grade.reference).collect();
    let shuffled: Vec<f64> = measured.iter().filter_map(|pair| pair.grade.reference_shuffled).collect();
    let judge = (aligned.len() >= 2 && shuffled.len() >= 2).then(|| JudgeSummary {
        separation: area_under_roc(&aligned, &shuffled),
        grade: per_text(measured, |pair| pair.grade),
    });
    Some(LikelihoodSummary {
        pairs: measured.len() as u64,
        ranked: measured.iter().map(|pair| u64::from(pair.ranked)).min().unwrap_or(0),
        cycle: per_text(measured, |pair| pair.cycle),
        pmi: per_text(measured, |pair| pair.pmi),
        picked_out: MeansPerText {
            generated: picked_out(|rank| Some(rank.generated)).unwrap_or_default(),
            reference: picked_out(|rank| rank.reference),
            shuffled: Some(Mean { mean: chance, interval: None }),
        },
        judge,
    })
}

fn per_text(measured: &[PairLikelihood], which: fn(&PairLikelihood) -> PerText) -> MeansPerText {
    let mean = |value: fn(&PerText) -> Option<f64>| {
        mean_of(&measured.iter().filter_map(|pair| value(&which(pair))).collect::<Vec<_>>())
    };
    MeansPerText {
        generated: mean(|of| Some(of.generated)).unwrap_or_default(),
        reference: mean(|of| of.reference),
        shuffled: mean(|of| of.shuffled),
    }
}

/// `generated` and `baseline` are of the same responses, in the same order. None without any.
pub fn baseline_summary(generated: &[ScoreInput<'_>], baseline: &[ScoreInput<'_>]) -> Option<BaselineSummary> {
    if baseline.is_empty() {
        return None;
    }
    let figures = |inputs: &[ScoreInput<'_>]| {
        let scores: Vec<PairScores> = inputs.iter().map(score_pair).collect();
        let summary = summarise(inputs, &scores, 0);
        let rouge: Vec<f64> = scores.iter().filter_map(|score| score.rouge_l).collect();
        let figures = BaselineFigures {
            rouge_l: rouge_l_mean(&rouge),
            without_tags: summary.without_tags,
            copied: summary.generated.copied,
            median_words: summary.generated.median_words,
        };
        (figures, rouge)
    };
    let (of_generated, rouge) = figures(generated);
    let (of_baseline, base_rouge) = figures(baseline);
    let gain: Vec<f64> = rouge.iter().zip(&base_rouge).map(|(own, base)| own - base).collect();
    Some(BaselineSummary {
        pairs: baseline.len() as u64,
        generated: of_generated,
        baseline: of_baseline,
        rouge_l_gain: mean_of(&gain).filter(|_| gain.len() > 1),
    })
}

/// None without values.
pub fn mean_of(values: &[f64]) -> Option<Mean> {
    (!values.is_empty()).then(|| Mean { mean: mean(values.iter().copied()), interval: mean_interval(values) })
}

fn rouge_l_mean(values: &[f64]) -> Option<Mean> {
    Some(Mean { interval: rouge_l_interval(values), ..mean_of(values)? })
}

/// The share of those that hold, with Wilson's 95 % interval, which is right for few values and for shares near 0 and 1. None
/// without values.
pub fn share_of(hits: &[bool]) -> Option<Mean> {
    if hits.is_empty() {
        return None;
    }
    let (count, z) = (hits.len() as f64, 1.96);
    let share = hits.iter().filter(|hit| **hit).count() as f64 / count;
    let middle = (share + z * z / (2.0 * count)) / (1.0 + z * z / count);
    let half = z / (1.0 + z * z / count) * (share * (1.0 - share) / count + z * z / (4.0 * count * count)).sqrt();
    Some(Mean {
        mean: share,
        interval: Some(Interval { low: (middle - half).max(0.0), high: (middle + half).min(1.0) }),
    })
}

/// The probability that one of `above` exceeds one of `below` (ties count half), with the interval of Hanley & McNeil 1982.
fn area_under_roc(above: &[f64], below: &[f64]) -> Mean {
    let wins: f64 = above
        .iter()
        .flat_map(|a| below.iter().map(move |b| a.total_cmp(b)))
        .map(|order| match order {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    let (m, n) = (above.len() as f64, below.len() as f64);
    let area = wins / (m * n);
    let (q1, q2) = (area / (2.0 - area), 2.0 * area * area / (1.0 + area));
    let variance = (area * (1.0 - area) + (m - 1.0) * (q1 - area * area) + (n - 1.0) * (q2 - area * area)) / (m * n);
    let half = 1.96 * variance.max(0.0).sqrt();
    Mean { mean: area, interval: Some(Interval { low: (area - half).max(0.0), high: (area + half).min(1.0) }) }
}

/// Of each text, its mean ROUGE-L F1 against the others: what most agree on is likely right (minimum Bayes risk decoding;
/// Kumar & Byrne 2004). 0 for a single text.
pub fn agreement(texts: &[&str]) -> Vec<f64> {
    let mut interner = WordInterner::default();
    let words: Vec<Vec<u32>> = texts.iter().map(|text| interner.words(text)).collect();
    (0..words.len())
        .map(|own| {
            let others = (0..words.len()).filter(|other| *other != own);
            mean(others.map(|other| rouge_l(&words[own], &words[other])))
        })
        .collect()
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
    fn the_length_band_is_that_of_the_middle_nine_tenths_of_the_references() {
        let texts: Vec<String> = (1..=40).map(|words| vec!["word"; words].join(" ")).collect();
        let input = |at: usize| ScoreInput {
            response: "r",
            generated: &texts[(at * 2).min(39)],
            reference: Some(&texts[at]),
            ended: Some(true),
        };
        let band = |count: usize| {
            let inputs: Vec<ScoreInput<'_>> = (0..count).map(input).collect();
            let scores: Vec<PairScores> = inputs.iter().map(score_pair).collect();
            summarise(&inputs, &scores, 1).length_band
        };
        assert_eq!(band(19), None);
        let found = band(40).unwrap();
        // Generated: 1, 3, 5, ... 39 words, then twenty times 40.
        assert_eq!((found.low, found.high, found.inside.mean), (2, 38, 18.0 / 40.0));
    }

    #[test]
    fn chance_is_that_of_the_responses_that_each_instruction_had_to_choose_from() {
        let pair = |rank, ranked| PairLikelihood {
            rank: PerText { generated: rank, ..PerText::default() },
            ranked,
            ..PairLikelihood::default()
        };
        let summary = likelihood_summary(&[pair(1.0, 50), pair(2.0, 25)]).unwrap();
        assert_eq!((summary.pairs, summary.ranked, summary.picked_out.generated.mean), (2, 25, 0.5));
        assert!((summary.picked_out.shuffled.unwrap().mean - 0.03).abs() < 1e-12);
        assert_eq!(likelihood_summary(&[]), None);
    }

    #[test]
    fn what_most_candidates_say_agrees_most() {
        let texts =
            ["Write a poem about rain", "Write a poem on rain", "Write a short poem about rain", "Name a river"];
        let found = agreement(&texts);
        assert!(found[0] > found[3] && found[1] > found[3] && found[0] >= found[2], "{found:?}");
        assert_eq!(agreement(&["alone"]), [0.0]);
    }

    #[test]
    fn the_area_under_the_curve_is_one_half_for_equal_grades_and_one_for_separate_ones() {
        let same = area_under_roc(&[3.0; 40], &[3.0; 40]);
        assert_eq!(same.mean, 0.5);
        assert!(same.interval.unwrap().low < 0.5);
        assert_eq!(area_under_roc(&[4.0, 5.0], &[1.0, 2.0]).mean, 1.0);
        // Hanley & McNeil 1982, table: area 0.893, 51 and 58 cases, standard error 0.032.
        let (q1, q2, area) = (0.893 / 1.107, 2.0 * 0.893 * 0.893 / 1.893, 0.893_f64);
        let variance: f64 =
            (area * (1.0 - area) + 50.0 * (q1 - area * area) + 57.0 * (q2 - area * area)) / (51.0 * 58.0);
        assert!((variance.sqrt() - 0.032).abs() < 0.001, "{}", variance.sqrt());
    }

    #[test]
    fn a_share_of_none_or_all_still_has_a_wide_interval_when_there_are_few() {
        let none = share_of(&[false; 10]).unwrap().interval.unwrap();
        assert!(none.low == 0.0 && (none.high - 0.278).abs() < 0.001, "{none:?}");
        let all = share_of(&[true; 10]).unwrap().interval.unwrap();
        assert!((all.low - 0.722).abs() < 0.001 && all.high == 1.0, "{all:?}");
        assert_eq!(share_of(&[]), None);
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
