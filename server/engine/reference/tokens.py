"""Writes tests/golden/tokens.json: token ids of SmolLM2 for texts of many kinds.

The vocabulary and merges are those of the GGUF, the pre-tokenizer (digits one by one, then GPT-2's pattern) is that of
the published tokenizer.json, which the GGUF names `smollm`; transformers itself reads a GGUF without it.

    venv/bin/python tokens.py FOLDER_OF_THE_GGUF > ../tests/golden/tokens.json
"""

import json
import sys

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

TEXTS = [
    "",
    " ",
    "\n",
    "The quick brown fox doesn't jump; it'll rest.",
    "  Two spaces lead, three   lie between, one follows. ",
    "Tabs\tand\nlines\r\nof\n\n\nmany  \n kinds\t\t.",
    "In 2023, 12345.678 people paid $9,999 (that's 3/4 of 13,332), or ½ of ² and ③ and ٣٤.",
    "I'M SHOUTING, YOU'RE NOT, WE'VE ALL HEARD: they'd've left.",
    "Zażółć gęślą jaźń; Straße, naïve café, cafe\u0301, Ελληνικά, кириллица, עברית, العربية.",
    "你好，世界！日本語のテキスト、한국어 문장.",
    "Emoji: 🙂👍🏽 👨‍👩‍👧‍👦 🇫🇷 and a bell \u0007, a zero-width\u200bspace, a no-break\u00a0space, a BOM\ufeff.",
    "def f(x):\n    return {'a': [x ** 2 for x in range(10)], \"b\": None}  # comment\n",
    "https://example.org/a/b?c=d&e=%20#f user.name+tag@example.com C:\\path\\file.txt",
    "x" * 70 + " " * 70 + "-" * 70 + "=" * 33 + "\n" * 9,
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "a<|im_end|>b <|endoftext|> c<|im_end|",
    "\\frac{1}{2} + \\sum_{i=0}^{n} x_i \\leq \\infty \\quad \\text{for } n \\in \\mathbb{N}",
    "1. First\n2. Second\n   - nested *item* with `code`\n\n| a | b |\n|---|---|\n",
    "Ünïcödé ﬁ ligature, Ⅳ numeral, ①②③, １２３ full width, 𝔘𝔫𝔦 𝟙𝟚.",
]

folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)


def ids(text):
    return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


if len(sys.argv) > 2:  # texts of one's own, as JSON strings line by line
    for line in open(sys.argv[2]):
        text = json.loads(line)
        print(json.dumps({"text": text, "ids": ids(text)}))
else:
    rows = [json.dumps({"text": text, "ids": ids(text)}, ensure_ascii=True) for text in TEXTS]
    print('{"smollm2": [\n' + ",\n".join(rows) + "\n]}")
