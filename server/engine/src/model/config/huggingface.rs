//! HF's `config.json`, of transformers 4 and 5, with transformers' own defaults for what may be left out. Whatever
//! would make transformers compute something else than this engine does is refused by the field's name.

use std::path::Path;

use serde_json::{Map, Value};

use super::LlamaConfig;
use crate::{Error, Result, source};

/// Fields that change the computation, each with the one value that this engine computes.
const MUST_BE: [(&str, Value, &str); 6] = [
    ("attention_bias", Value::Bool(false), "projections have no bias"),
    ("mlp_bias", Value::Bool(false), "projections have no bias"),
    ("quantization_config", Value::Null, "weights may be F32, F16 or BF16, or a GGUF's blocks"),
    ("auto_map", Value::Null, "no code of a model's own is run"),
    ("sliding_window", Value::Null, "attention sees the whole context"),
    ("logit_scale", Value::Null, "logits are not scaled"),
];

impl LlamaConfig {
    /// From the text of a `config.json`; `path` is for messages.
    pub(crate) fn from_json(path: &Path, text: &[u8]) -> Result<Self> {
        let root: Value = source::parse_json(path, text)?;
        let Value::Object(fields) = root else {
            return Err(Error::malformed(path, "config", "is not a JSON object"));
        };
        let fields = Fields { path, fields: &fields };
        fields.refuse_other_models()?;
        let hidden_size = fields.size("hidden_size")?;
        let num_attention_heads = fields.size("num_attention_heads")?;
        let head_dim = match fields.optional_size("head_dim")? {
            Some(head_dim) => head_dim,
            None if num_attention_heads > 0 && hidden_size.is_multiple_of(num_attention_heads) => {
                hidden_size / num_attention_heads
            }
            None => {
                let problem = format!("is {hidden_size}, which {num_attention_heads} heads do not divide");
                return Err(Error::malformed(path, "hidden_size", problem));
            }
        };
        Self {
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: fields.size("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: fields.optional_size("num_key_value_heads")?.unwrap_or(num_attention_heads),
            head_dim,
            max_position_embeddings: fields.optional_size("max_position_embeddings")?.unwrap_or(2048),
            rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
            rope_theta: fields.rope_theta()?,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        }
        .checked(path)
    }
}

struct Fields<'a> {
    path: &'a Path,
    fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    fn refuse_other_models(&self) -> Result<()> {
        let architectures = self.get("architectures").map(Value::to_string).unwrap_or_default();
        match self.get("model_type") {
            Some(Value::String(kind)) if kind == "llama" => {}
            None if architectures.contains("LlamaForCausalLM") || architectures.contains("LlamaModel") => {}
            None => return Err(Error::malformed(self.path, "model_type", "is missing; a Llama's is \"llama\"")),
            Some(other) => {
                return Err(Error::unsupported(self.path, format!("model_type {other}"), "only \"llama\" is"));
            }
        }
        for (field, only, why) in MUST_BE {
            if let Some(value) = self.get(field)
                && *value != only
            {
                return Err(Error::unsupported(self.path, format!("{field} {}", shortened(value)), why));
            }
        }
        if let Some(activation) = self.get("hidden_act")
            && !matches!(activation.as_str(), Some("silu" | "swish"))
        {
            return Err(Error::unsupported(
                self.path,
                format!("hidden_act {}", shortened(activation)),
                "only \"silu\" is",
            ));
        }
        if let Some(parallel) = self.optional_size("pretraining_tp")?
            && parallel > 1
        {
            return Err(Error::unsupported(self.path, format!("pretraining_tp {parallel}"), "only 1 is"));
        }
        Ok(())
    }

    /// transformers 4 has `rope_theta` and `rope_scaling`, 5 has both in `rope_parameters`.
    fn rope_theta(&self) -> Result<f64> {
        let mut theta = self.number("rope_theta")?;
        for field in ["rope_scaling", "rope_parameters"] {
            let Some(value) = self.get(field) else { continue };
            let Value::Object(inner) = value else {
                return Err(Error::malformed(self.path, field, "is not a JSON object"));
            };
            let inner = Fields { path: self.path, fields: inner };
            for key in ["rope_type", "type"] {
                if let Some(kind) = inner.get(key)
                    && kind.as_str() != Some("default")
                {
                    let what = format!("{field} of {key} {}", shortened(kind));
                    return Err(Error::unsupported(self.path, what, "only plain rotary embedding (\"default\") is"));
                }
            }
            let known = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
            if let Some(other) = inner.fields.keys().find(|key| !known.contains(&key.as_str())) {
                let what = format!("{field} with {other}");
                return Err(Error::unsupported(self.path, what, "only plain rotary embedding (\"default\") is"));
            }
            inner.refuse_partial_rotation()?;
            theta = inner.number("rope_theta")?.or(theta);
        }
        self.refuse_partial_rotation()?;
        Ok(theta.unwrap_or(10_000.0))
    }

