//! The base model without the adapter, on the first pairs: what it generates for the same responses, and how likely
//! instruction and response make each other.

use engine::Control;
use engine::data::CorpusRow;
use engine::generate::GenerateEvent;
use engine::likelihood::{Gain, Likelihoods};
use spec::{GenerateConfig, GeneratedPair, PairLikelihood, PerText, RunEvent};

use super::{Job, prompts};
use crate::adapter;
use crate::work::{Result, phase, progress};

/// Responses among which an instruction has to pick out its own, at most.
const MOST_RANKED: usize = 100;

/// Evaluates the first `config.evaluated_pairs` of the finished pairs; those that an earlier execution evaluated stay as
/// they are. Sorts the pairs by their place in the corpus. Each pair is emitted again when it has more than before.
pub fn evaluate(
    job: &Job<'_>,
    corpus: &[CorpusRow],
    pairs: &mut [GeneratedPair],
    control: &Control,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<()> {
    pairs.sort_by_key(|pair| pair.index);
    let count = pairs.len().min(job.config.evaluated_pairs as usize);
    let pairs = &mut pairs[..count];
    if pairs.is_empty() {
        return Ok(());
    }
    generate_baselines(job, corpus, pairs, control, emit)?;
    let Some(likelihoods) = Likelihoods::new(job.base, control).map_err(adapter::error)? else {
        let context = job.base.config.max_position_embeddings;
        let text = format!("the model's context of {context} tokens is too short to measure likelihoods");
        emit(RunEvent::Warning { text });
        return Ok(());
    };
    phase(emit, "measuring likelihoods with the base model");
    let mut done = 0;
    // Blocks of like size, so that no instruction has far fewer responses to choose from than others.
    let blocks = pairs.len().div_ceil(MOST_RANKED);
    let mut rest = pairs;
    for block in 0..blocks {
        let size = rest.len().div_ceil(blocks - block);
        let (part, behind) = rest.split_at_mut(size);
        rest = behind;
        if part.iter().any(|pair| pair.likelihood.is_none()) {
            measure(&likelihoods, part, &mut |pairs| progress(emit)((done + pairs) as u64, count as u64))?;
            part.iter().for_each(|pair| emit(RunEvent::Pair { pair: pair.clone() }));
        }
        done += size;
    }
    Ok(())
}

fn generate_baselines(
    job: &Job<'_>,
    corpus: &[CorpusRow],
    pairs: &mut [GeneratedPair],
    control: &Control,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<()> {
    if job.lora.is_none() {
        return Ok(());
    }
    let config = GenerateConfig { candidates: 1, ..job.config.clone() };
    let untuned = Job { lora: None, config: &config, ..*job };
    // They are sorted.
    let place = |pairs: &[GeneratedPair], index: u32| pairs.binary_search_by_key(&index, |pair| pair.index).ok();
    let missing = |index: u32| place(pairs, index).is_some_and(|at| pairs[at].baseline.is_none());
    let rows = prompts(&untuned, corpus, missing)?;
    if rows.is_empty() {
        return Ok(());
    }
    phase(emit, "generating baselines with the base model");
    let (mut done, total) = (0, rows.len() as u64);
    let stop = job.template.stop_ids();
    let ended = engine::generate::generate(job.base, None, &rows, stop, &config, control, &mut |event| {
        let GenerateEvent::Row(row) = event else { return };
        let Some(pair) = place(pairs, row.index).map(|at| &mut pairs[at]) else { return };
        pair.baseline = Some(job.template.extract(&row.text).to_owned());
        emit(RunEvent::Pair { pair: pair.clone() });
        done += 1;
        emit(RunEvent::Progress { done, total });
    });
    ended.map_err(adapter::error)
}

/// Measures the pairs of one block, all against all.
fn measure(likelihoods: &Likelihoods<'_>, pairs: &mut [GeneratedPair], on_pair: &mut dyn FnMut(usize)) -> Result<()> {
    let generated: Vec<&str> = pairs.iter().map(|pair| pair.generated.as_str()).collect();
    let has_reference: Vec<usize> = (0..pairs.len()).filter(|&at| pairs[at].reference.is_some()).collect();
    let references: Vec<&str> = has_reference.iter().filter_map(|&at| pairs[at].reference.as_deref()).collect();
    let instructions: Vec<&str> = generated.iter().chain(&references).copied().collect();
    // Of pair `at`, among `instructions`.
    let reference = |at: usize| has_reference.binary_search(&at).ok().map(|place| pairs.len() + place);
    let alone = likelihoods.instructions_alone(&instructions).map_err(adapter::error)?;
    let mut given = Vec::with_capacity(pairs.len());
    let mut measured = Vec::with_capacity(pairs.len());
    for (at, pair) in pairs.iter().enumerate() {
        let response = likelihoods.read(&pair.response).map_err(adapter::error)?;
        let row = likelihoods.instructions_given(&response, &instructions).map_err(adapter::error)?;
        // The next pair's instruction: always the same pairing.
        let other = Some((at + 1) % pairs.len()).filter(|other| *other != at);
        let other_reference = next_reference(&has_reference, at).map(|place| pairs.len() + place);
        let texts = [Some(at), reference(at), other, other_reference.filter(|_| reference(at).is_some())];
        let own: Vec<&str> = texts.iter().flatten().map(|&text| instructions[text]).collect();
        let cycles = likelihoods.cycles(&response, &own).map_err(adapter::error)?;
        let mut cycles = cycles.into_iter().map(Gain::per_token);
        let grade = |text: usize| likelihoods.grade(instructions[text], &response).map_err(adapter::error);
        let pmi = |text: usize| Gain { nats: row[text] - alone[text].nats, tokens: alone[text].tokens }.per_token();
        measured.push(PairLikelihood {
            // In the order of the texts.
            cycle: per_text(texts, |_| Ok(cycles.next().unwrap_or_default()))?,
            pmi: per_text(texts, |text| Ok(pmi(text)))?,
            rank: PerText::default(),
            ranked: adapter::whole(pairs.len()),
            grade: per_text(texts, grade)?,
        });
        given.push(row);
        on_pair(at + 1);
    }
    for (at, likelihood) in measured.iter_mut().enumerate() {
        let rank = |text: usize| 1.0 + given.iter().filter(|row| row[text] > given[at][text]).count() as f64;
        likelihood.rank = PerText { generated: rank(at), reference: reference(at).map(rank), ..PerText::default() };
    }
    for (pair, likelihood) in pairs.iter_mut().zip(measured) {
        pair.likelihood = Some(Box::new(likelihood));
    }
    Ok(())
}

/// Place among the references of the next pair that has one.
fn next_reference(has_reference: &[usize], at: usize) -> Option<usize> {
    let after = has_reference.partition_point(|&other| other <= at);
    let place = if after < has_reference.len() { after } else { 0 };
    has_reference.get(place).filter(|&&other| other != at).map(|_| place)
}

/// Of generated, reference, shuffled and shuffled reference, asked for in this order.
fn per_text(texts: [Option<usize>; 4], mut value: impl FnMut(usize) -> Result<f64>) -> Result<PerText> {
    let [generated, reference, shuffled, reference_shuffled] = texts;
    let mut optional = |text: Option<usize>| text.map(&mut value).transpose();
    Ok(PerText {
        generated: optional(generated)?.unwrap_or_default(),
        reference: optional(reference)?,
        shuffled: optional(shuffled)?,
        reference_shuffled: optional(reference_shuffled)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_pair_with_a_reference_is_never_the_pair_itself() {
        assert_eq!(next_reference(&[0, 2, 5], 0), Some(1));
        assert_eq!(next_reference(&[0, 2, 5], 5), Some(0));
        assert_eq!(next_reference(&[0, 2, 5], 3), Some(2));
        assert_eq!((next_reference(&[4], 4), next_reference(&[], 4)), (None, None));
    }
}
