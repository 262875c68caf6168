//! Which of several candidates becomes the pair: those without a failure tag first, then by what the settings rank by.

use engine::Control;
use engine::data::CorpusRow;
use engine::likelihood::Likelihoods;
use engine::score::ScoreInput;
use spec::{Candidate, GenerateConfig, RankBy};

use super::Job;
use crate::adapter;
use crate::work::Result;

/// Refuses settings by which all candidates would be the same.
pub(super) fn check(config: &GenerateConfig) -> Result<()> {
    if config.candidates > 1 && config.temperature == 0.0 {
        return Err(adapter::invalid(
            "candidates",
            config.candidates,
            "1 with a temperature of 0, which gives the same text every time; set a temperature above 0 for more",
        ));
    }
    Ok(())
}

/// Fills in scores and tags, and sorts, best first. Equal candidates stay in the order in which they were generated.
pub(super) fn rank(candidates: &mut [Candidate], source: &CorpusRow, job: &Job<'_>, control: &Control) -> Result<()> {
    let mut copied = Vec::with_capacity(candidates.len());
    for candidate in candidates.iter_mut() {
        let scores = engine::score::score_pair(&ScoreInput {
            response: &source.response,
            generated: &candidate.text,
            reference: None,
            ended: Some(candidate.ended),
        });
        copied.push(f64::from(scores.copied_run) / f64::from(scores.words.max(1)));
        candidate.tags = scores.tags;
    }
    let texts: Vec<&str> = candidates.iter().map(|candidate| candidate.text.as_str()).collect();
    let ranks = match job.config.rank_by {
        RankBy::Agreement => engine::score::agreement(&texts),
        RankBy::Likelihood => by_likelihood(&texts, &copied, &source.response, job, control)?,
    };
    for (candidate, rank) in candidates.iter_mut().zip(ranks) {
        candidate.rank_score = rank;
    }
    candidates.sort_by(|a, b| {
        a.tags.is_empty().cmp(&b.tags.is_empty()).reverse().then(b.rank_score.total_cmp(&a.rank_score))
    });
    Ok(())
}

/// Nats by which instruction and response raise each other's likelihood, both per token of the instruction, minus the share
/// of the instruction that is copied in one run.
fn by_likelihood(texts: &[&str], copied: &[f64], response: &str, job: &Job<'_>, control: &Control) -> Result<Vec<f64>> {
    let context = job.base.config.max_position_embeddings;
    let likelihoods = Likelihoods::new(job.base, control).map_err(adapter::error)?.ok_or_else(|| {
        adapter::invalid(
            "rank_by",
            "likelihood",
            &format!("agreement: this model's context of {context} tokens is too short to measure likelihoods"),
        )
    })?;
    let measure = || -> engine::Result<Vec<f64>> {
        let response = likelihoods.read(response)?;
        let given = likelihoods.instructions_given(&response, texts)?;
        let alone = likelihoods.instructions_alone(texts)?;
        let cycles = likelihoods.cycles(&response, texts)?;
        let score = |at: usize| {
            let nats = given[at] - alone[at].nats + cycles[at].nats;
            nats / alone[at].tokens.max(1) as f64 - copied[at]
        };
        Ok((0..texts.len()).map(score).collect())
    };
    measure().map_err(adapter::error)
}
