//! Where the wire's vocabulary and the engine's meet: the only file that knows both.
//!
//! Wire configurations become engine configurations or a refusal that names the field; engine events,
//! outputs and errors become wire ones, with a hint for the person. Runs nothing and writes nothing.

use engine::data::{Format, PairRule};
use engine::lora::{LoraConfig, Projection};
use engine::template::{EndMarker, TemplateText, Truncation};
use engine::train::{LossOn, Schedule};
use spec::AppError;

type Result<T> = std::result::Result<T, AppError>;

/// An engine error as a person gets it.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub fn error(error: engine::Error) -> AppError {
    AppError::new(error.code(), error.to_string(), error.hint())
}

pub fn invalid(field: &str, value: impl std::fmt::Display, limit: &str) -> AppError {
    AppError::invalid_setting(format!("{field} is {value}; it must be {limit}"), "Change this setting, then run again.")
}

pub fn format(format: spec::DataFormat) -> Option<Format> {
    match format {
        spec::DataFormat::Auto => None,
        spec::DataFormat::OasstMessages => Some(Format::OasstMessages),
        spec::DataFormat::OasstTrees => Some(Format::OasstTrees),
        spec::DataFormat::Lima => Some(Format::Lima),
        spec::DataFormat::Pairs => Some(Format::Pairs),
        spec::DataFormat::Alpaca => Some(Format::Alpaca),
    }
}

/// As [`spec::DataFormat`] spells it.
pub fn format_name(format: Format) -> &'static str {
    match format {
        Format::OasstMessages => "oasst_messages",
        Format::OasstTrees => "oasst_trees",
        Format::Lima => "lima",
        Format::Pairs => "pairs",
        Format::Alpaca => "alpaca",
    }
}

pub fn pair_rule(config: &spec::DataConfig) -> Result<PairRule> {
    if let Some(quality) = config.quality_above.filter(|quality| !quality.is_finite()) {
        return Err(invalid("quality_above", quality, "a number (labels lie in 0..=1)"));
    }
    if !(0.0..=0.9).contains(&config.validation_fraction) {
        return Err(invalid("validation_fraction", config.validation_fraction, "0 to 0.9"));
    }
    if config.limit == Some(0) {
        return Err(invalid("limit", 0, "at least 1, or left out for all pairs"));
    }
    let language = config.language.trim();
    Ok(PairRule {
        language: (!language.is_empty()).then(|| language.to_owned()),
        best_reply_only: config.best_reply_only,
        quality_above: config.quality_above,
        words_above: config.words_above as usize,
        first_turn_only: config.turns == spec::Turns::First,
        limit: config.limit.map(|limit| limit as usize),
    })
}

pub fn projection(projection: spec::Projection) -> Projection {
    match projection {
        spec::Projection::QProj => Projection::QProj,
        spec::Projection::KProj => Projection::KProj,
        spec::Projection::VProj => Projection::VProj,
        spec::Projection::OProj => Projection::OProj,
        spec::Projection::GateProj => Projection::GateProj,
        spec::Projection::UpProj => Projection::UpProj,
        spec::Projection::DownProj => Projection::DownProj,
    }
}

pub fn lora(rank: u32, alpha: f64, dropout: f64, targets: &[spec::Projection]) -> Result<LoraConfig> {
    if targets.is_empty() {
        return Err(invalid("targets", "empty", "at least one of the seven projections"));
    }
    if rank == 0 {
        return Err(invalid("rank", rank, "at least 1"));
    }
    let mut targets: Vec<Projection> = targets.iter().copied().map(projection).collect();
    targets.sort_unstable();
    targets.dedup();
    Ok(LoraConfig { rank: rank as usize, alpha, dropout, targets })
}

pub fn template(config: &spec::TemplateConfig) -> Result<TemplateText> {
    let end = match config.end.as_str() {
        "" => return Err(invalid("template.end", "empty", "`eos`, `none` or a literal text")),
        "eos" => EndMarker::Eos,
        "none" => EndMarker::None,
        text => EndMarker::Text(text.to_owned()),
    };
    Ok(TemplateText {
        prompt: config.prompt.clone(),
        target: config.target.clone(),
        end,
        generation_prompt: config.generation_prompt.clone(),
    })
}

