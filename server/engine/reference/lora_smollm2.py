"""Writes tests/golden/lora_smollm2.json: three PEFT steps on SmolLM2-135M-Instruct (its GGUF, read as f32)."""

import torch
from common import SMOLLM2, ids_of, load, splitmix64, tokenizer, write
from peft_training import adapt, factors, train

PAIRS = [
    ("What is bread made of?", "Flour, water, salt and time."),
    ("Name a river in Germany.", "The Elbe runs from the Giant Mountains to the North Sea, past Dresden and Hamburg."),
    ("How do I boil an egg?", "Lay it into boiling water for 7 minutes, then cool it."),
    ("Why do cats purr?", "Nobody is sure; they do it when they are at ease, and also when they hurt."),
]
RANK = 16


def uniform(count, start):
    """Multiples of 2^-24 in -0.5..0.5 from a counter: the same numbers in every language."""
    return torch.tensor([(splitmix64(start + i) >> 40) / 2**24 - 0.5 for i in range(count)], dtype=torch.float32)


tok = tokenizer(SMOLLM2)
end = tok.token_to_id("<|im_end|>")
sequences = []
for instruction, response in PAIRS:
    prompt = ids_of(tok, f"Response: {response}\n\nInstruction: ")
    sequences.append({"ids": prompt + ids_of(tok, instruction) + [end], "prompt_len": len(prompt)})

model = adapt(load(SMOLLM2), RANK, 32, ["q_proj", "v_proj"])
counter = 0
with torch.no_grad():
    # By name: Rust walks the tensors in the same order.
    for name, weight in sorted(factors(model).items()):
        scale = 2**-4 if "lora_A" in name else 2**-5
        weight.copy_(scale * uniform(weight.numel(), counter).reshape(weight.shape))
        counter += weight.numel()

losses, norms, _, supervised = train(
    model, sequences, batch_size=2, steps=3, learning_rate=1e-3, weight_decay=0.01, clip_norm=None
)
write(
    "lora_smollm2.json",
    {
        "made_by": "reference/lora_smollm2.py",
        "template": {"prompt": "Response: {response}\n\nInstruction: ", "target": "{instruction}", "end": "eos"},
        "batch_size": 2,
        "accumulation": 2,
        "rank": RANK,
        "alpha": 32.0,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "trainable": counter,
        "supervised_tokens": supervised,
        "pairs": [{"instruction": i, "response": r, **s} for (i, r), s in zip(PAIRS, sequences)],
        "losses": losses,
        "gradient_norms": norms,
    },
)
