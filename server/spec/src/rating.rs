//! Blind rating: a person grades instructions without knowing who wrote them.

use serde::{Deserialize, Serialize};

use crate::setting::choices;
use crate::{AppError, Mean};

choices! {
    /// What is graded, from 1 to 5.
    Criterion {
        /// The response does what the instruction asks for.
        Relevance "relevance" "Relevance",
        /// It can be understood without the response.
        Clarity "clarity" "Clarity",
        /// It asks for all that the response gives.
        Completeness "completeness" "Completeness",
        /// It is worded as a person would ask, not copied from the response.
        Originality "originality" "Originality",
    }
}

choices! {
    /// Who wrote a text that is rated.
    RatedText {
        Generated "generated" "Generated",
        /// The base model without the adapter.
        Baseline "baseline" "Base model",
        Reference "reference" "Human reference",
    }
}

/// By [`Criterion::ALL`]; None: not graded yet.
pub type Grades = [Option<u8>; 4];

pub const HIGHEST_GRADE: u8 = 5;

/// What a rater sees of a text; not who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatingItem {
    /// Place in the rater's own order.
    pub item: u32,
    pub response: String,
    pub instruction: String,
    pub grades: Grades,
}

impl RatingItem {
    pub fn is_rated(&self) -> bool {
        self.grades.iter().all(Option::is_some)
    }
}

/// One person's grades of one text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rating {
    /// Of the pair.
    pub index: u32,
    pub text: RatedText,
    pub rater: String,
    pub grades: Grades,
}

impl Rating {
    /// Of a rater's name, in characters.
    pub const MAX_NAME: usize = 60;
    /// Pairs of a run that are rated: the first ones.
    pub const MOST_PAIRS: usize = 50;

    /// The name without the white space around it.
    pub fn check_name(name: &str) -> Result<String, AppError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > Self::MAX_NAME || name.chars().any(char::is_control) {
            return Err(AppError::invalid_setting(
                format!("A rater's name has 1 to {} characters on one line.", Self::MAX_NAME),
                "Enter a name; it tells the ratings of several people apart.",
            ));
        }
        Ok(name.to_owned())
    }

    pub fn check_grades(grades: &Grades) -> Result<(), AppError> {
        match grades.iter().flatten().find(|grade| !(1..=HIGHEST_GRADE).contains(*grade)) {
            Some(grade) => Err(AppError::invalid_setting(
                format!("A grade is from 1 to {HIGHEST_GRADE}, not {grade}."),
                "Grade with the keys 1 to 5.",
            )),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RatingSummary {
    /// How many people rated.
    pub raters: u64,
    /// Texts with at least one grade, by any of them.
    pub rated: u64,
    pub texts: Vec<RatedMeans>,
    /// Krippendorff's alpha (interval data) for each criterion; None where no text was graded by two people or all grades are
    /// equal.
    pub agreement: [Option<f64>; 4],
    /// Of metrics with the mean relevance of generated instructions.
    pub correlations: Vec<MetricCorrelation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatedMeans {
    pub text: RatedText,
    pub rated: u64,
    /// Mean grade for each criterion over texts; a text's grade is the mean over its raters.
    pub means: [Option<Mean>; 4],
    /// Share of texts with a mean relevance of 4 or more, 0..=1.
    pub relevant: Mean,
}

/// Spearman's rank correlation of a metric with people's grades.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricCorrelation {
    pub metric: String,
    pub pairs: u64,
    pub correlation: Mean,
}

impl MetricCorrelation {
    /// Whether chance is excluded: the interval does not include zero.
    pub fn is_clear(&self) -> bool {
        self.correlation.interval.is_some_and(|interval| interval.low > 0.0 || interval.high < 0.0)
    }
}

/// What a rater is asked.
pub fn question(criterion: Criterion) -> &'static str {
    match criterion {
        Criterion::Relevance => "Does the response do what the instruction asks for?",
        Criterion::Clarity => "Can the instruction be understood without the response?",
        Criterion::Completeness => "Does it ask for all that the response gives?",
        Criterion::Originality => "Is it worded as a person would ask, not copied from the response?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_grades_out_of_range_are_refused() {
        assert_eq!(Rating::check_name(" Ada ").unwrap(), "Ada");
        for name in ["", "  ", "a\nb", &"x".repeat(61)] {
            assert!(Rating::check_name(name).is_err(), "{name:?}");
        }
        assert!(Rating::check_grades(&[Some(1), Some(5), None, None]).is_ok());
        assert!(Rating::check_grades(&[Some(0), None, None, None]).is_err());
        assert!(Rating::check_grades(&[None, Some(6), None, None]).is_err());
    }
}
