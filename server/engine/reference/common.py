"""Paths, models and number formats that the reference scripts share."""

import json
import math
from pathlib import Path

import gguf
import numpy
import peft
import tokenizers
import torch
import transformers

ENGINE = Path(__file__).resolve().parent.parent
WORKSPACE = ENGINE.parent.parent
FIXTURES = ENGINE / "tests" / "fixtures"
GOLDEN = ENGINE / "tests" / "golden"
TINY = FIXTURES / "tiny-llama"
TINY_GGUF = FIXTURES / "tiny-llama.gguf"
STORIES = WORKSPACE.parent / "shared" / "data" / "models" / "stories260k"
SMOLLM2 = WORKSPACE / "data" / "models" / "smollm2-135m-instruct"


def gguf_of(path):
    """A GGUF file itself, or the one in a folder; None for an HF folder."""
    found = [path] if path.is_file() else sorted(path.glob("*.gguf"))
    return found[0] if found else None


def load(path):
    """A model in f32, ready to compute, from an HF folder, a GGUF file or a folder with one."""
    file = gguf_of(path)
    folder, where = (file.parent, {"gguf_file": file.name}) if file else (path, {})
    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **where)
    return model.eval()


def tokenizer(path):
    """The `tokenizers` object, so that BOS is added where a script says so and nowhere else."""
    file = gguf_of(path)
    return tokenizer_of_gguf(file) if file else tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))


def tokenizer_of_gguf(path):
    """SmolLM2's: digits one by one, then byte-level BPE, as its own tokenizer.json has it."""
    fields = gguf.GGUFReader(path).fields
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    built = tokenizers.Tokenizer(tokenizers.models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    built.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    built.decoder = tokenizers.decoders.ByteLevel()
    control = 3
    built.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, kinds) if kind == control]
    )
    return built


def ids_of(tok, text):
    return tok.encode(text, add_special_tokens=False).ids


def number(value):
    """Eight significant digits: what f32 holds."""
    value = float(value)
    assert math.isfinite(value), value
    return float(f"{value:.8g}")


def numbers(values):
    return [number(value) for value in values]


def splitmix64(n):
    """Vigna's generator as a hash of `n`, so that Rust can make the same numbers."""
    mask = (1 << 64) - 1
    z = (n * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def write(name, content):
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "tokenizers": tokenizers.__version__,
        "numpy": numpy.__version__,
    }
    GOLDEN.mkdir(exist_ok=True)
    text = json.dumps({"versions": versions, **content}, ensure_ascii=False, indent=1)
    # Arrays of plain numbers on one line: a person can still read the file.
    (GOLDEN / name).write_text(one_line_arrays(text) + "\n", encoding="utf-8")
    print(f"wrote {GOLDEN / name}")


def one_line_arrays(text):
    import re

    return re.sub(r"\[\s*([-+0-9.e,\s]+?)\s*\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)
