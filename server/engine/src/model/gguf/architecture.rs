//! A [`LlamaConfig`] from GGUF metadata of architecture `llama`; what would change the computation is refused by key.

use super::{Header, Metadata};
use crate::model::LlamaConfig;
use crate::{Error, Result};

impl LlamaConfig {
    pub(crate) fn from_gguf(header: &Header) -> Result<Self> {
        let metadata = &header.metadata;
        match metadata.text("general.architecture")? {
            Some("llama") => {}
            Some(other) => {
                let what = format!("architecture {other:.40}");
                return Err(Error::unsupported(metadata.path(), what, "only \"llama\" is"));
            }
            None => return Err(metadata.problem("general.architecture", "is missing")),
        }
        refuse_what_is_not_computed(metadata)?;
        let hidden_size = required(metadata, "llama.embedding_length")?;
        let num_attention_heads = required(metadata, "llama.attention.head_count")?;
        let head_dim = head_dim(metadata, hidden_size, num_attention_heads)?;
        let embeddings = header.tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
        let Some(&[vocab_size, _]) = embeddings.map(|tensor| tensor.shape.as_slice()) else {
            return Err(Error::malformed(metadata.path(), "tensor token_embd.weight", "is missing or not a matrix"));
        };
        Self {
            vocab_size,
            hidden_size,
            intermediate_size: required(metadata, "llama.feed_forward_length")?,
            num_hidden_layers: required(metadata, "llama.block_count")?,
            num_attention_heads,
            num_key_value_heads: size(metadata, "llama.attention.head_count_kv")?.unwrap_or(num_attention_heads),
            head_dim,
            max_position_embeddings: required(metadata, "llama.context_length")?,
            rms_norm_eps: metadata
                .float("llama.attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| metadata.problem("llama.attention.layer_norm_rms_epsilon", "is missing"))?,
            rope_theta: metadata.float("llama.rope.freq_base")?.unwrap_or(10_000.0),
            tie_word_embeddings: !header.tensors.iter().any(|tensor| tensor.name == "output.weight"),
        }
        .checked(metadata.path())
    }
}

/// The head dimension, in whichever of three keys it is; rotation must cover all of it.
fn head_dim(metadata: &Metadata, hidden_size: usize, heads: usize) -> Result<usize> {
    let head_dim = match size(metadata, "llama.attention.key_length")? {
        Some(head_dim) => head_dim,
        None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            let problem = format!("is {hidden_size}, which {heads} heads do not divide");
            return Err(metadata.problem("llama.embedding_length", problem));
        }
    };
    for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
        if let Some(other) = size(metadata, key)?
            && other != head_dim
        {
            let supported = format!("only the head dimension, {head_dim}, is");
            return Err(Error::unsupported(metadata.path(), format!("{key} {other}"), supported));
        }
    }
    Ok(head_dim)
}

fn refuse_what_is_not_computed(metadata: &Metadata) -> Result<()> {
    let refuse = |what: String, supported: &str| Err(Error::unsupported(metadata.path(), what, supported));
    if let Some(kind) = metadata.text("llama.rope.scaling.type")?
        && kind != "none"
    {
        return refuse(format!("llama.rope.scaling.type {kind:.40}"), "only plain rotary embedding is");
    }
    for key in ["llama.rope.scale_linear", "llama.rope.scaling.factor", "llama.logit_scale"] {
        if let Some(factor) = metadata.float(key)?
            && factor != 1.0
            && factor != 0.0
        {
            return refuse(format!("{key} {factor}"), "only 1 is");
        }
    }
    for key in ["llama.expert_count", "llama.attention.sliding_window"] {
        if let Some(count) = metadata.unsigned(key)?
            && count > 0
        {
            return refuse(format!("{key} {count}"), "a plain Llama has none");
        }
    }
    if metadata.flag("llama.attention.causal")? == Some(false) {
        return refuse("llama.attention.causal false".to_owned(), "attention is causal");
    }
    if let Some(count) = metadata.unsigned("split.count")?
        && count > 1
    {
        return refuse(format!("split.count {count}"), "join the parts into one file first");
    }
    Ok(())
}

fn required(metadata: &Metadata, key: &str) -> Result<usize> {
    size(metadata, key)?.ok_or_else(|| metadata.problem(key, "is missing"))
}

fn size(metadata: &Metadata, key: &str) -> Result<Option<usize>> {
    let Some(size) = metadata.unsigned(key)? else { return Ok(None) };
    usize::try_from(size).map(Some).map_err(|_| metadata.problem(key, format!("is {size}, which is too much")))
}