/// Validated: what comes back is accepted by [`engine::train::train`].
pub fn train_config(config: &spec::TrainConfig) -> Result<engine::train::TrainConfig> {
    let config = engine::train::TrainConfig {
        lora: lora(config.rank, config.alpha, config.dropout, &config.targets)?,
        max_length: config.max_length as usize,
        truncation: match config.truncation {
            spec::Truncation::Response => Truncation::Response,
            spec::Truncation::Right => Truncation::Right,
        },
        loss_on: match config.loss_on {
            spec::LossOn::Target => LossOn::Target,
            spec::LossOn::All => LossOn::All,
        },
        epochs: config.epochs,
        max_steps: config.max_steps,
        batch_size: config.batch_size as usize,
        accumulation: config.accumulation as usize,
        learning_rate: config.learning_rate,
        schedule: match config.schedule {
            spec::Schedule::Constant => Schedule::Constant,
            spec::Schedule::Linear => Schedule::Linear,
            spec::Schedule::Cosine => Schedule::Cosine,
        },
        warmup_steps: config.warmup_steps,
        weight_decay: config.weight_decay,
        clip_norm: config.clip_norm,
        seed: config.seed,
        evaluate_every: config.evaluate_every,
        checkpoint_every: config.checkpoint_every,
        samples: config.samples as usize,
        recompute_layers: config.recompute_layers,
    };
    config.validate().map_err(error)?;
    Ok(config)
}

/// Validated: what comes back is accepted by [`engine::generate::generate`].
pub fn generate_config(config: &spec::GenerateConfig) -> Result<engine::generate::GenerateConfig> {
    if config.limit == Some(0) {
        return Err(invalid("limit", 0, "at least 1, or left out for all rows"));
    }
    let config = engine::generate::GenerateConfig {
        temperature: config.temperature,
        top_p: config.top_p,
        top_k: config.top_k as usize,
        repetition_penalty: config.repetition_penalty,
        max_new_tokens: config.max_new_tokens as usize,
        batch_size: config.batch_size as usize,
        seed: config.seed,
        weights: match config.weights {
            spec::WeightFormat::F32 => engine::generate::WeightFormat::F32,
            spec::WeightFormat::Int8 => engine::generate::WeightFormat::Int8,
        },
    };
    config.validate().map_err(error)?;
    Ok(config)
}

pub fn malformed(rows: Vec<engine::data::MalformedRow>) -> Vec<spec::MalformedRow> {
    rows.into_iter().map(|row| spec::MalformedRow { line: row.line, field: row.field, problem: row.problem }).collect()
}

pub fn counts(counts: &std::collections::BTreeMap<&'static str, u64>) -> Vec<spec::Count> {
    counts.iter().map(|(name, count)| spec::Count { name: (*name).to_owned(), count: *count }).collect()
}

pub fn model_output(id: &str, model: &engine::model::BaseModel) -> spec::ModelOutput {
    let config = &model.config;
    spec::ModelOutput {
        id: id.to_owned(),
        architecture: "llama".to_owned(),
        parameters: config.parameters(),
        hidden_size: whole(config.hidden_size),
        layers: whole(config.num_hidden_layers),
        heads: whole(config.num_attention_heads),
        kv_heads: whole(config.num_key_value_heads),
        ffn_size: whole(config.intermediate_size),
        vocabulary: whole(config.vocab_size),
        context: whole(config.max_position_embeddings),
        tied_head: config.tie_word_embeddings,
        stored_as: model.stored_as.clone(),
        size_bytes: model.size_bytes,
        sha256: model.sha256.clone(),
        tokenizer_sha256: model.tokenizer.sha256().to_owned(),
    }
}

