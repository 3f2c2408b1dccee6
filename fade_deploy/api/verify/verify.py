"""Checkpoints, exported files and engines compared with each other, on pictures, at the sizes that they take."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.api.verify.judging import judged, outputs_of
from fade_deploy.api.verify.options import Backend, VerifyOptions, reproducing_command
from fade_deploy.api.verify.runners import Candidate, Kind, kind_of
from fade_deploy.contract import Task
from fade_deploy.errors import InputError, OutputError
from fade_deploy.optional import require
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import AUTOMATIC
from fade_deploy.verification.comparing import kept_picture, worst_of
from fade_deploy.verification.model_inputs import pictures_in
from fade_deploy.verification.shapes import smallest_failing
from fade_deploy.verification.task_scores import MattingTask, SegmentationTask
from fade_deploy.verification.verification import Comparison, Reduced, UsedInput, Verification, measured_on

if TYPE_CHECKING:
    from fade_deploy.api.verify.batches import Batch, Batches
    from fade_deploy.api.verify.pictures import PictureInput
    from fade_deploy.api.verify.subjects import Opened

__all__ = ["Backend", "Comparison", "Verification", "VerifyOptions", "verify"]

logger = logging.getLogger(__name__)

_KEPT = 8  # pictures that are kept for a report,
_KEPT_PIXELS = 2_000_000  # of at most this size

Arrays = Mapping[str, NDArray[Any]]


def verify(files: Sequence[Path | str], options: VerifyOptions | None = None) -> Verification:
    """Compare every way to run some files with the first checkpoint among them, or else with the first file.

    The reference runs in eager PyTorch, unfused, where it is a checkpoint. Every other file is compared with it on each
    input: the recipe's pictures or, with a seed, made ones, at a set of shapes that covers what the files take; or a
    user's pictures at the sizes that fade-predict gives them, and then with scores against their truth. A single
    manifest is checked against the golden outputs that it carries, without PyTorch.

    Args:
        files: Checkpoints, ``.onnx`` files and engines; or one manifest.
        options: See :class:`VerifyOptions`.

    Returns:
        What was found; ``passed`` is False where a runtime disagrees.

    Raises:
        FadeDeployError: The user can mend it.
    """
    options = options or VerifyOptions()
    names = [str(file) for file in files]
    if any(kind_of(Path(name)) is Kind.MANIFEST for name in names):
        from fade_deploy.api.verify.manifest import verify_manifest

        if len(names) > 1:
            raise InputError("a manifest is verified on its own, expected no other files beside it: leave them out")
        return verify_manifest(Path(names[0]), options)
    require("polygraphy", extra="verify")
    from fade_deploy.api.verify.batches import Batches
    from fade_deploy.api.verify.subjects import opened

    start = time.perf_counter()
    subjects = opened(names, options)
    batches = Batches(subjects.interface, options)
    if options.save_outputs is not None:
        _make_folder(options.save_outputs)
    logger.info("load: %d runs (%.1f s)", 1 + len(subjects.candidates), time.perf_counter() - start)
    return _Verifier(subjects, batches, options).verified()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """How a failure is told."""

    command: str
    reduced: Reduced | None
    note: str


class _Verifier:
    """One verification at work."""

    def __init__(self, subjects: Opened, batches: Batches, options: VerifyOptions) -> None:
        self.subjects = subjects
        self.reference = subjects.reference
        self.interface = subjects.interface
        self.batches = batches
        self.options = options
        self.labels = SegmentationTask(len(self.interface.classes), max_miou_drop=options.max_miou_drop)
        self.alphas = MattingTask()

    def verified(self) -> Verification:
        used: list[UsedInput] = []
        comparisons: list[Comparison] = []
        failing: tuple[Comparison, Batch] | None = None
        place = 0  # of its input
        for batch in self.batches:
            start = time.perf_counter()
            found, outputs = self._compared(batch)
            comparisons += found
            used.append(self._used(batch, outputs, keep=len(used) < _KEPT))
            if self.options.save_outputs is not None:
                self._save(self.options.save_outputs, len(used), batch, outputs)
            if batch.deployed is not None and batch.deployed.truth is not None:
                self._score(batch.deployed, batch.deployed.truth, outputs)
            failed = [comparison for comparison in found if not comparison.passed]
            worst = worst_of([*failed, *([failing[0]] if failing else [])])
            if worst is not None and worst in failed:
                failing, place = (worst, batch), len(used) - 1
            verdict = f"{len(failed)} of {len(found)} DISAGREE" if failed else f"{len(found)} agree"
            logger.info("verify: %s, %s (%.1f s)", batch.name, verdict, time.perf_counter() - start)
        name = self.reference.run.name
        scores = (*self.labels.results(name), *self.alphas.results(name))
        gated = next((scored.run for scored in scores if not scored.passed), None)
        told = _Told(command="", reduced=None, note="")
        if failing:
            told = self._told(*failing, used[: 1 + place])
        elif gated:
            told = replace(told, command=self._command(self._candidate(gated), [], self.options.images))
        return Verification(
            task=str(self.interface.recipe.task),
            head=str(self.interface.head),
            reference=self.reference.run,
            runs=tuple(candidate.run for candidate in self.subjects.candidates),
            inputs=tuple(used),
            comparisons=tuple(comparisons),
            bounds={candidate.run.name: candidate.bound for candidate in self.subjects.candidates},
            scores=scores,
            worst=worst_of(comparisons),
            command=told.command,
            reduced=told.reduced,
            notes=(*self.subjects.notes, *([told.note] if told.note else [])),
            classes=self.interface.classes,
            palette=self.interface.palette,
            about=measured_on(),
        )

    def _compared(self, batch: Batch) -> tuple[list[Comparison], dict[str, Arrays]]:
        """Every candidate against the reference, and what each gave."""
        from fade_deploy.verification.running import RunFailure

        expected = outputs_of(self.reference, batch)
        outputs = {self.reference.run.name: expected}
        found = []
        for candidate in self.subjects.candidates:
            try:
                given = candidate.run_on(batch.tensors)
            except RunFailure as error:
                found.append(
                    Comparison(
                        run=candidate.run.name,
                        input=batch.name,
                        output=self.interface.head.output,
                        passed=False,
                        reason=f"can't run it: {error}",
                        agreement=None,
                    )
                )
                continue
            outputs[candidate.run.name] = given
            found.append(judged(candidate, batch, given, expected, self.interface.head))
        return found, outputs

    def _used(self, batch: Batch, outputs: Mapping[str, Arrays], *, keep: bool) -> UsedInput:
        kept = None
        if keep and batch.shape.height * batch.shape.width <= _KEPT_PIXELS:
            recipe = self.interface.recipe
            pictures, trimaps = pictures_in(batch.tensors, mean=recipe.mean, std=recipe.std)
            trimap = None if trimaps is None else trimaps[0]
            kept = kept_picture(pictures[0], trimap, outputs, head=self.interface.head)
        return UsedInput(name=batch.name, shape=batch.shape, source=batch.source, kept=kept)

    def _score(self, picture: PictureInput, truth: NDArray[np.uint8], outputs: Mapping[str, Arrays]) -> None:
        from fade_deploy.api.verify.pictures import deployed_alpha, deployed_labels

        head = self.interface.head
        for run, arrays in outputs.items():
            if head.output not in arrays or not np.isfinite(arrays[head.output]).all():
                continue  # it fails its comparison already
            first = arrays[head.output][0]
            if self.interface.recipe.task is Task.MATTING:
                assert picture.trimap is not None
                self.alphas.add(run, deployed_alpha(first, picture.trimap), truth, picture.trimap)
                continue
            labels = deployed_labels(first, head, picture.shape, *truth.shape)
            try:
                self.labels.add(run, labels, truth)
            except ValueError as error:
                raise InputError(
                    f"the labels of {picture.path} don't fit the model: {error}; expected class numbers, and 255 where "
                    "nothing is known"
                ) from error

    def _save(self, folder: Path, number: int, batch: Batch, outputs: Mapping[str, Arrays]) -> None:
        from fade_deploy.verification.running import save_inputs, save_outputs

        stem = f"{number:02d}_{batch.shape}"
        try:
            save_inputs(folder / f"{stem}_inputs.json", batch.tensors)
            save_outputs(folder / f"{stem}_outputs.json", outputs)
        except OSError as error:
            raise OutputError(
                f"--save-outputs {folder} can't be written: {error.strerror or error}; free some space, or give "
                "another folder"
            ) from error

    def _told(self, failing: Comparison, batch: Batch, before: Sequence[UsedInput]) -> _Told:
        """How to see a failure again: its own input, and the smallest shape that still fails."""
        candidate = self._candidate(failing.run)
        shapes = [] if self.batches.have_own_size else [batch.shape]
        alone = candidate if candidate.renewed is None else replace(candidate, runner=candidate.renewed())
        if alone is not candidate and shapes and not self._fails(alone, batch):
            return _Told(
                command=self._command(candidate, [used.shape for used in before], batch.file),
                reduced=None,
                note=f"{failing.run} is right at {batch.shape} alone, and wrong after other sizes: the runtime keeps "
                "something of them",
            )
        return _Told(
            command=self._command(candidate, shapes, batch.file), reduced=self._reduced(candidate, batch), note=""
        )

    def _candidate(self, run: str) -> Candidate:
        return next(each for each in self.subjects.candidates if each.run.name == run)

    def _command(self, candidate: Candidate, shapes: Sequence[Shape], picture: Path | None) -> str:
        files = list(dict.fromkeys([self.reference.run.file, candidate.run.file]))
        on = [backend for backend in (self.reference.backend, candidate.backend) if backend is not None]
        options = self.options
        if not any(kind_of(Path(file)) is Kind.ENGINE for file in files):
            options = replace(options, plugin=AUTOMATIC)  # it was for another file
        return reproducing_command(files, options, on=on, shapes=shapes, picture=picture)

    def _reduced(self, candidate: Candidate, batch: Batch) -> Reduced | None:
        """The smallest shape that still fails, with the same picture or seed."""
        bounds = self.interface.bounds

        def fails(shape: Shape) -> bool:
            runner = candidate.runner if candidate.renewed is None else candidate.renewed()
            return self._fails(replace(candidate, runner=runner), self.batches.at(shape, batch.file))

        # At its own size a picture is not cropped; the crop of that size may not fail.
        if bounds.fixed or (self.batches.have_own_size and not fails(batch.shape)):
            return None
        smallest = smallest_failing(batch.shape, bounds, fails)
        logger.info("reduce: %s fails down to %s", candidate.run.name, smallest)
        return Reduced(shape=smallest, command=self._command(candidate, [smallest], batch.file))

    def _fails(self, candidate: Candidate, batch: Batch) -> bool:
        from fade_deploy.verification.running import RunFailure

        try:
            expected = self.reference.run_on(batch.tensors)
        except RunFailure:
            return False  # there is nothing to disagree with
        try:
            given = candidate.run_on(batch.tensors)
        except RunFailure:
            return True
        return not judged(candidate, batch, given, expected, self.interface.head).passed


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        full = any(folder.iterdir())
    except OSError as error:
        raise OutputError(f"--save-outputs {folder} can't be made: {error.strerror}; give another folder") from error
    if full:
        raise OutputError(f"--save-outputs {folder} is not empty, expected a new or an empty folder: give another one")