    fn refuse_partial_rotation(&self) -> Result<()> {
        match self.number("partial_rotary_factor")? {
            Some(factor) if factor != 1.0 => Err(Error::unsupported(
                self.path,
                format!("partial_rotary_factor {factor}"),
                "every head dimension is rotated",
            )),
            _ => Ok(()),
        }
    }

    fn size(&self, field: &str) -> Result<usize> {
        self.optional_size(field)?.ok_or_else(|| Error::malformed(self.path, field, "is missing"))
    }

    fn optional_size(&self, field: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| self.mistyped(field, value, "a whole number"))
    }

    fn number(&self, field: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.mistyped(field, value, "a number"))
    }

    fn flag(&self, field: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.mistyped(field, value, "true or false"))
    }

    fn mistyped(&self, field: &str, value: &Value, expected: &str) -> Error {
        Error::malformed(self.path, field, format!("is {}; it must be {expected}", shortened(value)))
    }
}

/// A value for a message, however long it is in the file.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tinyllama;
    use super::*;

    const TINYLLAMA: &str = r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "hidden_act": "silu",
        "hidden_size": 2048, "intermediate_size": 5632, "max_position_embeddings": 2048, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 22, "num_key_value_heads": 4, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0, "tie_word_embeddings": false,
        "vocab_size": 32000}"#;

    fn read(text: &str) -> Result<LlamaConfig> {
        LlamaConfig::from_json(Path::new("config.json"), text.as_bytes())
    }

    fn with(field: &str, value: &str) -> Result<LlamaConfig> {
        let mut fields: Map<String, Value> = serde_json::from_str(TINYLLAMA).unwrap();
        fields.insert(field.to_owned(), serde_json::from_str(value).unwrap());
        read(&Value::Object(fields).to_string())
    }

    #[test]
    fn tinyllama_is_read_with_head_dim_derived() {
        assert_eq!(read(TINYLLAMA).unwrap(), tinyllama());
    }

    #[test]
    fn rope_parameters_of_transformers_5_are_read() {
        let config = with("rope_parameters", r#"{"rope_theta": 500000.0, "rope_type": "default"}"#).unwrap();
        assert_eq!(config.rope_theta, 500_000.0);
        assert_eq!(with("num_key_value_heads", "null").unwrap().num_key_value_heads, 32);
        assert_eq!(with("head_dim", "128").unwrap().head_dim, 128);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (field, value, named) in [
            ("attention_bias", "true", "attention_bias true"),
            ("mlp_bias", "true", "mlp_bias true"),
            ("hidden_act", "\"gelu\"", "hidden_act \"gelu\""),
            ("model_type", "\"mistral\"", "model_type \"mistral\""),
            ("pretraining_tp", "2", "pretraining_tp 2"),
            ("rope_scaling", r#"{"type": "linear", "factor": 2.0}"#, "rope_scaling of type \"linear\""),
            ("rope_scaling", r#"{"factor": 2.0}"#, "rope_scaling with factor"),
            ("rope_parameters", r#"{"rope_type": "llama3", "rope_theta": 5e5}"#, "rope_type \"llama3\""),
            ("partial_rotary_factor", "0.5", "partial_rotary_factor 0.5"),
            ("quantization_config", r#"{"bits": 4}"#, "quantization_config"),
        ] {
            let error = with(field, value).expect_err(field);
            assert_eq!(error.code(), spec::ErrorCode::Unsupported, "{error}");
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn missing_and_mistyped_fields_are_named() {
        for (field, value) in [
            ("hidden_size", "null"),
            ("hidden_size", "\"2048\""),
            ("hidden_size", "-5"),
            ("hidden_size", "2047"),
            ("vocab_size", "32000.5"),
            ("vocab_size", "1e300"),
            ("num_attention_heads", "0"),
            ("rms_norm_eps", "\"small\""),
            ("tie_word_embeddings", "\"yes\""),
            ("rope_scaling", "[1]"),
        ] {
            let error = with(field, value).expect_err(field);
            assert_eq!(error.code(), spec::ErrorCode::MalformedFile, "{error}");
            assert!(error.to_string().contains(field) || field == "num_attention_heads", "{error}");
        }
        assert!(read("[]").is_err() && read("{").is_err() && read("").is_err());
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_configuration() {
        assert_eq!(read(&format!("\u{feff}{TINYLLAMA}")).unwrap(), tinyllama());
    }
}
