"""Train a small A2U matting network with FADE, and its bilinear twin, on composed strands, holes and soft edges.

Everything is composed from photographs that scikit-image ships (see scenes.py), so there is nothing to download, and
one seed decides data, weights and schedule of both networks. They differ in the upsampler alone.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scenes
import torch
from torch import Tensor

from fade_deploy.models.a2u_matting import A2UMatting, A2UMattingConfig
from fade_deploy.recipe import load_recipe
from fade_deploy.verification.matting_scores import Convention, matting_scores

MODELS = {
    # About 0.25 million parameters, where the released network has 8 million.
    "fade": A2UMattingConfig(
        widths=(16, 16, 32, 48), blocks=(1, 1, 1), last_width=16, upsampler="fade", kernel_size=5, compressed=16
    ),
    "bilinear": A2UMattingConfig(widths=(16, 16, 32, 48), blocks=(1, 1, 1), last_width=16, upsampler="bilinear"),
}
RECIPE = load_recipe("a2u_matting")
HELD_OUT_SEED = 1_000_000  # far from any training seed; the held-out photographs are others, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long to train, on what sizes; TIP: more steps help both networks."""

    steps: int = 4000
    batch: int = 4
    crop: int = 96  # pixels, a multiple of 16
    rate: float = 6e-3  # highest learning rate
    pictures: int = 100  # held out
    side: int = 256  # of a held-out picture


QUICK = Schedule(steps=4, batch=2, crop=64, pictures=2, side=96)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upsampler", choices=(*MODELS, "both"), default="both")
    parser.add_argument("--quick", action="store_true", help="a few steps: shows that it runs, learns nothing")
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="FOLDER", help="for the checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    schedule = QUICK if arguments.quick else Schedule()
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, seed {arguments.seed}, {schedule}")

    scores = {}
    for upsampler in MODELS if arguments.upsampler == "both" else (arguments.upsampler,):
        start = time.perf_counter()
        model = train(upsampler, schedule, arguments.seed)
        seconds = time.perf_counter() - start
        scores[upsampler] = evaluate(model, schedule)
        path = arguments.output / f"matting_{upsampler}.pth"
        torch.save(checkpoint(model, scores[upsampler]), path)
        parameters = sum(p.numel() for p in model.parameters())
        print(f"{upsampler}: {parameters} parameters, {_told(scores[upsampler])}, {seconds:.0f} s -> {path}")
    if len(scores) == 2:
        print(f"fade - bilinear: {_told({k: scores['fade'][k] - scores['bilinear'][k] for k in scores['fade']}, '+')}")
    if arguments.quick:
        print("This was --quick: the scores say nothing and the checkpoints are of no use.")


def train(upsampler: str, schedule: Schedule, seed: int) -> A2UMatting:
    """Train one network; the same seed shows every network the same pictures in the same order."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    photos = scenes.photographs(scenes.TRAINING)
    model = A2UMatting(MODELS[upsampler]).train()
    model.dconv_pp.dropout.p = 0.0  # no picture is seen twice, so there is nothing to keep from over-fitting
    torch.nn.init.dirac_(model.pred[1].weight)  # else nine random signs decide whether alpha can be learned at first
    optimiser = torch.optim.Adam(model.parameters(), lr=schedule.rate)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, schedule.rate, schedule.steps, pct_start=0.15)
    start, losses = time.perf_counter(), []
    for step in range(1, schedule.steps + 1):
        pictures = [scenes.compose(rng, photos, schedule.crop, schedule.crop) for _ in range(schedule.batch)]
        predicted = model(torch.stack([network_input(scene) for scene in pictures]))[:, 0]
        truth = torch.from_numpy(np.stack([scene.alpha for scene in pictures])) / 255
        unknown = torch.from_numpy(np.stack([scene.trimap == scenes.UNKNOWN for scene in pictures]))
        loss = matting_loss(predicted, truth, unknown)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
        losses.append(loss.item())
        if step % 100 == 0 or step == schedule.steps:
            mean = sum(losses[-100:]) / len(losses[-100:])
            print(f"{upsampler}: step {step}, loss {mean:.4f}, {time.perf_counter() - start:.0f} s", flush=True)
    return model.eval()


def matting_loss(predicted: Tensor, truth: Tensor, unknown: Tensor) -> Tensor:
    """Mean absolute error where the trimap doesn't know, of alpha and, by half, of its steps to the next pixel.

    The second term asks for strands as crisp as they are, and for nothing where alpha is even. All are [N, H, W].
    """
    error = torch.where(unknown, predicted - truth, 0.0)
    steps = error.diff(dim=1).abs().sum() + error.diff(dim=2).abs().sum()
    return (error.abs().sum() + 0.5 * steps) / unknown.sum().clamp(min=1)


@torch.inference_mode()
def evaluate(model: A2UMatting, schedule: Schedule) -> dict[str, float]:
    """Mean scores, less is better, on pictures of other photographs and another seed than training's."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    photos = scenes.photographs(scenes.HELD_OUT)
    rows = []
    for _ in range(schedule.pictures):
        scene = scenes.compose(rng, photos, schedule.side, schedule.side)
        alpha = predicted_alpha(model, scene)
        one = matting_scores(alpha, scene.alpha, scene.trimap, convention=Convention.MATLAB)
        rows.append((one.sad, one.mse, one.grad, one.conn))
    return dict(zip(("SAD", "MSE", "Grad", "Conn"), np.mean(rows, 0).tolist(), strict=True))


def predicted_alpha(model: A2UMatting, scene: scenes.Scene) -> np.ndarray:
    """What `fade-predict` writes: the network's alpha where the trimap doesn't know, else the trimap; uint8 [H, W]."""
    alpha = 255 * model(network_input(scene)[None])[0, 0].clamp(0, 1).numpy()
    return np.where(scene.trimap == scenes.UNKNOWN, alpha, scene.trimap).astype(np.uint8)


def network_input(scene: scenes.Scene) -> Tensor:
    """RGB in the units of the recipe that exports this model, and trimap/255: float32 [4, H, W]."""
    image = (scene.image - np.array(RECIPE.mean)) / np.array(RECIPE.std)
    planes = np.concatenate([image, scene.trimap[:, :, None] / 255], 2)
    return torch.from_numpy(planes.astype(np.float32)).permute(2, 0, 1)


def checkpoint(model: A2UMatting, scores: dict[str, float]) -> dict[str, object]:
    """Weights and what they can't tell, in plain types that ``torch.load(weights_only=True)`` reads."""
    return {"meta": {"fade_deploy": {"recipe": "a2u_matting"}, "scores": scores}, "state_dict": model.state_dict()}


def _told(scores: dict[str, float], sign: str = "") -> str:
    return ", ".join(f"{name} {score:{sign}.4f}" for name, score in scores.items())


if __name__ == "__main__":
    main()
