"""Writes tests/fixtures/tiny-llama: a Llama of 39,200 random weights in the layout of a Hugging Face folder, and
tests/fixtures/tiny-llama.gguf: the same, stored in four layouts as a quantised file is.

The weights are scaled so that logits differ by several units: a wrong rope, norm or head mapping shows at once.
"""

import json

import gguf
import tokenizers
import torch
import transformers
from common import TINY, TINY_GGUF

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# No merge crosses a blank, so that words encode alike wherever a text is cut into segments.
MERGES = """
t h|th e|i n|in g|e r|a n|an d|r e|o n|o u|e n|a t|e s|s t|o r|a l|l e|i t|a r|l l|e l|e d|o w|c h|v e|i c|i s|a s|u r|o m|e a|s e
w h|wh at|W h|Wh at|H ow|W r|Wr it|Writ e|o f|t o|y ou|f or|k e|m e|n t|i on|t ion|l y|p l|a m|u n|c k|g h|i gh|e e|o o|s h|q u|b e|d e|p e
""".replace("\n", "|")
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tokenizer():
    merges = [tuple(merge.split(" ")) for merge in MERGES.split("|") if merge]
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces = SPECIAL + alphabet + [left + right for left, right in merges]
    assert len(pieces) == len(set(pieces)), "a merge stands there twice"
    tok = tokenizers.Tokenizer(tokenizers.models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    tok.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = tokenizers.decoders.ByteLevel()
    tok.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tok.save(str(TINY / "tokenizer.json"))
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": "<|im_start|>",
        "chat_template": CHAT,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 2048,
        "pad_token": "<|im_end|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<|endoftext|>",
    }
    (TINY / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return len(pieces)


def write_model(vocab_size):
    config = transformers.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    model = transformers.LlamaForCausalLM(config)
    random = torch.Generator().manual_seed(20241123)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=random)
            if "norm" in name:
                weight.copy_(1 + 0.2 * noise)
            elif "embed_tokens" in name:
                weight.copy_(noise)
            elif "q_proj" in name or "k_proj" in name:
                weight.copy_(1.5 * noise / weight.shape[1] ** 0.5)
            else:
                weight.copy_(noise / weight.shape[1] ** 0.5)
        model.lm_head.weight.mul_(2)
    model.generation_config = transformers.GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    model.save_pretrained(TINY)
    print(f"{sum(weight.numel() for weight in model.parameters())} parameters")
    return model


LAYOUTS = {
    "token_embd": "Q8_0",
    "output": "Q8_0",
    "attn_q": "Q4_1",
    "attn_k": "Q4_1",
    "attn_v": "Q4_1",
    "attn_output": "Q4_1",
    "ffn_gate": "F16",
    "ffn_up": "F16",
    "ffn_down": "Q8_0",
}
GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(model):
    config = model.config
    out = gguf.GGUFWriter(TINY_GGUF, "llama")
    out.add_name("tiny-llama")
    out.add_block_count(config.num_hidden_layers)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_rope_dimension_count(config.head_dim)
    out.add_rope_freq_base(10000.0)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_vocab_size(config.vocab_size)
    stored = json.loads((TINY / "tokenizer.json").read_text())["model"]
    out.add_tokenizer_model("gpt2")
    # Digits stand alone there too, since no merge joins them.
    out.add_tokenizer_pre("smollm")
    out.add_token_list(list(stored["vocab"]))
    out.add_token_types([3 if piece in SPECIAL else 1 for piece in stored["vocab"]])
    out.add_token_merges([" ".join(merge) for merge in stored["merges"]])
    out.add_bos_token_id(config.bos_token_id)
    out.add_eos_token_id(config.eos_token_id)
    out.add_add_bos_token(False)
    for name, weight in model.state_dict().items():
        prefix, _, rest = name.removesuffix(".weight").rpartition("layers.")
        layer, _, rest = rest.partition(".") if prefix else ("", "", rest)
        short = GGUF_NAMES[rest]
        values = weight.numpy()
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(short)
        if heads:
            # llama.cpp's rope turns neighbours, Hugging Face's turns halves: interleave the rows.
            values = values.reshape(heads, 2, config.head_dim // 2, -1).swapaxes(1, 2).reshape(values.shape)
        kind = gguf.GGMLQuantizationType[LAYOUTS.get(short, "F32")]
        out.add_tensor((f"blk.{layer}." if layer else "") + f"{short}.weight", gguf.quantize(values, kind), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


TINY.mkdir(parents=True, exist_ok=True)
write_gguf(write_model(write_tokenizer()))
# It must be a folder that others read too.
loaded = transformers.AutoTokenizer.from_pretrained(TINY)
ids = loaded("What is the thing?<|im_end|>")["input_ids"]
assert loaded.decode(ids) == "What is the thing?<|im_end|>" and ids[-1] == 2 and loaded.eos_token_id == 2, ids
transformers.AutoModelForCausalLM.from_pretrained(TINY)
