"""Maps of what a SegNet with learned upsamplers does, as grey pictures scaled to 0..255 each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from training import Task, predict

from fade_deploy.models.segnet import SegNet

__all__ = ["Strip", "gate_maps", "gradient_map", "save_maps", "save_strips", "scaled"]

_HEADING = 26  # pixels above the tiles, two lines
_GAP = 2
_FOLLOWED = 20  # held-out pictures over the training
_SNAPSHOTS = 8


class Strip:
    """Keeps channel means of the last upsampler's output at steps that double, for a few held-out pictures.

    An instance is a ``watch`` for :func:`training.train`.
    """

    def __init__(self, task: Task) -> None:
        self._images = task.held_out.images[:_FOLLOWED]
        steps = task.schedule.epochs * -(-len(task.training.images) // task.schedule.batch)
        self._steps = {max(1, steps // 2**halvings) for halvings in range(_SNAPSHOTS)}
        self.maps: dict[int, np.ndarray] = {}  # steps done -> [M, H, W]

    def __call__(self, done: int, model: SegNet) -> None:
        if done in self._steps:
            with torch.no_grad():
                means = [_last_upsampled(model, image[None])[0].mean(1) for image in self._images]
            self.maps[done] = torch.cat(means).cpu().numpy()


def gate_maps(model: SegNet, image: Tensor) -> list[np.ndarray]:
    """FADE's gates (1: the encoder feature, 0: the reassembled decoder feature) for one image, coarsest first."""
    logits: list[Tensor] = []
    hooks = [up.gate_generator.register_forward_hook(lambda _m, _i, out: logits.append(out)) for up in model.upsamplers]
    with torch.inference_mode():
        model.eval()(image[None].to(next(model.parameters()).device))
    for hook in hooks:
        hook.remove()
    return [torch.sigmoid(some)[0, 0].cpu().numpy() for some in logits]


def gradient_map(model: SegNet, task: Task, which: int) -> np.ndarray:
    """ReLU and channel sum of the loss's gradient by the last upsampler's output, for a held-out picture, [H, W]."""
    upsampled, outputs = _last_upsampled(model, task.held_out.images[which][None])
    loss = task.loss(outputs, task.held_out.truths[which][None].to(outputs.device))
    (gradient,) = torch.autograd.grad(loss, upsampled)
    return gradient[0].relu().sum(0).cpu().numpy()


def _last_upsampled(model: SegNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """The last upsampler's output and the network's, evaluated."""
    caught: list[Tensor] = []
    hook = model.upsamplers[-1].register_forward_hook(lambda _m, _i, out: caught.append(out))
    outputs = model.eval()(images.to(next(model.parameters()).device))
    hook.remove()
    return caught[0], outputs


def scaled(values: np.ndarray | Tensor) -> np.ndarray:
    """Any map [H, W] or image [channels, H, W] as uint8 whose smallest value is 0 and whose largest is 255."""
    values = np.asarray(values, np.float64)
    span = max(float(np.ptp(values)), 1e-12)
    grey = np.round(255 * (values - values.min()) / span).astype(np.uint8)
    return grey if grey.ndim == 2 else grey.transpose(1, 2, 0).squeeze()


def save_maps(path: Path, task: Task, models: Mapping[str, SegNet], shown: Sequence[int]) -> None:
    """For each shown picture: what each network makes of it, FADE's gates, and each network's gradient map."""
    shown = [which for which in shown if which < len(task.held_out.images)]
    gates = {which: gate_maps(models["FADE"], task.held_out.images[which]) for which in shown}
    ranges = [[f"{gate.min():.2f}..{gate.max():.2f}" for gate in gates[which]] for which in shown]
    print(f"  gates, coarsest first, from 0 (decoder) to 1 (encoder): {'; '.join(', '.join(r) for r in ranges)}")
    stages = len(gates[shown[0]])
    headings = ["picture", "truth", *models, *(f"gate\n1/{2 ** (stages - i)}" for i in range(stages))]
    headings += [f"gradient\n{source}" for source in models]
    rows = []
    for which in shown:
        image = task.held_out.images[which]
        outputs = [predict(model, image[None], 1)[0] for model in models.values()]
        gradients = [gradient_map(model, task, which) for model in models.values()]
        maps = [scaled(values) for values in (*gates[which], *gradients)]
        rows.append([scaled(image), *(task.paint(some) for some in (task.held_out.truths[which], *outputs)), *maps])
    _save_sheet(path, headings, rows, task.tile)


def save_strips(path: Path, task: Task, strips: Mapping[str, Strip]) -> None:
    """One followed picture's channel means over the training; prints how all followed ones go with edge and area."""
    rows = []
    for name, strip in strips.items():
        image, truth = task.held_out.images[0], task.held_out.truths[0]
        rows.append([scaled(image), task.paint(truth), *(scaled(maps[0]) for maps in strip.maps.values())])
        for done, maps in strip.maps.items():
            edge, area = np.mean([_correlations(*pair) for pair in zip(maps, task.held_out.truths, strict=False)], 0)
            print(f"  {name} after {done} steps: |correlation| with edges {edge:.2f}, with areas {area:.2f}")
    steps = [f"{done} steps" for done in next(iter(strips.values())).maps]
    _save_sheet(path, ["\nand ".join(strips), "truth", *steps], rows, task.tile)


def _correlations(values: np.ndarray, labels: Tensor) -> tuple[float, float]:
    """|Pearson's r| of a map with the edges of what is not background, and with its area."""
    area = (labels.numpy() > 0).astype(np.float64)
    edges = np.hypot(*np.gradient(area)) > 0
    return tuple(abs(float(np.corrcoef(values.ravel(), mask.ravel())[0, 1])) for mask in (edges, area))


def _save_sheet(path: Path, headings: Sequence[str], rows: Sequence[Sequence[np.ndarray]], tile: int) -> None:
    """Write rows of uint8 tiles [H, W] or [H, W, 3], each brought to ``tile`` pixels, with a heading a column."""
    step = tile + _GAP
    sheet = Image.new("RGB", (step * len(headings) - _GAP, _HEADING + step * len(rows) - _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(headings):
        draw.text((column * step, 1), heading, fill="black")
        for row, tiles in enumerate(rows):
            picture = Image.fromarray(tiles[column]).resize((tile, tile), Image.Resampling.NEAREST)
            sheet.paste(picture, (column * step, _HEADING + row * step))
    sheet.quantize(64).save(path, optimize=True)
    print(f"-> {path}")
