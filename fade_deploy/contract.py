"""The operators of domain ``fade``, version 1, and the exported file: their one definition.

Every front-end of an operator (PyTorch op, ONNX function body, native kernel) follows this table, and a test holds it
to that. An input is never optional (a function body would need ``If``), and one name means one body: runtimes ignore
function overloads, so every attribute combination other than the tuned one (K = 5, scale 2, one group or term)
carries its attributes in its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "ACCUMULATE",
    "DOMAIN",
    "HEAD",
    "KERNEL_SIZES",
    "LOWEST_ONNXRUNTIME",
    "METADATA_KEY",
    "OPERATORS",
    "OWN_MODULE",
    "REASSEMBLE",
    "SCALES",
    "UNKNOWN",
    "UPSAMPLE",
    "UPSAMPLE_ADD",
    "VERSION",
    "Head",
    "Operator",
    "Task",
    "check_limits",
]

DOMAIN = "fade"
VERSION = 1
KERNEL_SIZES = (1, 3, 5, 7)
SCALES = (1, 2, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator: inputs in order with their shapes, integer attributes with the tuned value of each.

    In the shapes K is ``kernel_size``, s is ``scale``, G is ``groups`` and T is ``terms``; E and M are the hidden
    channels and the classes of a head. All tensors of a node share one floating dtype. The PyTorch ops and native
    kernels accumulate in at least float32; a function body sums in the dtype of its inputs.
    """

    name: str
    formula: str
    inputs: tuple[tuple[str, str], ...]
    output: str
    attributes: tuple[tuple[str, int], ...]

    def node_name(self, **attributes: int) -> str:
        """The ONNX op type for these attribute values: the bare name for the tuned case, else a suffix.

        Raises:
            ValueError: An attribute is unknown, missing, or outside the contract.
        """
        tuned = dict(self.attributes)
        if attributes.keys() != tuned.keys():
            raise ValueError(f"{self.name} takes the attributes {sorted(tuned)}, given {sorted(attributes)}")
        check_limits(**attributes)
        if attributes == tuned:
            return self.name
        return self.name + "".join(f"_{key[0]}{attributes[key]}" for key in tuned)


def check_limits(*, kernel_size: int, scale: int, groups: int = 1, terms: int = 1) -> None:
    """Refuse attribute values outside the contract.

    Raises:
        ValueError: K is not in {1, 3, 5, 7}, scale not in {1, 2, 4}, or groups or terms below 1.
    """
    if kernel_size not in KERNEL_SIZES:
        raise ValueError(f"kernel_size is {kernel_size}, expected one of {KERNEL_SIZES}")
    if scale not in SCALES:
        raise ValueError(f"scale is {scale}, expected one of {SCALES}")
    if groups < 1 or terms < 1:
        raise ValueError(f"groups and terms are at least 1, given groups {groups}, terms {terms}")


