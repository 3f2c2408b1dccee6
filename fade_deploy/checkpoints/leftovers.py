"""What a training container holds beside the weights of its model: understood, left out, and told."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

from fade_deploy.checkpoints.safe_load import one_line

__all__ = ["container_notes", "without_leftovers", "without_prefixes"]

# Wrappers that put their attribute's name before every key: DataParallel, torch.compile, Lightning and many scripts.
_PREFIXES = ("module.", "_orig_mod.", "model.")

# pattern of the key -> (name in the note, why it is not needed)
_LEFTOVERS = (
    (r"decode_head\.conv_seg\..+", "decode_head.conv_seg.*", "unused by this head"),
    (r"(.+\.)?num_batches_tracked", "num_batches_tracked", "a training counter"),
    (r"auxiliary_head\..+", "auxiliary_head.*", "used in training only"),
    (r"backbone\.head\.(weight|bias)", "backbone.head.*", "the ImageNet classifier"),
    (r"(decode_head\.loss_\w+|criterion|loss\w*)\..+", "buffers of the loss", "used in training only"),
    (r"ema_[^.]+", "ema_*", "the second set of weights of mmcv's EMAHook"),
    (r"n_averaged|steps", "the counter of averaged steps", "a training counter"),
)

_RECORDS = (
    (r"optim\w*", "the optimizer state"),
    (r"(param_|lr_)?schedulers?", "the state of the learning-rate scheduler"),
    (r"message_hub", "the message hub: training logs"),
    (r"(loss_|grad_)?scaler|amp", "the state of the loss scaler"),
)


def without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights without the prefixes of wrappers; one is taken off only where every key has it."""
    counters = {key for key in weights if re.fullmatch(_LEFTOVERS[-1][0], key)}  # AveragedModel's: never prefixed
    while True:
        named = weights.keys() - counters
        prefix = next((p for p in _PREFIXES if named and all(key.startswith(p) for key in named)), "")
        if not prefix:
            return weights
        weights = {key if key in counters else key.removeprefix(prefix): value for key, value in weights.items()}


def without_leftovers(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights that a network computes with, and one sentence for each group that was left out."""
    kept, notes = weights, []
    for pattern, name, reason in _LEFTOVERS:
        left = [key for key in kept if re.fullmatch(pattern, key)]
        if left:
            tensors = "1 tensor" if len(left) == 1 else f"{len(left)} tensors"
            notes.append(f"left out {name} ({tensors}): {reason}")
            kept = {key: value for key, value in kept.items() if key not in set(left)}
    return kept, notes


def container_notes(keys: Iterable[str]) -> list[str]:
    """One sentence for each training record at the top of a container, and one for all that is left."""
    notes, others = [], []
    for key in keys:
        known = next((text for pattern, text in _RECORDS if re.fullmatch(pattern, key)), "")
        if known:
            notes.append(f"left out {known}")
        else:
            others.append(one_line(key, limit=40))
    if others:
        more = f" and {len(others) - 6} more" if len(others) > 6 else ""
        notes.append(f"left out {', '.join(others[:6])}{more}: not weights")
    return notes
