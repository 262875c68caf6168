//! A Llama's tensors by llama.cpp's names and by HF's.

/// HF's name of a GGUF tensor; `None` for one that a plain Llama does not have.
pub fn huggingface_name(name: &str) -> Option<String> {
    let whole = match name {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => "",
    };
    if !whole.is_empty() {
        return Some(whole.to_owned());
    }
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let part = match part {
        "attn_norm.weight" => "input_layernorm",
        "attn_q.weight" => "self_attn.q_proj",
        "attn_k.weight" => "self_attn.k_proj",
        "attn_v.weight" => "self_attn.v_proj",
        "attn_output.weight" => "self_attn.o_proj",
        "ffn_norm.weight" => "post_attention_layernorm",
        "ffn_gate.weight" => "mlp.gate_proj",
        "ffn_up.weight" => "mlp.up_proj",
        "ffn_down.weight" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{part}.weight"))
}

/// Whether a GGUF of architecture `llama` has this tensor's rows in pairs (rows 2i and 2i+1 of a head are rotated
/// together) where HF has them in halves (rows i and i + head_dim/2).
pub fn is_interleaved(name: &str) -> bool {
    name.ends_with(".attn_q.weight") || name.ends_with(".attn_k.weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_and_strangers_are_not() {
        let check = |name: &str, expected: Option<&str>| assert_eq!(huggingface_name(name).as_deref(), expected);
        check("token_embd.weight", Some("model.embed_tokens.weight"));
        check("output.weight", Some("lm_head.weight"));
        check("blk.12.attn_output.weight", Some("model.layers.12.self_attn.o_proj.weight"));
        check("blk.0.ffn_norm.weight", Some("model.layers.0.post_attention_layernorm.weight"));
        check("blk.0.attn_q.bias", None);
        check("blk.-1.attn_q.weight", None);
        check("rope_freqs.weight", None);
    }
}
