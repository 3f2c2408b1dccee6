"""Results of a verification and of a benchmark as they could be, made without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import Head, Task
from fade_deploy.recipe import Shape
from fade_deploy.timing.accuracy import Accuracy
from fade_deploy.timing.against import Against, change_of
from fade_deploy.timing.benchmark import Benchmark, Candidate, CaseTimes, Memory, Placement
from fade_deploy.timing.machine import Machine
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.comparing import compared, kept_picture, worst_of
from fade_deploy.verification.verification import Run, TaskScores, UsedInput, Verification

__all__ = ["benchmark", "matting", "segmentation"]

REFERENCE = Run(name="model.pth pytorch", file="model.pth", runtime="PyTorch, eager", sha256="aa" * 32)
CLASSES = ("sky", "sea", "sand")


def segmentation(
    *errors: float,
    head: Head = Head.LOGITS,
    file: str = "model.onnx",
    classes: tuple[str, ...] = CLASSES,
    command: str = "",
    sizes: tuple[tuple[int, int], ...] = ((32, 64),),
    scores: tuple[TaskScores, ...] = (),
) -> Verification:
    """Runs whose scores are the reference's but for one value of the first pixel, which is off by each error in turn.

    Runs are called ``FILE run 1`` and so on; the tolerance is 1e-4.
    """
    draws = np.random.default_rng(0)
    inputs = {}
    for height, width in sizes:
        expected = draws.normal(size=(1, len(classes), height // 4, width // 4)).astype(np.float32)
        expected[0, :, 0, 0] = np.arange(len(classes))  # the last class leads by 1
        given = [expected.copy() for _ in errors]
        for array, error in zip(given, errors, strict=True):
            array[0, 0, 0, 0] += error
        arrays = [array.argmax(1) if head is Head.LABELS else array for array in (expected, *given)]
        picture = draws.integers(0, 256, (height, width, 3), np.uint8)
        inputs[f"{height}x{width}"] = (Shape(1, height, width), picture, None, arrays)
    return _verification(Task.SEGMENTATION, head, inputs, file=file, classes=classes, command=command, scores=scores)


def matting(*errors: float, scores: tuple[TaskScores, ...] = ()) -> Verification:
    """Likewise, of alpha; the first pixel is unknown and its alpha a half."""
    draws = np.random.default_rng(0)
    expected = draws.random((1, 1, 32, 48)).astype(np.float32)
    expected[0, 0, 0, 0] = 0.5
    given = [expected.copy() for _ in errors]
    for array, error in zip(given, errors, strict=True):
        array[0, 0, 0, 0] += error
    picture = draws.integers(0, 256, (32, 48, 3), np.uint8)
    trimap = draws.choice(np.array([0, 128, 255], np.uint8), (32, 48))
    trimap[0, 0] = 128
    inputs = {"32x48": (Shape(1, 32, 48), picture, trimap, [expected, *given])}
    return _verification(Task.MATTING, Head.ALPHA, inputs, scores=scores)


def _verification(
    task: Task,
    head: Head,
    inputs: Mapping[str, tuple[Shape, NDArray[np.uint8], NDArray[np.uint8] | None, list[NDArray[Any]]]],
    *,
    file: str = "model.onnx",
    classes: tuple[str, ...] = (),
    command: str = "",
    scores: tuple[TaskScores, ...] = (),
) -> Verification:
    bound = Tolerance(atol=1e-4, why="large enough to write down")
    count = len(next(iter(inputs.values()))[3]) - 1
    runs = [
        Run(name=f"{file} run {number}", file=file, runtime="ONNX Runtime", sha256="bb" * 32, tolerance="BY_HAND")
        for number in range(1, count + 1)
    ]
    comparisons, used = [], []
    for name, (shape, picture, trimap, (expected, *given)) in inputs.items():
        outputs = {REFERENCE.name: {head.output: expected}}
        outputs |= {run.name: {head.output: array} for run, array in zip(runs, given, strict=True)}
        comparisons += [
            compared(
                outputs[run.name],
                outputs[REFERENCE.name],
                run=run.name,
                input_name=name,
                shape=str(shape),
                source="seed 0",
                head=head,
                tolerance=bound,
                trimaps=None if trimap is None else trimap[None],
            )
            for run in runs
        ]
        kept = kept_picture(picture, trimap, outputs, head=head)
        used.append(UsedInput(name=name, shape=shape, source="seed 0", kept=kept))
    return Verification(
        task=str(task),
        head=str(head),
        reference=REFERENCE,
        runs=tuple(runs),
        inputs=tuple(used),
        comparisons=tuple(comparisons),
        bounds={run.name: bound for run in runs},
        scores=scores,
        worst=worst_of(comparisons),
        command=command,
        classes=classes,
        about={"python": "3.11.7"},
    )


def benchmark(*, names: tuple[str, ...] = ("a.onnx cpu", "b.pth"), earlier: float | None = None) -> Benchmark:
    """Candidates that take 10, 20, ... milliseconds at batch 1 and three times that at batch 4.

    Args:
        names: Of the candidates; the first word is the file.
        earlier: How many times as long the first took in an earlier benchmark; None for no such comparison.
    """
    shapes = (Shape(1, 64, 96), Shape(4, 64, 96))
    jitter = np.random.default_rng(0).permutation(np.linspace(0.99, 1.01, 41))  # of median 1
    candidates = []
    for number, name in enumerate(names, start=1):
        cases = tuple(
            CaseTimes(
                shape=shape,
                seconds=tuple(0.01 * number * (3 if shape.batch == 4 else 1) * jitter),
                ratios=(float(number),) * 41,
                memory=Memory(load_mib=12.5, run_mib=3.25, gpu_mib=None),
                accuracy=Accuracy(max_error=0.0 if number == 1 else 2.5e-6, label_agreement=1.0),
            )
            for shape in shapes
        )
        candidates.append(
            Candidate(
                name=name,
                file=name.split()[0],
                runtime="ONNX Runtime 1.31",
                precision="fp32",
                sha256=f"{number}" * 64,
                file_bytes=1_800_000,
                load_seconds=(0.25,),
                placement=Placement(nodes={"CPUExecutionProvider": 100}, native=4) if number == 1 else None,
                cases=cases,
            )
        )
    against = None
    if earlier is not None:
        now = candidates[0].cases[0].seconds
        change = change_of(names[0], "1x64x96", [earlier * one for one in now], now, margin=0.1)
        against = Against(file="old.json", date="2026-01-01", margin=0.1, changes=(change,), notes=())
    machine = Machine(cpu="A processor", cores=2, vectors="AVX2", memory_gib=8.0, system="Linux x86_64", gpu="")
    return Benchmark(
        candidates=tuple(candidates),
        baseline=names[0],
        reference=names[0],
        shapes=shapes,
        threads=1,
        budget=1.0,
        machine=machine,
        load=0.1,
        versions={"python": "3.11.7"},
        date="2026-11-21",
        against=against,
    )
