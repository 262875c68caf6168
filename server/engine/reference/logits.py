"""Writes tests/golden/logits.json: logits and mean negative log-likelihoods as transformers computes them in f32."""

import torch
from common import SMOLLM2, STORIES, TINY, TINY_GGUF, ids_of, load, number, numbers, tokenizer, write

PARAGRAPH = (
    "Bread wants four things: flour, water, salt and time. Mix the first three until no dry patch is left, cover the "
    "bowl and wait. After half an hour fold the dough over itself from four sides; do that three times more, an hour "
    "apart. It will hold its shape by then. Bake it in a very hot pot with the lid on for 25 minutes, then without the "
    "lid until the crust is as dark as you like it. Let it cool before you cut it, however hard that is."
)
PROMPTS = [
    "Hello",
    "Why is the sky blue?",
    "In 2024, 3.14159 was still not 22/7; 1,000,000 > 999.",
    "def add(a, b):\n    return a + b\n\n\nprint(add(1, 2))\t# 3",
    "Naïve café, Žižkov, 東京, привет, 🦀!",
    "Response: Boil the water, add salt, then the pasta.\n\nInstruction:",
    PARAGRAPH,
]
CHAT = "<|im_start|>user\nName three rivers in Europe.<|im_end|>\n<|im_start|>assistant\n"


def position(logits, indices):
    return {
        "argmax": int(logits.argmax()),
        "mean": number(logits.mean()),
        "std": number(logits.std(unbiased=False)),
        "logsumexp": number(torch.logsumexp(logits, 0)),
        "at": numbers(logits[indices]),
    }


@torch.inference_mode()
def cases(folder, texts, bos=None, tied=False):
    model, tok = load(folder), tokenizer(folder)
    if tied:
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    vocab = model.config.vocab_size
    indices = [i * vocab // 64 for i in range(64)]
    found = []
    for text in texts:
        ids = ([] if bos is None else [bos]) + ids_of(tok, text)
        # f64 for the statistics, so that they add no error of their own.
        logits = model(torch.tensor([ids])).logits[0].double()
        case = {"text": text, "ids": ids, "last": [position(row, indices) for row in logits[-3:]]}
        if len(ids) > 1:
            case["nll"] = number(torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])))
        found.append(case)
    return {"indices": indices, "cases": found}


tiny = PROMPTS + ["x", CHAT, " ".join([PARAGRAPH] * 3)]
content = {
    "made_by": "reference/logits.py",
    "tiny-llama": cases(TINY, tiny),
    # The same weights with the embeddings as the head.
    "tiny-llama-tied": cases(TINY, tiny[:3], tied=True),
    "tiny-llama-gguf": cases(TINY_GGUF, [*tiny[:6], CHAT]),
}
if STORIES.exists():
    story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    content["stories260k"] = cases(STORIES, ["", story, *PROMPTS[:3], PROMPTS[4]], bos=1)
if SMOLLM2.exists():
    content["smollm2"] = cases(SMOLLM2, [*PROMPTS, CHAT])
write("logits.json", content)
