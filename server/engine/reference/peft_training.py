"""LoRA training with PEFT on given token ids, as plainly as it can be written. Shared by lora.py and lora_smollm2.py."""

import torch
from common import number
from peft import LoraConfig, get_peft_model

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def adapt(model, rank, alpha, targets):
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
    return get_peft_model(model, config).train()


def factors(model):
    """PEFT's file names for the trainable tensors (its modules say `lora_A.default.weight`)."""
    return {name.replace(".default", ""): weight for name, weight in model.named_parameters() if weight.requires_grad}


def micro_loss(model, sequences, loss_on_all):
    """Sum of cross-entropies over the supervised tokens of one right-padded micro-batch, and their number."""
    longest = max(len(sequence["ids"]) for sequence in sequences)
    ids = torch.full((len(sequences), longest), 2)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, sequence in enumerate(sequences):
        length = len(sequence["ids"])
        ids[row, :length] = torch.tensor(sequence["ids"])
        mask[row, :length] = 1
        first = 0 if loss_on_all else sequence["prompt_len"]
        labels[row, first:length] = ids[row, first:length]
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    labels = labels[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
    return loss, int((labels != -100).sum())


def train(model, sequences, batch_size, steps, learning_rate, weight_decay, clip_norm, loss_on_all=False):
    """Every step sees all sequences, in micro-batches; the loss is the mean over the step's supervised tokens."""
    weights = list(factors(model).values())
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay)
    batches = [sequences[i : i + batch_size] for i in range(0, len(sequences), batch_size)]
    losses, norms, first_gradients = [], [], None
    for _ in range(steps):
        supervised = sum(micro_loss_tokens(batch, loss_on_all) for batch in batches)
        total = 0.0
        for batch in batches:
            loss, _ = micro_loss(model, batch, loss_on_all)
            (loss / supervised).backward()
            total += loss.item() / supervised
        norm = torch.linalg.vector_norm(torch.stack([weight.grad.norm() for weight in weights]))
        losses.append(number(total))
        norms.append(number(norm))
        if first_gradients is None:
            first_gradients = {name: weight.grad.clone() for name, weight in factors(model).items()}
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(weights, clip_norm)
        optimizer.step()
        optimizer.zero_grad()
    return losses, norms, first_gradients, supervised


def micro_loss_tokens(sequences, loss_on_all):
    # The first token of a sequence is predicted by nothing.
    return sum(len(s["ids"]) - (1 if loss_on_all else s["prompt_len"]) for s in sequences)
