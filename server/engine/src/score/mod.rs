//! Figures of generated instructions that need no model: ROUGE-L, copying, diversity, failure tags.
//!
//! Words are lower-cased runs of `\w`, or single letters in scripts without spaces ([`crate::words`]). Knows nothing of
//! tokens or models. A text longer than 8,192 words is compared by its first 8,192; its length counts all of them.

mod interner;
mod overlap;
mod rating;
mod summary;
mod tags;
#[cfg(test)]
mod tests;

use spec::PairScores;

use crate::words;

pub use rating::{krippendorff_alpha, spearman};
pub use summary::{agreement, baseline_summary, likelihood_summary, mean_of, rouge_l_interval, share_of, summarise};

#[derive(Clone, Copy, Debug)]
pub struct ScoreInput<'a> {
    pub response: &'a str,
    /// As the model wrote it: a text that was tidied hides what the tags look for.
    pub generated: &'a str,
    pub reference: Option<&'a str>,
    /// Ended by its end marker; None where that is not known (a file of texts).
    pub ended: Option<bool>,
}

/// Words from which on a run counts as copied.
pub const COPIED_RUN: usize = 8;

pub fn score_pair(input: &ScoreInput<'_>) -> PairScores {
    let mut interner = interner::WordInterner::default();
    let generated = interner.words(input.generated);
    let response = interner.words(input.response);
    let copied = overlap::copying(&generated, &response);
    PairScores {
        words: whole(words::count(input.generated)),
        rouge_l: input.reference.map(|reference| overlap::rouge_l(&generated, &interner.words(reference))),
        copied_run: whole(copied.longest_run),
        coverage: copied.coverage,
        density: copied.density,
        tags: tags::tags(input, &copied, &generated, &response),
    }
}

/// Texts are far below 2^32 words.
fn whole(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