pub fn train_event(event: engine::train::TrainEvent) -> spec::RunEvent {
    use engine::train::TrainEvent;
    match event {
        TrainEvent::Phase(text) => spec::RunEvent::Phase { text: text.to_owned() },
        TrainEvent::Integrity(integrity) => spec::RunEvent::Integrity { integrity: target_integrity(integrity) },
        TrainEvent::Resumed { step: 0 } => spec::RunEvent::Phase { text: "training".to_owned() },
        TrainEvent::Resumed { step } => spec::RunEvent::Phase { text: format!("training, going on after step {step}") },
        TrainEvent::Step(step) => spec::RunEvent::Step {
            step: spec::StepPoint {
                step: step.step,
                steps: step.steps,
                epoch: step.epoch,
                loss: step.loss,
                learning_rate: step.learning_rate,
                gradient_norm: step.gradient_norm,
                supervised_tokens: step.supervised_tokens,
                tokens_per_s: step.tokens_per_s,
                elapsed_s: step.elapsed_s,
                eta_s: step.eta_s,
            },
        },
        TrainEvent::Evaluation { step, loss, tokens } => spec::RunEvent::Evaluation { step, loss, tokens },
        TrainEvent::Checkpoint { step, name } => spec::RunEvent::Checkpoint { step, name },
        TrainEvent::Sample { step, index, response, reference, generated } => {
            spec::RunEvent::Sample { step, index: whole(index), response, reference, generated }
        }
    }
}

fn target_integrity(integrity: engine::train::Integrity) -> spec::TargetIntegrity {
    spec::TargetIntegrity {
        pairs: integrity.pairs,
        shortened: integrity.shortened,
        dropped: integrity.dropped,
        targets_cut: integrity.targets_cut,
        targets_lost: integrity.targets_lost,
        tokens: integrity.tokens,
        supervised_tokens: integrity.supervised_tokens,
        examples: integrity
            .examples
            .into_iter()
            .map(|tokens| tokens.into_iter().map(|(text, supervised)| spec::MaskedToken { text, supervised }).collect())
            .collect(),
    }
}

pub fn train_output(outcome: engine::train::TrainOutcome, template_sha256: &str) -> spec::TrainOutput {
    spec::TrainOutput {
        steps: outcome.steps,
        loss: outcome.loss,
        validation_loss_before: outcome.validation_loss_before,
        validation_loss: outcome.validation_loss,
        trainable: outcome.trainable,
        trainable_percent: outcome.trainable_percent,
        tokens: outcome.tokens,
        seconds: outcome.seconds,
        tokens_per_s: if outcome.seconds > 0.0 { outcome.tokens as f64 / outcome.seconds } else { 0.0 },
        peak_memory_bytes: outcome.peak_memory_bytes,
        adapter_sha256: outcome.adapter_sha256,
        template_sha256: template_sha256.to_owned(),
    }
}

pub fn pair_scores(scores: &engine::score::PairScores) -> spec::PairScores {
    spec::PairScores {
        words: whole(scores.words),
        rouge_l: scores.rouge_l,
        copied_run: whole(scores.copied_run),
        coverage: scores.coverage,
        density: scores.density,
        tags: scores.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
    }
}

pub fn score_summary(summary: &engine::score::Summary) -> spec::ScoreSummary {
    spec::ScoreSummary {
        pairs: summary.pairs as u64,
        with_reference: summary.with_reference as u64,
        generated: text_figures(&summary.generated),
        reference: summary.reference.as_ref().map(text_figures),
        rouge_l: summary.rouge_l,
        rouge_l_shuffled: summary.rouge_l_shuffled,
        tags: summary
            .tags
            .iter()
            .map(|(tag, count)| spec::Count { name: tag.as_str().to_owned(), count: *count as u64 })
            .collect(),
        without_tags: summary.without_tags as u64,
    }
}

fn text_figures(figures: &engine::score::TextFigures) -> spec::TextFigures {
    spec::TextFigures {
        median_words: figures.median_words,
        copied: figures.copied,
        coverage: figures.coverage,
        density: figures.density,
        distinct_1: figures.distinct_1,
        distinct_2: figures.distinct_2,
    }
}

/// The wire has no `usize`; sizes beyond 2^32 - 1 are refused long before they get here.
pub fn whole(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
