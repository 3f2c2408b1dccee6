"""The horses of Weizmann as a task, with the network and the schedule of FADE's paper.

The data set is the user's own copy: FOLDER/images/NAME.* and FOLDER/masks/NAME.*, a mask a picture, the horse brighter
than the rest of its mask.

Source: the paper's toy experiment. 328 pictures at 224x224, a random split of 85 % to 15 % (which one is not
published), SegNet, cross entropy, SGD with momentum 0.9, batch 4, learning rate 0.01, a tenth of it after 35 and after
45 epochs. That 50 epochs are the end, and that the pre-trained encoder is VGG16 with BatchNorm, is our reading.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tasks import labels_scores, normalised, painter
from torch import Tensor
from training import Pairs, Schedule, Task

from fade_deploy.errors import CheckpointError, InputError
from fade_deploy.models.segnet import SegNet, SegNetConfig

__all__ = ["load_vgg16", "task"]

_HELD_OUT_SHARE = 0.15
_SIDE = 224
_SCHEDULE = Schedule(
    epochs=50,
    batch=4,
    optimiser=lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    factor=lambda epoch: 0.1 ** ((epoch >= 35) + (epoch >= 45)),
)


def task(folder: Path, *, seed: int, quick: bool) -> Task:
    """Read the data set and split it at random.

    Raises:
        InputError: The folder is not laid out as expected; the message says what is missing.
    """
    names, side = _paired(folder), 64 if quick else _SIDE
    names = names[:8] if quick else names
    shuffled = np.random.default_rng(seed).permutation(len(names))
    kept = len(names) - max(1, round(_HELD_OUT_SHARE * len(names)))
    print(f"{folder}: {kept} pictures to train, {len(names) - kept} held out, split by seed {seed}")
    training, held_out = (_pairs([names[i] for i in part], side) for part in np.split(shuffled, [kept]))
    narrow = {"widths": (8, 8, 16, 16, 16), "compressed": 8} if quick else {}
    return Task(
        name="horses",
        training=training,
        held_out=held_out,
        model=SegNetConfig(outputs=2, **narrow),
        schedule=Schedule(epochs=1, batch=4, optimiser=_SCHEDULE.optimiser, factor=_SCHEDULE.factor)
        if quick
        else _SCHEDULE,
        loss=F.cross_entropy,
        scores=labels_scores,
        paint=painter(((40, 44, 52), (251, 188, 5))),
        tile=128,
    )


def load_vgg16(model: SegNet, path: Path) -> None:
    """Give the encoder the ImageNet weights of torchvision's ``vgg16_bn``, whose file is the user's own.

    Raises:
        CheckpointError: The file is not that network's state dict.
    """
    try:
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        # Both list convolution and BatchNorm in turn, so the order is the correspondence.
        given = [value for key, value in weights.items() if key.startswith("features.") and value.dim()]
        names = [key for key, value in model.encoder.state_dict().items() if value.dim()]
        model.encoder.load_state_dict(dict(zip(names, given, strict=True)), strict=False)
    except (OSError, RuntimeError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: can't be read as the weights of torchvision's vgg16_bn; give the file as torchvision publishes "
            "it, or leave --encoder out to train from random weights"
        ) from error


def _paired(folder: Path) -> list[tuple[Path, Path]]:
    """Pictures and their masks by name, sorted."""
    layout = f"expected {folder}/images/NAME.* and {folder}/masks/NAME.*"
    files = {}
    for part in ("images", "masks"):
        if not (folder / part).is_dir():
            raise InputError(f"{folder / part} is missing: {layout}, rename the folders of your copy")
        files[part] = {path.stem: path for path in sorted((folder / part).iterdir()) if path.is_file()}
    if unpaired := sorted(files["images"].keys() ^ files["masks"].keys()):
        raise InputError(f"{folder}: {len(unpaired)} files have no partner, '{unpaired[0]}' is the first: {layout}")
    if len(files["images"]) < 2:
        raise InputError(f"{folder}: has {len(files['images'])} pictures, needs 2 or more: {layout}")
    return [(path, files["masks"][name]) for name, path in files["images"].items()]


def _pairs(names: list[tuple[Path, Path]], side: int) -> Pairs:
    images, truths = [], []
    for image, mask in names:
        try:
            images.append(np.asarray(Image.open(image).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)))
            grey = np.asarray(Image.open(mask).convert("L").resize((side, side), Image.Resampling.NEAREST))
        except OSError as error:
            raise InputError(f"{image} or its mask is no picture ({error}): take it out of the folder") from error
        # Copies have 255, or 1, for the horse, and JPEG masks values around it.
        truths.append(grey > grey.max() / 2)
    return Pairs(images=normalised(np.stack(images)), truths=torch.from_numpy(np.stack(truths)).long())
