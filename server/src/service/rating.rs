//! Blind rating: which texts a person grades, in which order, and what they were graded.

use spec::{AppError, CellKind, GeneratedPair, Grades, Rating, RatingItem, RatingSummary};

use super::Core;
use crate::store::PairSource;
use crate::work::ratings::{rated_texts, summary};

impl Core {
    pub(super) fn rating_items(&self, run: i64, rater: &str) -> Result<Vec<RatingItem>, AppError> {
        let rater = Rating::check_name(rater)?;
        let pairs = self.rated_pairs(run)?;
        let texts = rated_texts(&pairs);
        let given: Vec<Rating> = self.store.ratings(run)?.into_iter().filter(|rating| rating.rater == rater).collect();
        let items = order(run, &rater, texts.len()).into_iter().enumerate().map(|(item, place)| {
            let (index, text, instruction) = texts[place];
            let grades = given.iter().find(|rating| (rating.index, rating.text) == (index, text));
            let pair = pairs.iter().find(|pair| pair.index == index);
            RatingItem {
                item: item as u32,
                response: pair.map(|pair| pair.response.clone()).unwrap_or_default(),
                instruction: instruction.to_owned(),
                grades: grades.map(|rating| rating.grades).unwrap_or_default(),
            }
        });
        Ok(items.collect())
    }

    pub(super) fn rate(&self, run: i64, rater: &str, item: u32, grades: Grades) -> Result<(), AppError> {
        let rater = Rating::check_name(rater)?;
        Rating::check_grades(&grades)?;
        let pairs = self.rated_pairs(run)?;
        let texts = rated_texts(&pairs);
        let place = order(run, &rater, texts.len()).get(item as usize).copied();
        let Some((index, text, _)) = place.map(|place| texts[place]) else {
            let count = texts.len();
            return Err(AppError::not_found(
                format!("There is no text {item}: the run has {count}."),
                "Reload the page.",
            ));
        };
        Ok(self.store.rate(run, &Rating { index, text, rater, grades })?)
    }

    pub(super) fn rating_summary(&self, run: i64) -> Result<Option<RatingSummary>, AppError> {
        Ok(summary(&self.rated_pairs(run)?, &self.store.ratings(run)?))
    }

    /// The first pairs of a generate run that is over; while it runs, there would be more tomorrow.
    fn rated_pairs(&self, run: i64) -> Result<Vec<GeneratedPair>, AppError> {
        let row = self.store.run(run)?;
        if row.config.kind() != CellKind::Generate {
            return Err(AppError::not_found(
                format!("Run {run} has no pairs."),
                "Open the rating from a Generate cell.",
            ));
        }
        if !row.state.is_over() {
            return Err(AppError::conflict(format!("Run {run} is not finished."), "Rate its pairs when it is."));
        }
        let all = spec::PairFilter::default();
        let most = Some(Rating::MOST_PAIRS as u64);
        Ok(self.store.page_of_pairs(PairSource::Generated, run, &all, 0, most)?.0)
    }
}

/// Places of the texts in the rater's order: shuffled, the same at every visit, another for each rater.
fn order(run: i64, rater: &str, count: usize) -> Vec<usize> {
    let key = |place: usize| engine::artifact::sha256(format!("{run}/{rater}/{place}").as_bytes());
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by_cached_key(|place| key(*place));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rater_has_an_order_of_their_own_that_stays() {
        let ada = order(1, "Ada", 60);
        assert_eq!(ada, order(1, "Ada", 60));
        assert_ne!(ada, order(1, "Bo", 60));
        let mut sorted = ada.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..60) && ada != sorted);
    }
}
