//! What turns the engine's types into those that are stored and sent, with a hint for the person. Runs nothing and writes nothing.

use std::path::Path;

use engine::data::{Format, PairRule};
use spec::AppError;

/// An engine error as a person gets it.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub fn error(error: engine::Error) -> AppError {
    AppError::new(error.code(), error.to_string(), error.hint())
}

pub use spec::invalid;

pub fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> AppError {
    let convert = engine::Error::io(path);
    move |source| error(convert(source))
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

pub fn pair_rule(config: &spec::DataConfig) -> PairRule {
    let language = config.language.trim();
    PairRule {
        language: (!language.is_empty()).then(|| language.to_owned()),
        best_reply_only: config.best_reply_only,
        quality_above: config.quality_above,
        words_above: config.words_above as usize,
        first_turn_only: config.turns == spec::Turns::First,
        limit: config.limit.map(|limit| limit as usize),
    }
}

pub fn counts(counts: &std::collections::BTreeMap<&'static str, u64>) -> Vec<spec::Count> {
    counts.iter().map(|(name, count)| spec::Count { name: (*name).to_owned(), count: *count }).collect()
}

pub fn model_output(id: &str, model: &engine::model::BaseModel) -> spec::ModelOutput {
    let config = &model.config;
    spec::ModelOutput {
        id: id.to_owned(),
        name: String::new(),
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

/// The wire has no `usize`; sizes beyond 2^32 - 1 are refused long before they get here.
pub fn whole(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
