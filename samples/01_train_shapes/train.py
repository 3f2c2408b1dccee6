"""Train a small SegFormer with FADE, and its bilinear twin, to name and outline composed shapes.

Everything is composed from photographs that scikit-image ships (see scenes.py), so there is nothing to download, and
one seed decides data, weights and schedule of both networks. They differ in the upsampler alone.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scenes
import torch
import torch.nn.functional as F
from torch import Tensor

from fade_deploy.models.mix_transformer import MixTransformerConfig
from fade_deploy.models.segformer import SegFormer, SegFormerConfig
from fade_deploy.recipe import load_recipe
from fade_deploy.verification.segmentation_scores import SegmentationScores

BACKBONE = MixTransformerConfig(
    # About 0.4 million parameters. MiT's own reductions are for pictures of 512 pixels; ours are a third of that.
    widths=(24, 40, 64, 80),
    depths=(2, 2, 2, 2),
    heads=(1, 2, 4, 5),
    reductions=(4, 2, 1, 1),
    mlp_ratios=(4, 4, 4, 2),
)
MODEL = SegFormerConfig(
    backbone=BACKBONE, embed_width=32, classes=len(scenes.CLASSES), upsampler="fade", kernel_size=5, compressed=16
)
RECIPE = load_recipe("shapes")
HELD_OUT_SEED = 1_000_000  # far from any training seed; the held-out photographs are others, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long to train, on what sizes; TIP: more steps help both networks."""

    steps: int = 3500
    batch: int = 4
    crop: int = 128  # pixels, a multiple of 32
    rate: float = 4e-3  # highest learning rate
    warm_up: int = 100  # steps
    pictures: int = 100  # held out
    side: int = 256  # of a held-out picture


QUICK = Schedule(steps=4, batch=2, crop=64, warm_up=1, pictures=2, side=96)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upsampler", choices=("fade", "bilinear", "both"), default="both")
    parser.add_argument("--quick", action="store_true", help="a few steps: shows that it runs, learns nothing")
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="FOLDER", help="for the checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    schedule = QUICK if arguments.quick else Schedule()
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, seed {arguments.seed}, {schedule}")

    scores = {}
    for upsampler in ("fade", "bilinear") if arguments.upsampler == "both" else (arguments.upsampler,):
        start = time.perf_counter()
        model = train(upsampler, schedule, arguments.seed)
        seconds = time.perf_counter() - start
        scores[upsampler] = evaluate(model, schedule)
        path = arguments.output / f"shapes_{upsampler}.pth"
        torch.save(checkpoint(model, scores[upsampler]), path)
        parameters = sum(p.numel() for p in model.parameters())
        print(f"{upsampler}: {parameters} parameters, {_told(scores[upsampler])}, {seconds:.0f} s -> {path}")
    if len(scores) == 2:
        print(f"fade - bilinear: {_told({k: scores['fade'][k] - scores['bilinear'][k] for k in scores['fade']}, '+')}")
    if arguments.quick:
        print("This was --quick: the scores say nothing and the checkpoints are of no use.")


def train(upsampler: str, schedule: Schedule, seed: int) -> SegFormer:
    """Train one network; the same seed shows every network the same pictures in the same order."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    photos = scenes.photographs(scenes.TRAINING)
    model = SegFormer(replace(MODEL, upsampler=upsampler)).train()
    model.decode_head.dropout.p = 0.0  # no picture is seen twice, so there is nothing to keep from over-fitting
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.rate, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / schedule.warm_up, (1 - step / schedule.steps) ** 0.9)
    )
    counts = torch.ones(len(scenes.CLASSES))
    start, losses = time.perf_counter(), []
    for step in range(1, schedule.steps + 1):
        pairs = [scenes.compose(rng, photos, schedule.crop, schedule.crop) for _ in range(schedule.batch)]
        images = torch.stack([normalised(picture) for picture, _ in pairs])
        truth = torch.from_numpy(np.stack([labels for _, labels in pairs])).long()
        # Rare classes count more at first, so that thin shapes are found early, and as much as all others in the end.
        counts += truth.flatten().bincount(minlength=len(counts))
        weights = (counts / counts.sum()) ** (0.5 * (step / schedule.steps - 1))
        logits = enlarged(model(images), schedule.crop, schedule.crop)
        loss = F.cross_entropy(logits, truth, weights / weights.max())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
        losses.append(loss.item())
        if step % 100 == 0 or step == schedule.steps:
            mean = sum(losses[-100:]) / len(losses[-100:])
            print(f"{upsampler}: step {step}, loss {mean:.3f}, {time.perf_counter() - start:.0f} s", flush=True)
    return model.eval()


@torch.inference_mode()
def evaluate(model: SegFormer, schedule: Schedule) -> dict[str, float]:
    """mIoU and boundary IoU on pictures of other photographs and another seed than training's."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    photos = scenes.photographs(scenes.HELD_OUT)
    scores = SegmentationScores(len(scenes.CLASSES))
    for _ in range(schedule.pictures):
        picture, truth = scenes.compose(rng, photos, schedule.side, schedule.side)
        logits = enlarged(model(normalised(picture)[None]), *truth.shape)
        scores.add(logits[0].argmax(0).numpy(), truth)
    for name, iou, boundary in zip(scenes.CLASSES, scores.iou(), scores.boundary_ious(), strict=True):
        print(f"  {name:<10}  IoU {iou:.3f}  boundary IoU {boundary:.3f}")
    return {"mIoU": scores.mean_iou(), "bIoU": scores.boundary_iou()}


def normalised(picture: np.ndarray) -> Tensor:
    """RGB [H, W, 3] in 0..255 -> float32 [3, H, W] in the units of the recipe that exports this model."""
    scaled = (picture - np.array(RECIPE.mean)) / np.array(RECIPE.std)
    return torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)


def enlarged(logits: Tensor, height: int, width: int) -> Tensor:
    """Logits [N, classes, H/4, W/4] at the size of the image, as the exported file's label head brings them there."""
    return F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)


def checkpoint(model: SegFormer, scores: dict[str, float]) -> dict[str, object]:
    """Weights and what they can't tell, in plain types that ``torch.load(weights_only=True)`` reads."""
    backbone = model.config.backbone
    facts = {
        "recipe": "shapes",
        "heads": list(backbone.heads),
        "block_norm_eps": backbone.block_norm_eps,
        "embed_norm_eps": backbone.embed_norm_eps,
    }
    meta = {
        "fade_deploy": facts,
        "CLASSES": scenes.CLASSES,
        "PALETTE": [list(colour) for colour in scenes.PALETTE],
        "scores": scores,
    }
    return {"meta": meta, "state_dict": model.state_dict()}


def _told(scores: dict[str, float], sign: str = "") -> str:
    return f"mIoU {scores['mIoU']:{sign}.4f}, boundary IoU {scores['bIoU']:{sign}.4f}"


if __name__ == "__main__":
    main()
