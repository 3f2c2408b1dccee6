"""Compare where an upsampler's kernels come from, the decoder, the encoder or both: the toy experiment of FADE's paper.

One SegNet, whose max-unpooling is replaced, is trained for two tasks with each source of kernels: to segment composed
shapes and to reconstruct small grey pictures. The result is the paper's table, beside the paper's numbers, and maps as
pictures. With --paper FOLDER the full-size SegNet is trained on the Weizmann horses with the paper's schedule instead.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import pictures
import table
import tasks
import torch
import weizmann
from training import predict, train

from fade_deploy.errors import FadeDeployError
from fade_deploy.models.segnet import SegNet

SOURCES = {  # heading -> name in ops/registry.py
    "decoder-only": "carafe",
    "encoder-only": "encoder_only",
    "encoder-decoder": "semishift",
    "FADE": "fade",
}
SHOWN = (0, 1, 2)  # held-out pictures on the sheets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps: shows that it runs, learns nothing")
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="FOLDER", help="for the pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for --paper")
    parser.add_argument(
        "--paper", type=Path, metavar="FOLDER", help="your copy of the Weizmann horses: images/, masks/"
    )
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="torchvision's vgg16_bn weights, for --paper")
    arguments = parser.parse_args()
    if arguments.encoder and (arguments.paper is None or arguments.quick):
        parser.error("--encoder goes with --paper, without --quick")
    try:
        compare(arguments)
    except FadeDeployError as error:
        sys.exit(f"compare.py: {error}")


def compare(arguments: argparse.Namespace) -> None:
    seed, quick = arguments.seed, arguments.quick
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, seed {seed}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    if arguments.paper:
        jobs = [weizmann.task(arguments.paper, seed=seed, quick=quick)]
    else:
        jobs = [tasks.segmentation(seed=seed, quick=quick), tasks.reconstruction(seed=seed, quick=quick)]
    scores: dict[str, dict[str, float]] = {source: {} for source in SOURCES}
    for task in jobs:
        print(f"{task.name}: {len(task.training.images)} pictures, {len(task.held_out.images)} held out")
        models, strips = {}, {}
        for source, upsampler in SOURCES.items():
            # The upsamplers are built last: one seed gives all networks the same encoder and decoder to start from.
            torch.manual_seed(seed)
            model = SegNet(replace(task.model, upsampler=upsampler)).to(arguments.device)
            if arguments.encoder:
                weizmann.load_vgg16(model, arguments.encoder)
            print(f"  {source} ({upsampler}), {sum(p.numel() for p in model.parameters())} parameters", flush=True)
            strips[source] = pictures.Strip(task)
            train(model, task, seed=seed, watch=strips[source])
            models[source] = model
            outputs = predict(model, task.held_out.images, task.schedule.batch)
            scores[source] |= task.scores(outputs, task.held_out.truths)
        pictures.save_maps(arguments.output / f"{task.name}.png", task, models, SHOWN)
        if task.held_out.truths.ndim == 3:  # labels
            kept = {"CARAFE": strips["decoder-only"], "FADE": strips["FADE"]}
            pictures.save_strips(arguments.output / "iterations.png", task, kept)
    print()
    print("\n".join(table.table_lines(scores, beside_paper=not arguments.paper)))
    if not arguments.paper:
        print()
        print("\n".join(table.order_lines(scores)))
    print(f"\n{time.perf_counter() - start:.0f} s, of which the processors worked {time.process_time():.0f} s")
    if quick:
        print("This was --quick: the scores and the pictures say nothing.")


if __name__ == "__main__":
    main()