REASSEMBLE = Operator(
    name="FadeReassemble",
    formula="out[n,c,y,x] = sum_ij features[n, c, y//s+i-K//2, x//s+j-K//2] * kernels[n, (g*K+i)*K+j, y, x],"
    " g = c // (C/G), zeros outside",
    inputs=(("features", "[N,C,H,W]"), ("kernels", "[N,G*K*K,sH,sW]")),
    output="[N,C,sH,sW]",
    attributes=(("kernel_size", 5), ("scale", 2), ("groups", 1)),
)
UPSAMPLE = Operator(
    name="FadeUpsample",
    formula="g*encoder + (1-g)*R(decoder, softmax(kernel_logits)), g = sigmoid(gate_logits) repeated s x s",
    inputs=(
        ("decoder", "[N,C,H,W]"),
        ("kernel_logits", "[N,K*K,sH,sW]"),
        ("encoder", "[N,C,sH,sW]"),
        ("gate_logits", "[N,1,H,W]"),
    ),
    output="[N,C,sH,sW]",
    attributes=(("kernel_size", 5), ("scale", 2)),
)
# The accumulate form. Without a gate (SemiShiftUp, CARAFE) the base is a zero and every weight a one; a skip
# (ablation B5) has the encoder as base; the fused SegFormer head sums its three last reassemblies in one node.
ACCUMULATE = Operator(
    name="FadeAccumulate",
    formula="base + sum_t w_t * R(decoder_t, softmax(kernel_logits_t)), w_t = decoder_weight[:,t] repeated s x s",
    inputs=(
        ("decoder", "[N,T*C,H,W]"),
        ("kernel_logits", "[N,T*K*K,sH,sW]"),
        ("base", "[N or 1,C or 1,sH or 1,sW or 1]"),
        ("decoder_weight", "[N,T,H,W]"),
    ),
    output="[N,C,sH,sW]",
    attributes=(("kernel_size", 5), ("scale", 2), ("terms", 1)),
)
# What exact fusion ends in; exported only, never trained.
# A decoder stage of A2U matting: the logits of both features meet here, so that the low ones are never written large.
UPSAMPLE_ADD = Operator(
    name="FadeUpsampleAdd",
    formula="g*encoder + (1-g)*R(decoder, softmax(encoder_logits + decoder_logits repeated s x s)) + skip,"
    " g = sigmoid(gate_logits) repeated s x s",
    inputs=(
        ("decoder", "[N,C,H,W]"),
        ("encoder_logits", "[N,K*K,sH,sW]"),
        ("decoder_logits", "[N,K*K,H,W]"),
        ("encoder", "[N,C,sH,sW]"),
        ("gate_logits", "[N,1,H,W]"),
        ("skip", "[N,C,sH,sW]"),
    ),
    output="[N,C,sH,sW]",
    attributes=(("kernel_size", 5), ("scale", 2)),
)
# The last stage of the fused SegFormer head. E channels at full size are in no memory outside of it.
HEAD = Operator(
    name="FadeHead",
    formula="class_bias + class_weight @ relu(encoder_bias + encoder_weight @ [g_0*x, g_1*x, g_2*x, x, g_0, g_1, g_2]"
    " + sum_t (1-g_t)*R(decoder_t[:E], softmax(encoder_logits_t + decoder_logits_t repeated s x s))),"
    " x = encoder, g_t = sigmoid(gate_logits[:,t]) repeated s x s, decoder_0..2 = first, second, third",
    inputs=(
        ("first", "[N,E or more,H,W]"),
        ("second", "[N,E or more,H,W]"),
        ("third", "[N,E or more,H,W]"),
        ("encoder_logits", "[N,3*K*K,sH,sW]"),
        ("decoder_logits", "[N,3*K*K,H,W]"),
        ("gate_logits", "[N,3,H,W]"),
        ("encoder", "[N,C,sH,sW]"),
        ("encoder_weight", "[E,4*C+3]"),
        ("encoder_bias", "[E]"),
        ("class_weight", "[M,E]"),
        ("class_bias", "[M]"),
    ),
    output="[N,M,sH,sW]",
    attributes=(("kernel_size", 5), ("scale", 2)),
)
OPERATORS = (REASSEMBLE, UPSAMPLE, ACCUMULATE, UPSAMPLE_ADD, HEAD)

# --- the exported file -----------------------------------------------------------------------------------------

METADATA_KEY = "fade_deploy"  # the one metadata entry of an exported file; its value is a JSON object
UNKNOWN = 128  # a trimap's level where the model decides; 0 is background, 255 foreground


class Head(StrEnum):
    """What a file returns.

    Segmentation: ``logits`` float32 [N, classes, H/4, W/4]; ``labels`` int64 [N, H, W]; ``probs`` float32
    [N, classes, H, W]; the output has the head's name. Matting: ``alpha`` float32 [N, 1, H, W] in 0..1, fixed to the
    trimap where that is known; ``raw``, the same without either; the output is ``alpha``.
    """

    LOGITS = "logits"
    LABELS = "labels"
    PROBS = "probs"
    ALPHA = "alpha"
    RAW = "raw"

    @property
    def output(self) -> str:
        """Name of the file's output."""
        return "alpha" if self is Head.RAW else str(self)


class Task(StrEnum):
    """What a model is for."""

    SEGMENTATION = "segmentation"
    MATTING = "matting"

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads that a model of this task has, the default first."""
        if self is Task.MATTING:
            return Head.ALPHA, Head.RAW
        return Head.LOGITS, Head.LABELS, Head.PROBS


OWN_MODULE = "module"  # stands for the task in a file of a user's own module, which no predictor of ours knows

# Opset -> lowest ONNX Runtime that loads our files of that opset; measured with 1.20, 1.21, 1.22, 1.23, 1.24 and 1.31.
LOWEST_ONNXRUNTIME = {18: "1.20", 19: "1.20", 20: "1.20", 21: "1.20", 22: "1.21", 23: "1.23"}
