"""Golden outputs that a manifest carries, so that an artefact can be verified again where there is no PyTorch.

Inputs are made of a number (:mod:`fade_deploy.verification.seeded`); of the reference's outputs a manifest has the
exact values at a few thousand seeded places, and statistics of the whole, which see what happens at all other places.
Needs only numpy.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import Task
from fade_deploy.errors import InputError
from fade_deploy.recipe import Shape
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import SCORES, decided_labels
from fade_deploy.verification.seeded import seeded_inputs, seeded_positions

__all__ = ["FORM", "GoldenCase", "golden_cases", "golden_inputs", "golden_of", "golden_shapes"]

FORM = 1  # of what is written; another one is not read
_SEED = 0
_VALUES = 2048  # of each shape: 11 KB of text as float32
_STATISTICS = ("minimum", "maximum", "mean", "std")

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCase:
    """One output at one shape, as the manifest has it."""

    shape: Shape
    output: str
    sizes: tuple[int, ...]  # of the whole output
    dtype: str
    positions: NDArray[np.int64]  # in the flattened output
    values: NDArray[Any]  # there
    statistics: Mapping[str, float]  # of floats: minimum, maximum, mean, std
    counts: NDArray[np.int64] | None  # of labels: pixels of each class
    undecided: int  # pixels whose label may be another within the tolerance

    def fault(self, given: NDArray[Any], tolerance: Tolerance) -> str:
        """What the whole output shows to be wrong, in a few words; empty where nothing is.

        For an output that is nowhere further away than the tolerated error each statistic is no further away, either;
        and no more labels change than are undecided.
        """
        if given.shape != self.sizes or str(given.dtype) != self.dtype:
            return f"is {given.dtype} {list(given.shape)}, expected {self.dtype} {list(self.sizes)}"
        if self.counts is not None:
            found = np.bincount(given.ravel().clip(0), minlength=len(self.counts))
            if len(found) > len(self.counts) or given.min() < 0:
                return f"has labels from {given.min()} to {given.max()}, expected 0 to {len(self.counts) - 1}"
            moved = int(np.abs(found - self.counts).sum()) // 2
            if moved <= self.undecided:
                return ""
            return f"has {moved} labels of other classes, expected {self.undecided} at most"
        bound = max(
            tolerance.atol,
            tolerance.rtol * max(abs(self.statistics["minimum"]), abs(self.statistics["maximum"])),
        )
        for name, value in _statistics(given).items():
            if not abs(value - self.statistics[name]) <= bound:
                return f"has the {name} {value:.6g}, expected {self.statistics[name]:.6g}"
        return ""


def golden_shapes(multiple: int, fixed: Shape | None) -> tuple[Shape, ...]:
    """Where golden outputs are taken: the fixed shape, or three small ones of odd ratios, one of them a batch."""
    if fixed is not None:
        return (fixed,)
    return tuple(Shape(n, h * multiple, w * multiple) for n, h, w in ((1, 4, 7), (2, 3, 2), (1, 7, 5)))


def golden_inputs(
    task: Task, shapes: Sequence[Shape], *, mean: Sequence[float], std: Sequence[float], embed_preprocess: bool
) -> Iterator[tuple[Shape, dict[str, NDArray[Any]]]]:
    """The inputs for these shapes, by name."""
    return seeded_inputs(task, shapes, seed=_SEED, mean=mean, std=std, embed_preprocess=embed_preprocess)


def golden_of(
    run: Callable[[Arrays], Arrays],
    inputs: Iterator[tuple[Shape, dict[str, NDArray[Any]]]],
    *,
    output: str,
    tolerance: Tolerance,
) -> dict[str, Any]:
    """What a manifest says under ``golden``.

    Args:
        run: The reference: inputs by name -> outputs by name, with class scores under ``SCORES`` where the output is
            labels.
        inputs: From :func:`golden_inputs`.
        output: Name of the file's output.
        tolerance: Decides which labels are certain.
    """
    return {
        "form": FORM,
        "seed": _SEED,
        "cases": [_case(shape, output, run(tensors), tolerance) for shape, tensors in inputs],
    }


def golden_cases(document: Any, *, name: str) -> list[GoldenCase]:
    """Read what :func:`golden_of` wrote.

    Args:
        document: The manifest's ``golden``.
        name: How an error calls the manifest.

    Raises:
        InputError: It has none, of another form, or damaged ones.
    """
    remedy = "export the model again with fade-export"
    if not isinstance(document, dict) or document.get("form") != FORM:
        raise InputError(f"{name} has no golden outputs of form {FORM}, expected them under 'golden': {remedy}")
    try:
        cases = [_read(case) for case in document["cases"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{name} has damaged golden outputs ({error}): {remedy}") from error
    if not cases:
        raise InputError(f"{name} has no golden outputs, expected at least one shape: {remedy}")
    return cases


def _case(shape: Shape, output: str, outputs: Arrays, tolerance: Tolerance) -> dict[str, Any]:
    whole = outputs[output]
    positions = seeded_positions(whole.size, _VALUES, _SEED)
    common = {"shape": str(shape), "output": output, "sizes": list(whole.shape), "dtype": str(whole.dtype)}
    if np.issubdtype(whole.dtype, np.floating):
        values = whole.ravel()[positions].astype("<f4")
        return {**common, "values": _text(values.tobytes()), "statistics": _statistics(whole)}
    decided = decided_labels(outputs[SCORES], tolerance).ravel()
    kept = decided[positions]
    return {
        **common,
        "values": _text(whole.ravel()[positions[kept]].astype("<u2").tobytes()),
        "decided": _text(np.packbits(kept).tobytes()),
        "counts": np.bincount(whole.ravel(), minlength=outputs[SCORES].shape[1]).tolist(),
        "undecided": int((~decided).sum()),
    }


def _read(case: Mapping[str, Any]) -> GoldenCase:
    sizes = tuple(int(size) for size in case["sizes"])
    positions = seeded_positions(int(np.prod(sizes)), _VALUES, _SEED)
    is_labels = "counts" in case
    if is_labels:
        kept = np.unpackbits(np.frombuffer(_bytes(case["decided"]), np.uint8))[: positions.size].astype(np.bool_)
        positions = positions[kept]
    values = np.frombuffer(_bytes(case["values"]), "<u2" if is_labels else "<f4")
    if values.shape != positions.shape:
        raise ValueError(f"{values.size} values for {positions.size} places")
    return GoldenCase(
        shape=Shape.parse(case["shape"]),
        output=str(case["output"]),
        sizes=sizes,
        dtype=str(case["dtype"]),
        positions=positions,
        values=values.astype(case["dtype"]),
        statistics={} if is_labels else {name: float(case["statistics"][name]) for name in _STATISTICS},
        counts=np.asarray(case["counts"], np.int64) if is_labels else None,
        undecided=int(case["undecided"]) if is_labels else 0,
    )


def _statistics(values: NDArray[Any]) -> dict[str, float]:
    return {
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "mean": float(values.mean(dtype=np.float64)),
        "std": float(values.std(dtype=np.float64)),
    }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
