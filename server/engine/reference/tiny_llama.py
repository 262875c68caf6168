"""Writes tests/fixtures/tiny-llama: a Llama of 39,200 random weights in the layout of a Hugging Face folder.

The weights are scaled so that logits differ by several units: a wrong rope, norm or head mapping shows at once.
"""

import json

import tokenizers
import torch
import transformers
from common import TINY

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


TINY.mkdir(parents=True, exist_ok=True)
write_model(write_tokenizer())
# It must be a folder that others read too.
loaded = transformers.AutoTokenizer.from_pretrained(TINY)
ids = loaded("What is the thing?<|im_end|>")["input_ids"]
assert loaded.decode(ids) == "What is the thing?<|im_end|>" and ids[-1] == 2 and loaded.eos_token_id == 2, ids
transformers.AutoModelForCausalLM.from_pretrained(TINY)
