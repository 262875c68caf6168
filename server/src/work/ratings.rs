//! What people's grades of a run's texts say.

use std::collections::{BTreeMap, BTreeSet};

use engine::score::{krippendorff_alpha, mean_of, spearman};
use spec::{
    Criterion, GeneratedPair, MetricCorrelation, PairLikelihood, PerText, RatedMeans, RatedText, Rating, RatingSummary,
};

/// From this mean grade on a text counts as relevant.
const RELEVANT: f64 = 4.0;

/// A metric of a pair, as a person would name it, so that higher is better.
type Metric = (&'static str, fn(&GeneratedPair) -> Option<f64>);

const METRICS: [Metric; 8] = [
    ("ROUGE-L", |pair| pair.scores.rouge_l),
    ("no failure tag", |pair| Some(if pair.scores.tags.is_empty() { 1.0 } else { 0.0 })),
    ("fewer copied words", |pair| Some(-f64::from(pair.scores.copied_run))),
    ("length in words", |pair| Some(f64::from(pair.scores.words))),
    ("cycle score", |pair| likelihood(pair, |of| of.cycle)),
    ("PMI", |pair| likelihood(pair, |of| of.pmi)),
    ("pick-out rank", |pair| likelihood(pair, |of| of.rank).map(|rank| -rank)),
    ("judge's grade", |pair| likelihood(pair, |of| of.grade)),
];

fn likelihood(pair: &GeneratedPair, which: fn(&PairLikelihood) -> PerText) -> Option<f64> {
    pair.likelihood.as_ref().map(|of| which(of).generated)
}

/// The texts of these pairs that are rated, in the order of the pairs.
pub fn rated_texts(pairs: &[GeneratedPair]) -> Vec<(u32, RatedText, &str)> {
    let mut texts = Vec::new();
    for pair in pairs.iter().take(Rating::MOST_PAIRS) {
        texts.push((pair.index, RatedText::Generated, pair.generated.as_str()));
        texts.extend(pair.baseline.as_deref().map(|text| (pair.index, RatedText::Baseline, text)));
        texts.extend(pair.reference.as_deref().map(|text| (pair.index, RatedText::Reference, text)));
    }
    texts
}

/// None where nobody rated.
pub fn summary(pairs: &[GeneratedPair], ratings: &[Rating]) -> Option<RatingSummary> {
    let raters: BTreeSet<&str> = ratings.iter().map(|rating| rating.rater.as_str()).collect();
    // Grades by text, then by criterion.
    let mut by_text: BTreeMap<(u32, RatedText), [Vec<f64>; 4]> = BTreeMap::new();
    for rating in ratings {
        let grades = by_text.entry((rating.index, rating.text)).or_default();
        for (of_criterion, grade) in grades.iter_mut().zip(rating.grades) {
            of_criterion.extend(grade.map(f64::from));
        }
    }
    by_text.retain(|_, grades| grades.iter().any(|grades| !grades.is_empty()));
    if by_text.is_empty() {
        return None;
    }
    let criteria: [usize; 4] = std::array::from_fn(|at| at);
    let texts = RatedText::ALL
        .iter()
        .map(|&text| {
            let of_text: Vec<&[Vec<f64>; 4]> =
                by_text.iter().filter(|((_, of), _)| *of == text).map(|(_, grades)| grades).collect();
            let means_of = |criterion: usize| -> Vec<f64> {
                of_text.iter().filter_map(|grades| mean(&grades[criterion])).collect()
            };
            let relevance = means_of(Criterion::Relevance as usize);
            let relevant: Vec<bool> = relevance.iter().map(|grade| *grade >= RELEVANT).collect();
            RatedMeans {
                text,
                rated: of_text.len() as u64,
                means: criteria.map(|criterion| mean_of(&means_of(criterion))),
                relevant: engine::score::share_of(&relevant).unwrap_or_default(),
            }
        })
        .filter(|means| means.rated > 0)
        .collect();
    let agreement = criteria.map(|criterion| {
        krippendorff_alpha(&by_text.values().map(|grades| grades[criterion].clone()).collect::<Vec<_>>())
    });
    Some(RatingSummary {
        raters: raters.len() as u64,
        rated: by_text.len() as u64,
        texts,
        agreement,
        correlations: correlations(pairs, &by_text),
    })
}

fn correlations(
    pairs: &[GeneratedPair],
    by_text: &BTreeMap<(u32, RatedText), [Vec<f64>; 4]>,
) -> Vec<MetricCorrelation> {
    let rated: Vec<(&GeneratedPair, f64)> = pairs
        .iter()
        .filter_map(|pair| {
            let grades = by_text.get(&(pair.index, RatedText::Generated))?;
            Some((pair, mean(&grades[Criterion::Relevance as usize])?))
        })
        .collect();
    METRICS
        .iter()
        .filter_map(|(name, metric)| {
            let (values, grades): (Vec<f64>, Vec<f64>) =
                rated.iter().filter_map(|(pair, grade)| Some((metric(pair)?, *grade))).unzip();
            let correlation = spearman(&values, &grades)?;
            Some(MetricCorrelation { metric: (*name).to_owned(), pairs: values.len() as u64, correlation })
        })
        .collect()
}

fn mean(grades: &[f64]) -> Option<f64> {
    mean_of(grades).map(|mean| mean.mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(index: u32) -> GeneratedPair {
        let scores = spec::PairScores { rouge_l: Some(f64::from(index) / 10.0), words: 5, ..Default::default() };
        GeneratedPair {
            index,
            generated: format!("g{index}"),
            baseline: (index < 2).then(|| "b".to_owned()),
            reference: Some("r".to_owned()),
            scores,
            ..GeneratedPair::default()
        }
    }

    fn rating(index: u32, text: RatedText, rater: &str, relevance: u8) -> Rating {
        Rating { index, text, rater: rater.to_owned(), grades: [Some(relevance), Some(3), None, None] }
    }

    #[test]
    fn every_text_that_there_is_is_rated() {
        let pairs = [pair(0), pair(5)];
        let of: Vec<(u32, RatedText)> = rated_texts(&pairs).iter().map(|(index, text, _)| (*index, *text)).collect();
        use RatedText::*;
        assert_eq!(of, [(0, Generated), (0, Baseline), (0, Reference), (5, Generated), (5, Reference)]);
        assert_eq!(rated_texts(&(0..80).map(pair).collect::<Vec<_>>()).len(), 2 * 50 + 2);
    }

    #[test]
    fn a_metric_that_goes_with_the_grades_correlates_and_raters_agree_or_not() {
        let pairs: Vec<GeneratedPair> = (0..8).map(pair).collect();
        assert_eq!(summary(&pairs, &[]), None);
        let grade = |index: u32| 1 + (index / 2) as u8;
        let mut ratings: Vec<Rating> =
            (0..8).map(|index| rating(index, RatedText::Generated, "Ada", grade(index))).collect();
        ratings.push(rating(0, RatedText::Reference, "Ada", 5));
        let alone = summary(&pairs, &ratings).unwrap();
        assert_eq!((alone.raters, alone.rated, alone.agreement), (1, 9, [None; 4]));
        let rouge = alone.correlations.iter().find(|of| of.metric == "ROUGE-L").unwrap();
        assert!(rouge.correlation.mean > 0.9 && rouge.is_clear() && rouge.pairs == 8, "{rouge:?}");
        assert!(!alone.correlations.iter().any(|of| of.metric == "length in words"), "a constant has no rank");
        let generated = &alone.texts[0];
        assert_eq!((generated.text, generated.rated, generated.means[2]), (RatedText::Generated, 8, None));
        assert_eq!((generated.means[0].unwrap().mean, generated.relevant.mean), (2.5, 0.25));
        ratings.extend((0..8).map(|index| rating(index, RatedText::Generated, "Bo", grade(index))));
        let both = summary(&pairs, &ratings).unwrap();
        assert_eq!((both.raters, both.agreement[0], both.agreement[1]), (2, Some(1.0), None));
    }
}
