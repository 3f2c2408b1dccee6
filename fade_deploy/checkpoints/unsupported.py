"""Weights of no model that we build: what they are, in one honest sentence."""

from __future__ import annotations

import re
from collections.abc import Collection

from fade_deploy.checkpoints.safe_load import one_line
from fade_deploy.errors import CheckpointError

__all__ = ["MATTING_MARK", "refuse_unsupported"]

_NAMES = (
    "expected a SegFormer with the key names of NVlabs' and FADE's code (backbone.patch_embed1.*, decode_head.*), or "
    "A2U matting with those of FADE's (layer0.0.*, decoder_layer4.*)"
)

# pattern of any key -> (what the file is, the remedy); the first that fits. Each is a family with a known key scheme.
_FAMILIES = (
    (
        r"(bilinear\d|layer\d_1\.bilinear)\..+",
        "holds the original A2U matting with learned downsampling, which is not supported",
        "give a checkpoint of FADE's variant of it (max pooling, decoder_layer4.up.*)",
    ),
    (
        r"segformer\.(encoder|stages)\..+",
        "holds a SegFormer with the key names of transformers",
        "give the original checkpoint",
    ),
    (
        r"(backbone\.)?layers\.0\.0\.projection\.weight",
        "holds a SegFormer with mmsegmentation's own key names (backbone.layers.*), which is not supported yet",
        "give one that was trained with NVlabs' or FADE's code",
    ),
    (
        r"decode_head\.upsamplers\.\d+\.(selector\.conv|(up\.)?conv1_[gx]|ker_generator\.conv\.).*",
        "has the upsampler names of the authors' training logs (selector.conv, conv1_g, ker_generator.conv.*), whose "
        "remaining parameters were never published",
        "give a checkpoint of FADE's released code (gate_generator.*, ker_generator.*)",
    ),
)
MATTING_MARK = "layer0.0.weight"  # the first convolution of A2U matting
_BACKBONE_ALONE = r"(backbone\.)?patch_embed1\.proj\.weight"


def refuse_unsupported(name: str, keys: Collection[str]) -> None:
    """Stop where the keys are those of neither a SegFormer nor an A2U matting network that we build.

    Raises:
        CheckpointError: Says what was found, what was expected, and the remedy.
    """
    for pattern, what, remedy in _FAMILIES:
        if any(re.fullmatch(pattern, key) for key in keys):
            raise CheckpointError(f"{name} {what}; {_NAMES}: {remedy}")
    has_head = any(key.startswith("decode_head.") for key in keys)
    if not has_head and any(re.fullmatch(_BACKBONE_ALONE, key) for key in keys):
        raise CheckpointError(
            f"{name} holds a backbone alone, as pretrained on ImageNet; {_NAMES}: give the checkpoint of the whole "
            "segmentation model"
        )
    if "backbone.patch_embed1.proj.weight" not in keys and MATTING_MARK not in keys:
        first = ", ".join(one_line(key, limit=60) for key in list(keys)[:3]) or "no weights"
        raise CheckpointError(f"{name} is no model that we know: it holds {first} ({len(keys)} keys); {_NAMES}")
