"""Writes tests/golden/lora.json and lora/*.safetensors: 20 steps of PEFT on tiny-llama in several settings."""

import torch
import transformers
from common import GOLDEN, TINY, ids_of, load, number, tokenizer, write
from peft_training import ALL, adapt, factors, train
from safetensors.torch import save_file

EOS = 2
# instruction, response
PAIRS = [
    ("What is bread made of?", "Flour, water, salt and time."),
    ("Name a river.", "The Elbe runs from the Giant Mountains to the North Sea, past Dresden and Hamburg."),
    ("How do I boil an egg?", "Lay it into boiling water for seven minutes, then cool it."),
    ("Say yes.", "Yes."),
    ("Write a short poem on rain.", "The roof is a drum,\nthe street is a river,\nand I am at home."),
    ("Why do cats purr?", "Nobody is sure; they do it when they are at ease, and also when they hurt."),
    ("Which planet is the largest?", "Jupiter."),
    ("Explain what a hash is, for a child.", "It is a short name made from a long thing, always the same for the same thing."),
]


def encode(tok, instruction, response):
    prompt = ids_of(tok, f"R: {response}\nI: ")
    return {"ids": prompt + ids_of(tok, instruction) + [EOS], "prompt_len": len(prompt)}


def start(targets, rank=4, alpha=8):
    model = adapt(load(TINY), rank, alpha, targets)
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in sorted(factors(model).items()):
            weight.copy_(0.3 * torch.randn(weight.shape, generator=random) / (weight.shape[1] ** 0.5 if "lora_A" in name else 2))
    return model


def save(name, tensors):
    (GOLDEN / "lora").mkdir(parents=True, exist_ok=True)
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, GOLDEN / "lora" / f"{name}.safetensors")


@torch.inference_mode()
def written(model, sequence, new):
    """The adapted model's greedy continuation of a pair's prompt."""
    ids, leads, found = sequence["ids"][: sequence["prompt_len"]], [], []
    while len(found) < new:
        best = model(input_ids=torch.tensor([ids + found])).logits[0, -1].double().topk(2)
        leads.append(number(best.values[0] - best.values[1]))
        if int(best.indices[0]) == EOS:
            break
        found.append(int(best.indices[0]))
    return {"ids": found, "ended": len(found) < new, "smallest_lead": min(leads)}


def case(name, initial, targets, sequences, clip_norm=None, loss_on_all=False):
    setting = {"targets": targets, "rank": 4, "alpha": 8.0, "learning_rate": 1e-2, "weight_decay": 0.01, "clip_norm": clip_norm, "loss_on_all": loss_on_all}
    model = start(targets)
    save(f"{initial}.initial", factors(model))
    losses, norms, gradients, supervised = train(
        model, sequences, batch_size=4, steps=20, learning_rate=1e-2, weight_decay=0.01, clip_norm=clip_norm, loss_on_all=loss_on_all
    )
    save(f"{name}.final", factors(model))
    if name == "all_seven":
        save(f"{name}.gradients", gradients)
    return {
        "name": name,
        "initial": f"{initial}.initial.safetensors",
        "final": f"{name}.final.safetensors",
        **setting,
        "trainable": sum(weight.numel() for weight in factors(model).values()),
        "supervised_tokens": supervised,
        "losses": losses,
        "gradient_norms": norms,
        "greedy": [written(model.eval(), sequence, 16) for sequence in sequences],
    }


tok = tokenizer(TINY)
sequences = [encode(tok, *pair) for pair in PAIRS]
cases = [
    case("all_seven", "all_seven", ALL, sequences),
    case("all_seven_clipped", "all_seven", ALL, sequences, clip_norm=1.0),
    case("q_v", "q_v", ["q_proj", "v_proj"], sequences),
    case("q_v_all_tokens", "q_v", ["q_proj", "v_proj"], sequences, loss_on_all=True),
]


def rates(name, warmup):
    """What transformers' schedule gives before each of 20 steps, as a share of the learning rate."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = transformers.get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=20)
    found = []
    for _ in range(20):
        found.append(number(schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
    return found


write(
    "lora.json",
    {
        "made_by": "reference/lora.py",
        "template": {"prompt": "R: {response}\nI: ", "target": "{instruction}", "end": "eos"},
        "batch_size": 4,
        "accumulation": 2,
        "pairs": [{"instruction": i, "response": r, **s} for (i, r), s in zip(PAIRS, sequences)],
        "schedules": {
            "constant": rates("constant_with_warmup", 5),
            "linear": rates("linear", 5),
            "cosine": rates("cosine", 5),
        },
        "cases": cases,
    },
)
