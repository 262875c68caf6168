"""Writes tests/golden/greedy.json: greedy continuations, each token with its lead over the second best."""

import torch
from common import SMOLLM2, STORIES, TINY, ids_of, load, number, tokenizer, write


@torch.inference_mode()
def continuation(folder, prompts, new, bos=None):
    """Without a cache and one row at a time: the slowest way is the one with nothing to get wrong."""
    model, tok = load(folder), tokenizer(folder)
    found = []
    for prompt in prompts:
        ids = ([] if bos is None else [bos]) + ids_of(tok, prompt)
        written, leads, ended = [], [], False
        while len(written) < new and not ended:
            best = model(torch.tensor([ids + written])).logits[0, -1].double().topk(2)
            leads.append(number(best.values[0] - best.values[1]))
            token = int(best.indices[0])
            ended = token == model.config.eos_token_id
            if not ended:
                written.append(token)
        found.append(
            {
                "prompt": prompt,
                "prompt_ids": ids,
                "ids": written,
                "text": tok.decode(written),
                "ended": ended,
                "smallest_lead": min(leads),
            }
        )
    return found


CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
TINY_PROMPTS = [
    "R: Boil the water, add salt, then the pasta.\nI: ",
    "What",
    "The moon pulls at the sea, and the sea follows; twice a day the water comes up the beach.\nI: ",
    "x",
    "R: Yes.\nI: ",
]
content = {"made_by": "reference/greedy.py", "tiny-llama": continuation(TINY, TINY_PROMPTS, 24)}
if STORIES.exists():
    content["stories260k"] = continuation(STORIES, ["", "Tom had a red ball."], 32, bos=1)
if SMOLLM2.exists():
    content["smollm2"] = continuation(SMOLLM2, [CHAT, "Response: Boil the water, add salt, then the pasta.\n\nInstruction:"], 24)
write("greedy.json", content)
