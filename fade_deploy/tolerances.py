"""Every tolerance of the project, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from fade_deploy.errors import RecipeError
from fade_deploy.precision import Precision

__all__ = ["Tolerance", "tolerance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Elementwise bound ``|a - reference| <= max(atol, rtol * |reference|)``: Polygraphy's rule."""

    atol: float
    rtol: float = 0.0
    why: str


TOLERANCES = {
    "GOLDEN_FP32": Tolerance(
        atol=2e-5,
        why="the reference's own float32 CPU run is up to 5e-6 from its float64 run; the smallest mistake worth "
        "finding in the final output (every LayerNorm eps 1e-5) costs 1.1e-5 there and more inside",
    ),
    "NUMPY_FP64": Tolerance(
        atol=1e-12, why="the same sums in float64 in another order; sums of at most 49 terms of order 1"
    ),
    "OPERATOR_FP32": Tolerance(atol=1e-5, why="sums of up to 49 float32 products of order 1 against float64 loops"),
    "OPERATOR_FP16": Tolerance(atol=4e-3, rtol=4e-3, why="inputs and output rounded to 11 bits, sums in float32"),
    "OPERATOR_BF16": Tolerance(atol=3e-2, rtol=3e-2, why="inputs and output rounded to 8 bits, sums in float32"),
    "FUSION_FP64": Tolerance(
        atol=1e-12,
        why="of the output's standard deviation: the same function summed in another order, in float64, through whole "
        "networks; the largest seen is 2e-14, and a compressor's bias that is wrong at the border costs 1e-2",
    ),
    "TRANSFORMERS_FP64": Tolerance(
        atol=1e-6, why="the same network written by others, in float64: only rounding differs"
    ),
    "ORT_CPU_FP32": Tolerance(
        atol=1e-4,
        rtol=1e-4,
        why="convolution and product algorithms differ from eager PyTorch through up to 52 blocks; MiT-B1 to B5 with "
        "golden weights (logits of standard deviation 0.6) and the shipped checkpoint stay below 2e-5",
    ),
    "ORT_CPU_OWN_MODULE": Tolerance(
        atol=1e-4,
        rtol=1e-4,
        why="a network of a user: what ORT_CPU_FP32 allows the deepest of ours; sums in another order, no more",
    ),
    "ORT_CPU_FP32_PROBS": Tolerance(
        atol=1e-5,
        why="the same through a softmax, which shrinks errors: MiT-B1 with golden weights stays below 1e-7, and a bias "
        "that is off by 0.003 costs 1.7e-5",
    ),
    "ORT_CPU_FP32_MATTE": Tolerance(
        atol=2e-5,
        rtol=2e-5,
        why="as ORT_CPU_FP32, for alpha in 0..1: the released A2U matting with golden weights stays below 2e-6, and "
        "taking w where InPlaceABN has |w| + 1e-5 costs 7e-5; an 8-bit level is 200 times as much",
    ),
    # Low files are compared as onnxruntime runs them on the CPU, in float32 with low weights, and as a float32 twin
    # that rounds after every node; the errors below are the twin's, the larger ones.
    "ORT_CPU_FP16": Tolerance(
        atol=5e-2,
        why="weights and values rounded to 11 bits cost up to 0.6 % of the logits' standard deviation: 2e-2 in the "
        "shipped checkpoint (3.2), 3.4e-3 in MiT-B0 and B1 with golden weights (0.6); labels never changed where the "
        "best class leads by this",
    ),
    "ORT_CPU_FP16_PROBS": Tolerance(
        atol=1e-2,
        why="the same through a softmax: 3.3e-3 in the shipped checkpoint, 7e-5 in MiT-B0 with golden weights",
    ),
    "ORT_CPU_FP16_MATTE": Tolerance(
        atol=1.5e-2,
        why="the same for alpha in 0..1: 5.6e-3 in the shipped checkpoint's raw output, 2.5e-3 in the released A2U "
        "matting with golden weights; this bound is 4 of 255 levels",
    ),
    "ORT_CPU_BF16": Tolerance(
        atol=4e-1,
        why="8 bits instead of 11, eight times the error of float16: 0.16 in the shipped checkpoint, 2.7e-2 in MiT-B0 "
        "and B1 with golden weights",
    ),
    "ORT_CPU_BF16_PROBS": Tolerance(
        atol=1e-1, why="the same through a softmax: 3.7e-2 in the shipped checkpoint, eleven times that of float16"
    ),
    "ORT_CPU_BF16_MATTE": Tolerance(
        atol=1.2e-1,
        why="eight times that of float16: 4.7e-2 in the shipped checkpoint's raw output, 1.4e-2 in the released A2U "
        "matting with golden weights",
    ),
    "OPERATOR_FP16_BODY": Tolerance(
        atol=5e-2, rtol=5e-2, why="function bodies in float16 also sum in float16: up to 49 products of order 1"
    ),
    "ORT_VERSIONS_FP32": Tolerance(
        atol=1e-5, rtol=1e-4, why="two ONNX Runtime versions run the same file with other kernels"
    ),
}


def tolerance(name: str, precision: Precision = Precision.FP32) -> Tolerance:
    """The tolerance of that name, or the one that stands for it in a file of a lower precision.

    Args:
        name: As a recipe gives it: of float32.
        precision: The lowest one of the file; for another than float32 ``FP32`` in the name is exchanged for it.

    Raises:
        RecipeError: There is none; the message lists them.
    """
    found = name.replace("FP32", precision.upper())
    if found not in TOLERANCES or (precision is not Precision.FP32 and found == name):
        raise RecipeError(
            f"tolerance '{name}' is unknown{'' if precision is Precision.FP32 else f' for {precision}'}, expected one "
            f"of {', '.join(sorted(TOLERANCES))}"
        )
    return TOLERANCES[found]
