"""Trains and scores one SegNet on one task; the same seed shows every network the same pictures in the same order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fade_deploy.models.segnet import SegNet, SegNetConfig

__all__ = ["Pairs", "Schedule", "Task", "predict", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Normalised images [M, inputs, H, W] and what the network shall make of them, [M, H, W] or [M, outputs, H, W]."""

    images: Tensor
    truths: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long to train and how fast."""

    epochs: int
    batch: int
    optimiser: Callable[[Iterable[nn.Parameter]], Optimizer]
    factor: Callable[[float], float]  # epochs done, with their fraction -> factor of the learning rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is learned and how it is scored."""

    name: str
    training: Pairs
    held_out: Pairs
    model: SegNetConfig  # its upsampler is replaced
    schedule: Schedule
    loss: Callable[[Tensor, Tensor], Tensor]  # (raw outputs, truths) -> scalar
    scores: Callable[[Tensor, Tensor], dict[str, float]]  # (raw outputs, truths) of all held-out pictures
    paint: Callable[[Tensor], np.ndarray]  # the raw outputs, or the truth, of one picture -> uint8 picture
    tile: int  # pixels of it on a sheet of pictures


def train(model: SegNet, task: Task, *, seed: int, watch: Callable[[int, SegNet], None] | None = None) -> None:
    """Train in place; ``watch`` is called with the number of steps done, after each."""
    schedule = task.schedule
    device = next(model.parameters()).device
    order = torch.Generator().manual_seed(seed)
    images, truths = task.training.images, task.training.truths
    steps = -(-len(images) // schedule.batch)
    optimiser = schedule.optimiser(model.parameters())
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: schedule.factor(step / steps))
    start, done = time.perf_counter(), 0
    for epoch in range(1, schedule.epochs + 1):
        total = 0.0
        for chosen in torch.randperm(len(images), generator=order).split(schedule.batch):
            model.train()
            # Each batch is mirrored or not: twice the pictures for nothing.
            across = [-1] if torch.rand((), generator=order) < 0.5 else []
            image, truth = (pairs[chosen].flip(across).to(device) for pairs in (images, truths))
            loss = task.loss(model(image), truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
            done += 1
            total += loss.item()
            if watch is not None:
                watch(done, model)
        seconds = time.perf_counter() - start
        print(f"    epoch {epoch} of {schedule.epochs}, loss {total / steps:.4f}, {seconds:.0f} s", flush=True)
    model.eval()


@torch.inference_mode()
def predict(model: SegNet, images: Tensor, batch: int) -> Tensor:
    """Raw outputs [M, outputs, H, W] of an evaluated network, on the CPU."""
    device = next(model.parameters()).device
    return torch.cat([model(some.to(device)).cpu() for some in images.split(batch)])
