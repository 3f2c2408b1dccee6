"""The files of a verification: what they have in common, and which of them is the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fade_deploy.api.verify.options import VerifyOptions, check_unused
from fade_deploy.api.verify.runners import (
    UNLIMITED,
    Candidate,
    ExportedFile,
    Kind,
    candidates_of,
    exported_file,
    kind_of,
)
from fade_deploy.contract import Head, Task
from fade_deploy.errors import InputError
from fade_deploy.optional import require
from fade_deploy.recipe import Recipe, Shape, list_recipes, load_recipe
from fade_deploy.verification.shapes import Bounds, covering

if TYPE_CHECKING:
    from fade_deploy.api.verify.checkpoint import EagerModel

__all__ = ["Interface", "Opened", "opened"]

_DEFAULT_RECIPES = {Task.SEGMENTATION: "segformer", Task.MATTING: "a2u_matting"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What the files have in common."""

    head: Head
    embed_preprocess: bool
    recipe: Recipe  # with the mean and std that the files state
    bounds: Bounds
    shapes: tuple[Shape, ...]  # to verify at, where none are asked for
    classes: tuple[str, ...]
    palette: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The files, ready to run."""

    interface: Interface
    facts: Mapping[str, Any]  # what the first exported file says of itself; empty where there is none
    checkpoint: EagerModel | None  # the first one; None where there is none
    reference: Candidate  # the first checkpoint, else the first file
    candidates: tuple[Candidate, ...]  # all others
    notes: tuple[str, ...]


def opened(files: Sequence[str], options: VerifyOptions) -> Opened:
    """Load every file.

    Raises:
        FadeDeployError: A file can't be loaded, or the files are not of one task and head.
    """
    kinds = _checked_kinds(files, options)
    names = [Path(file).name for file in files]
    titles = {file: name if names.count(name) == 1 else file for file, name in zip(files, names, strict=True)}
    exported = [
        exported_file(file, Path(file), titles[file], options)
        for file, kind in kinds.items()
        if kind is not Kind.CHECKPOINT
    ]
    facts = _common_facts(exported)
    checkpoints = [file for file, kind in kinds.items() if kind is Kind.CHECKPOINT]
    models = _models(checkpoints, facts, options)
    interface = _interface(exported, facts, models, options)
    head, recipe = interface.head, interface.recipe
    found: list[Candidate] = []
    if models:
        from fade_deploy.api.verify.checkpoint import eager_candidate

        embed = interface.embed_preprocess
        found = [
            eager_candidate(file, titles[file], model, head, recipe, options, embed_preprocess=embed)
            for file, model in zip(checkpoints, models, strict=True)
        ]
    found += [candidate for one in exported for candidate in candidates_of(one, head, recipe, options)]
    reference, *rest = found
    if not rest:
        raise InputError(
            f"{files[0]} alone has nothing to be compared with, expected two ways to run a model: give its checkpoint, "
            "too, or more than one runtime with --on"
        )
    reference = dataclasses.replace(reference, run=dataclasses.replace(reference.run, tolerance=""))
    return Opened(
        interface=interface,
        facts=facts,
        checkpoint=models[0] if models else None,
        reference=reference,
        candidates=tuple(rest),
        notes=tuple(note for model in models for note in model.notes),
    )


def _checked_kinds(files: Sequence[str], options: VerifyOptions) -> dict[str, Kind]:
    """What each file is."""
    if not files:
        raise InputError("no file is given, expected checkpoints, .onnx files and engines, or one manifest: give some")
    kinds = {file: kind_of(Path(file)) for file in files}
    if len(kinds) < len(files):
        raise InputError(f"{max(files, key=files.count)} is given twice, expected different files: leave one out")
    for kind, name, without in (
        (Kind.CHECKPOINT, "ema", "a checkpoint"),
        (Kind.ONNX, "on", "an .onnx file"),
        (Kind.ENGINE, "plugin", "an engine"),
    ):
        if kind not in kinds.values():
            check_unused(options, [name], f"without {without}")
    return kinds


def _models(checkpoints: Sequence[str], facts: Mapping[str, Any], options: VerifyOptions) -> list[EagerModel]:
    """Of the checkpoints; all must be of one task."""
    if not checkpoints:
        return []
    require("torch", extra="export")
    from fade_deploy.api.verify.checkpoint import deployed_checkpoint

    models = [deployed_checkpoint(Path(file), facts, options) for file in checkpoints]
    first = models[0]
    for other in models[1:]:
        if other.model.TASK is not first.model.TASK:
            raise InputError(
                f"{first.path} is a {first.model.TASK} model, {other.path} a {other.model.TASK} model: give files of "
                "one task"
            )
    return models


def _interface(
    exported: Sequence[ExportedFile], facts: Mapping[str, Any], models: Sequence[EagerModel], options: VerifyOptions
) -> Interface:
    """As the exported files state it, else as the first checkpoint is exported by default."""
    if not facts:
        model = models[0]
        return Interface(
            head=model.head,
            embed_preprocess=False,
            recipe=model.recipe,
            **_sizes(exported, model.recipe),
            classes=model.classes,
            palette=(),
        )
    recipe = _recipe_of_files(facts, options)
    return Interface(
        head=Head(facts["head"]),
        embed_preprocess=bool(facts["embed_preprocess"]),
        recipe=recipe,
        **_sizes(exported, recipe),
        classes=tuple(facts.get("classes", ())),
        palette=tuple(tuple(colour) for colour in facts.get("palette", ())),
    )


def _common_facts(files: Sequence[ExportedFile]) -> Mapping[str, Any]:
    """Of the first; all must take and return the same."""
    if not files:
        return {}
    first = files[0]
    for other in files[1:]:
        for field in ("task", "head", "embed_preprocess", "mean", "std", "size_multiple"):
            mine, theirs = first.facts.get(field), other.facts.get(field)
            if mine != theirs:
                raise InputError(
                    f"{first.file} has {field} {mine}, {other.file} has {theirs}, expected files that take and return "
                    "the same: export one of them again"
                )
    return first.facts


def _recipe_of_files(facts: Mapping[str, Any], options: VerifyOptions) -> Recipe:
    """The recipe asked for, else the file's own if it is shipped, else its task's; normalising as the file does."""
    named = facts.get("recipe")
    task = Task(facts["task"])
    recipe = load_recipe(options.recipe or (named if named in list_recipes() else _DEFAULT_RECIPES[task]))
    if recipe.task is not task:
        raise InputError(f"--recipe {options.recipe} is for {recipe.task}, the files are for {task}: give another one")
    sizes = {name: facts[name] for name in ("size_multiple", "short_side", "long_side") if name in facts}
    return dataclasses.replace(recipe, mean=tuple(facts["mean"]), std=tuple(facts["std"]), **sizes)


def _sizes(files: Sequence[ExportedFile], recipe: Recipe) -> dict[str, Any]:
    multiple = recipe.size_multiple
    bounds = (
        files[0].bounds
        if files
        else Bounds(smallest=Shape(1, multiple, multiple), largest=UNLIMITED, multiple=multiple)
    )
    for one in files[1:]:
        common = bounds.intersected(one.bounds)
        if common is None:
            raise InputError(
                f"{one.file} takes no size that the other files take, expected one in common: leave it out, or export "
                "it with another --shape or --profile"
            )
        bounds = common
    if bounds.fixed or any(one.profile for one in files):
        edges = [shape for one in files for shape in one.profile if shape in bounds]
        return {"bounds": bounds, "shapes": tuple(dict.fromkeys([*covering(bounds), *edges]))}
    shapes = tuple(shape for shape in recipe.full if shape in bounds)
    return {"bounds": bounds, "shapes": shapes or covering(bounds)}
