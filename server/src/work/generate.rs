//! The generate cell: a corpus and an adapter in; a scored instruction for every response out, pair by pair.
//!
//! The template and the prompt's length come from the train run, never from this cell, so the template lock holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use engine::Control;
use engine::data::{Corpus, CorpusRow};
use engine::generate::{GenerateEvent, GenerateRow, GeneratedRow};
use engine::lora::Adapter;
use engine::model::BaseModel;
use engine::score::ScoreInput;
use engine::template::Template;
use spec::{
    Candidate, CellKind, CellOutput, CorpusSummary, DroppedRow, GenerateConfig, GenerateOutput, GeneratedPair,
    NearDuplicates, PairScores, RunEvent, SourceFile, SourceSummary,
};

use super::duplicates::{self, NearDuplicateIndex};
use super::{Ended, Result, RunContext, Session, model, parts, phase, progress};
use crate::adapter;

mod evaluate;
mod rank;
mod tokens;

pub use evaluate::evaluate;
use tokens::TokenBatch;

pub const PAIRS: &str = "pairs.jsonl";

/// Of the shuffled floor: always the same pairing, so that figures of two runs can be compared.
const SHUFFLE_SEED: u64 = 1;

pub(super) fn execute(
    session: &mut Session,
    context: &RunContext,
    config: &GenerateConfig,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Ended> {
    let started = Instant::now();
    let source = session.resources.source(&config.file);
    with_job(session, context, config, emit, |job, corpus, emit| {
        let mut pairs: Vec<GeneratedPair> =
            context.done_pairs.iter().filter(|pair| (pair.index as usize) < corpus.rows.len()).cloned().collect();
        let tokens_before = tokens(&pairs);
        let decoding = run(job, &corpus.rows, &mut pairs, &mut |_| {}, &context.control, emit)?;
        evaluate(job, &corpus.rows, &mut pairs, &context.control, emit)?;

        phase(emit, "scoring");
        let near_duplicates = mark_near_duplicates(&mut pairs, emit);
        write_pairs(&context.folder.join(PAIRS), &pairs)?;
        Ok(Ended::Done(CellOutput::Generate(GenerateOutput {
            pairs: pairs.len() as u64,
            seconds: context.earlier_s + started.elapsed().as_secs_f64(),
            tokens: tokens(&pairs),
            tokens_per_s: (tokens(&pairs) - tokens_before) as f64 / decoding.as_secs_f64().max(1e-3),
            scores: Box::new(spec::ScoreSummary { near_duplicates: Some(near_duplicates), ..summary(&pairs) }),
            corpus: corpus_summary(corpus, source),
        })))
    })
}

/// Generates some pairs of a finished run anew, from the same files, weights, adapter, settings and seed; each of those is
/// refused where it is no longer what the run used.
pub fn replay(
    session: &mut Session,
    context: &RunContext,
    config: &GenerateConfig,
    indexes: &[u32],
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Vec<GeneratedPair>> {
    with_job(session, context, config, emit, |job, corpus, _| {
        let rows = prompts(job, &corpus.rows, |index| indexes.contains(&index))?;
        let mut written = Vec::with_capacity(rows.len());
        let (control, stop) = (&context.control, job.template.stop_ids());
        let mut each = |event| {
            if let GenerateEvent::Row(row) = event {
                written.push(row);
            }
        };
        engine::generate::generate(job.base, job.lora, &rows, stop, config, control, &mut each)
            .map_err(adapter::error)?;
        written.iter().map(|row| scored(row, &corpus.rows[row.index as usize], job, control)).collect()
    })
}

/// Reads corpus, model and adapter of a run, checks that they are what its inputs say, and does something with them.
fn with_job<T>(
    session: &mut Session,
    context: &RunContext,
    config: &GenerateConfig,
    emit: &mut dyn FnMut(RunEvent),
    act: impl FnOnce(&Job<'_>, Corpus, &mut dyn FnMut(RunEvent)) -> Result<T>,
) -> Result<T> {
    let (_, model_config, model_output) = parts!(&context.inputs, Model);
    let (train_input, train_config, train_output) = parts!(&context.inputs, Train);
    phase(emit, "reading the responses");
    let corpus = corpus(&session.resources.verified_file(&config.file)?, config.limit);
    let corpus = corpus.map_err(|error| session.resources.by_name(&config.file, error))?;
    let base = model::load(session, &context.control, &model_config.model, emit)?;
    model::check_unchanged(base, model_output)?;
    phase(emit, "reading the adapter");
    let folder = train_input.folder.join(super::train::ADAPTER);
    let lora = Adapter::load(&folder, base).map_err(adapter::error)?;
    if lora.sha256 != train_output.adapter_sha256 {
        let manifest = folder.join(engine::artifact::MANIFEST);
        return Err(super::changed(&manifest, &train_output.adapter_sha256, &lora.sha256, CellKind::Train));
    }
    let template = Template::new(train_config.template.clone(), &base.tokenizer).map_err(adapter::error)?;
    lora.check(base, &template).map_err(adapter::error)?;
    let job = Job { base, lora: Some(&lora), template: &template, max_length: train_config.max_seq_length, config };
    act(&job, corpus, emit)
}

/// Each pair that is marked is emitted again.
fn mark_near_duplicates(pairs: &mut [GeneratedPair], emit: &mut dyn FnMut(RunEvent)) -> NearDuplicates {
    let mut instructions = NearDuplicateIndex::new(duplicates::INSTRUCTIONS);
    let mut responses = NearDuplicateIndex::new(duplicates::RESPONSES);
    let mut found = NearDuplicates::default();
    for pair in pairs {
        let row = pair.source_row();
        let before = (pair.instruction_duplicate_of, pair.response_duplicate_of);
        pair.instruction_duplicate_of = instructions.find_and_add(row, &pair.generated);
        pair.response_duplicate_of = responses.find_and_add(row, &pair.response);
        found.instructions += u64::from(pair.instruction_duplicate_of.is_some());
        found.responses += u64::from(pair.response_duplicate_of.is_some());
        if before != (pair.instruction_duplicate_of, pair.response_duplicate_of) {
            emit(RunEvent::Pair { pair: pair.clone() });
        }
    }
    found
}

fn tokens(pairs: &[GeneratedPair]) -> u64 {
    pairs.iter().map(|pair| u64::from(pair.tokens)).sum()
}

/// Reads the responses that are to get an instruction; refused if there is none.
pub fn corpus(file: &Path, limit: Option<u32>) -> Result<Corpus> {
    let corpus = engine::data::read_corpus(file, limit.map(|limit| limit as usize)).map_err(adapter::error)?;
    if corpus.rows.is_empty() {
        let rows = super::malformed_rows(corpus.malformed_count, &corpus.malformed);
        return Err(adapter::error(engine::Error::Empty(format!("the corpus holds no response{rows}"))));
    }
    Ok(corpus)
}

/// Every row of the file, used or left out.
pub fn corpus_summary(corpus: Corpus, source: SourceFile) -> CorpusSummary {
    CorpusSummary {
        source,
        rows: corpus.rows_read,
        dropped: adapter::counts(&corpus.dropped),
        dropped_rows: corpus
            .dropped_rows
            .iter()
            .map(|dropped| DroppedRow { row: dropped.row, reason: dropped.reason.to_owned() })
            .collect(),
        malformed_count: corpus.malformed_count,
        malformed: corpus.malformed,
        sha256: corpus.sha256,
    }
}

/// What generates: everything but the rows.
pub struct Job<'a> {
    pub base: &'a BaseModel,
    pub lora: Option<&'a Adapter>,
    pub template: &'a Template,
    /// Max sequence length in training, in tokens.
    pub max_length: u32,
    pub config: &'a GenerateConfig,
}

/// Generates for every row that `pairs` does not hold yet; each pair is scored, pushed and emitted when it is finished.
/// `on_row` gets what the engine generated, with each pair. Returns how long decoding took.
pub fn run(
    job: &Job<'_>,
    corpus: &[CorpusRow],
    pairs: &mut Vec<GeneratedPair>,
    on_row: &mut dyn FnMut(&GeneratedRow),
    control: &Control,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Duration> {
    let config = job.config;
    rank::check(config)?;
    let done: BTreeSet<u32> = pairs.iter().map(|pair| pair.index).collect();
    phase(emit, "encoding the prompts");
    let rows = prompts(job, corpus, |index| !done.contains(&index))?;
    if rows.is_empty() {
        return Ok(Duration::ZERO);
    }
    phase(emit, "generating instructions");
    let started = Instant::now();
    let total = corpus.len() as u64;
    progress(emit)(pairs.len() as u64, total);
    let mut batch = TokenBatch::new();
    let mut failed = None;
    let ended =
        engine::generate::generate(job.base, job.lora, &rows, job.template.stop_ids(), config, control, &mut |event| {
            match event {
                GenerateEvent::Token { index, text } => batch.push(index, text, emit),
                GenerateEvent::Row(row) => {
                    batch.flush(emit);
                    let Some(source) = corpus.get(row.index as usize) else { return };
                    let pair = match scored(&row, source, job, control) {
                        Ok(pair) => pair,
                        Err(error) => {
                            control.stop(engine::Stop::Save);
                            failed.get_or_insert(error);
                            return;
                        }
                    };
                    on_row(&row);
                    pairs.push(pair.clone());
                    emit(RunEvent::Pair { pair });
                    emit(RunEvent::Progress { done: pairs.len() as u64, total });
                }
            }
        });
    batch.flush(emit);
    if let Some(error) = failed {
        return Err(error);
    }
    ended.map_err(adapter::error)?;
    Ok(started.elapsed())
}

/// Of the corpus rows whose position is wanted.
fn prompts(job: &Job<'_>, corpus: &[CorpusRow], wanted: impl Fn(u32) -> bool) -> Result<Vec<GenerateRow>> {
    let (base, new) = (job.base, job.config.max_new_tokens as usize);
    let longest = max_prompt(job.max_length as usize, new, base.config.max_position_embeddings)?;
    let mut rows = Vec::new();
    for (index, row) in corpus.iter().enumerate() {
        let index = adapter::whole(index);
        if wanted(index) {
            let prompt = job.template.encode_prompt(&base.tokenizer, &row.response, longest).map_err(adapter::error)?;
            rows.push(GenerateRow { index, prompt });
        }
    }
    Ok(rows)
}

/// Longest prompt in tokens: prompt and new tokens together stay within what training saw, but the prompt never
/// gets less than half of that; and both fit into the model's context.
pub fn max_prompt(max_length: usize, max_new_tokens: usize, context: usize) -> Result<usize> {
    let room = context.saturating_sub(max_new_tokens);
    let longest = max_length.saturating_sub(max_new_tokens).max(max_length / 2).min(room);
    if longest == 0 {
        return Err(adapter::invalid(
            "max_new_tokens",
            max_new_tokens,
            &format!("less than the model's context of {context} tokens"),
        ));
    }
    Ok(longest)
}

/// The pair that a row of the model's output is.
pub fn scored(row: &GeneratedRow, source: &CorpusRow, job: &Job<'_>, control: &Control) -> Result<GeneratedPair> {
    // What `extract` takes away is the target's own text and its end marker, never a leak of the prompt.
    let extract = |text: &str| job.template.extract(text).to_owned();
    let first = (&row.ids, &row.text, row.ended());
    let others = row.others.iter().map(|other| (&other.ids, &other.text, other.stopped_by.is_some()));
    let mut candidates: Vec<Candidate> = std::iter::once(first)
        .chain(others)
        .map(|(ids, text, ended)| {
            let tokens = adapter::whole(ids.len());
            Candidate { text: extract(text), tokens, ended, ..Candidate::default() }
        })
        .collect();
    if candidates.len() > 1 {
        rank::rank(&mut candidates, source, job, control)?;
    }
    let best = candidates[0].clone();
    Ok(GeneratedPair {
        index: row.index,
        row: Some(source.row),
        source_id: source.source_id.clone(),
        url: source.url.clone(),
        source: source.source.clone(),
        response: source.response.clone(),
        reference: source.reference.clone(),
        scores: engine::score::score_pair(&ScoreInput {
            response: &source.response,
            generated: &best.text,
            reference: source.reference.as_deref(),
            ended: Some(best.ended),
        }),
        generated: best.text,
        tokens: best.tokens,
        ended: best.ended,
        response_tokens_cut: adapter::whole(row.response_tokens_cut),
        candidates: if candidates.len() > 1 { candidates } else { Vec::new() },
        ..GeneratedPair::default()
    })
}

/// Figures of all pairs together; tags are counted as the pairs carry them.
pub fn summary(pairs: &[GeneratedPair]) -> spec::ScoreSummary {
    let inputs: Vec<ScoreInput<'_>> = pairs.iter().map(input).collect();
    let scores: Vec<PairScores> = inputs
        .iter()
        .zip(pairs)
        .map(|(input, pair)| PairScores { tags: pair.scores.tags.clone(), ..engine::score::score_pair(input) })
        .collect();
    let measured: Vec<_> = pairs.iter().filter_map(|pair| pair.likelihood.as_deref().copied()).collect();
    let (generated, baselines): (Vec<_>, Vec<_>) = pairs
        .iter()
        .filter_map(|pair| {
            // Whether a baseline ended by itself is not kept.
            let own = ScoreInput { ended: None, ..input(pair) };
            Some((own, ScoreInput { generated: pair.baseline.as_deref()?, ..own }))
        })
        .unzip();
    spec::ScoreSummary {
        likelihood: engine::score::likelihood_summary(&measured).map(Box::new),
        baseline: engine::score::baseline_summary(&generated, &baselines).map(Box::new),
        sources: by_source(pairs),
        ..engine::score::summarise(&inputs, &scores, SHUFFLE_SEED)
    }
}

/// Sources that are told apart; rows of smaller ones are summed up together.
const MOST_SOURCES: usize = 20;

/// By the source that the rows name, the largest first; nothing where there are not two.
fn by_source(pairs: &[GeneratedPair]) -> Vec<SourceSummary> {
    let mut by_name: BTreeMap<&str, Vec<&GeneratedPair>> = BTreeMap::new();
    for pair in pairs {
        by_name.entry(pair.source.as_deref().unwrap_or_default()).or_default().push(pair);
    }
    if by_name.len() < 2 {
        return Vec::new();
    }
    let mut sources: Vec<(String, Vec<&GeneratedPair>)> =
        by_name.into_iter().map(|(name, pairs)| (name.to_owned(), pairs)).collect();
    sources.sort_by_key(|(_, pairs)| std::cmp::Reverse(pairs.len()));
    if sources.len() > MOST_SOURCES {
        let rest = sources.split_off(MOST_SOURCES - 1);
        sources.push((format!("{} others", rest.len()), rest.into_iter().flat_map(|(_, pairs)| pairs).collect()));
    }
    sources
        .into_iter()
        .map(|(name, pairs)| {
            let mean = |value: fn(&GeneratedPair) -> Option<f64>| {
                engine::score::mean_of(&pairs.iter().filter_map(|pair| value(pair)).collect::<Vec<_>>())
            };
            let untagged: Vec<bool> = pairs.iter().map(|pair| pair.scores.tags.is_empty()).collect();
            SourceSummary {
                name,
                pairs: pairs.len() as u64,
                without_tags: engine::score::share_of(&untagged).unwrap_or_default(),
                rouge_l: mean(|pair| pair.scores.rouge_l),
                pmi: mean(|pair| pair.likelihood.as_ref().map(|of| of.pmi.generated)),
                cycle: mean(|pair| pair.likelihood.as_ref().map(|of| of.cycle.generated)),
            }
        })
        .collect()
}

fn input(pair: &GeneratedPair) -> ScoreInput<'_> {
    ScoreInput {
        response: &pair.response,
        generated: &pair.generated,
        reference: pair.reference.as_deref(),
        ended: Some(pair.ended),
    }
}

/// One pair per line, durably.
pub fn write_pairs(path: &Path, pairs: &[GeneratedPair]) -> Result<()> {
    let mut text = Vec::new();
    for pair in pairs {
        let line = engine::data::json_line(pair);
        text.extend(line.map_err(|error| spec::AppError::internal(format!("a pair cannot be written: {error}"), ""))?);
    }
    engine::artifact::write(path, &text).map_err(adapter::error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_up_by_source_and_small_sources_together() {
        let pair = |source: &str| GeneratedPair {
            source: (!source.is_empty()).then(|| source.to_owned()),
            scores: PairScores { rouge_l: Some(0.5), ..PairScores::default() },
            ..GeneratedPair::default()
        };
        assert!(by_source(&[pair("a"), pair("a")]).is_empty(), "one source alone is not summed up");
        let two = by_source(&[pair("a"), pair(""), pair("b"), pair("b")]);
        let names: Vec<(&str, u64)> = two.iter().map(|source| (source.name.as_str(), source.pairs)).collect();
        assert_eq!(names, [("b", 2), ("", 1), ("a", 1)]);
        assert_eq!((two[0].rouge_l.unwrap().mean, two[0].pmi), (0.5, None));
        let many: Vec<GeneratedPair> = (0..30).map(|number| pair(&format!("s{number:02}"))).collect();
        let found = by_source(&many);
        assert_eq!((found.len(), found[19].name.as_str(), found[19].pairs), (20, "11 others", 11));
    }

    #[test]
    fn prompt_and_new_tokens_stay_within_what_training_saw() {
        assert_eq!(max_prompt(512, 64, 8192).ok(), Some(448));
    }

    #[test]
    fn the_prompt_keeps_half_of_the_trained_length() {
        assert_eq!(max_prompt(512, 500, 8192).ok(), Some(256));
        assert_eq!(max_prompt(512, 2000, 8192).ok(), Some(256));
    }

    #[test]
    fn the_context_bounds_both() {
        assert_eq!(max_prompt(4096, 512, 2048).ok(), Some(1536));
        assert!(max_prompt(512, 2048, 2048).is_err());
    }
}
