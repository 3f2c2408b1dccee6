"""Every tolerance of the project, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from fade_deploy.errors import RecipeError

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
    "OPERATOR_FP16_BODY": Tolerance(
        atol=5e-2, rtol=5e-2, why="function bodies in float16 also sum in float16: up to 49 products of order 1"
    ),
    "ORT_VERSIONS_FP32": Tolerance(
        atol=1e-5, rtol=1e-4, why="two ONNX Runtime versions run the same file with other kernels"
    ),
}


def tolerance(name: str) -> Tolerance:
    """The tolerance of that name.

    Raises:
        RecipeError: There is none; the message lists them.
    """
    if name not in TOLERANCES:
        raise RecipeError(f"tolerance '{name}' is unknown, expected one of {', '.join(sorted(TOLERANCES))}")
    return TOLERANCES[name]
