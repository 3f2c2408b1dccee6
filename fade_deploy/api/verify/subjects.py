"""The files of a verification: what they have in common, and which of them is the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fade_deploy.api.verify.options import VerifyOptions
from fade_deploy.api.verify.runners import (
    UNLIMITED,
    Candidate,
    ExportedFile,
    Kind,
    candidates_of,
    eager_candidate,
    exported_file,
    kind_of,
)
from fade_deploy.contract import Head, Task
from fade_deploy.errors import InputError
from fade_deploy.optional import require
from fade_deploy.recipe import Recipe, Shape, list_recipes, load_recipe
from fade_deploy.verification.shapes import Bounds, covering

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
    checkpoint: Any  # the first one, as fade_deploy.api.verify.checkpoint reads it; None where there is none
    reference: Candidate  # the first checkpoint, else the first file
    candidates: tuple[Candidate, ...]  # all others
    notes: tuple[str, ...]


def opened(files: Sequence[str], options: VerifyOptions) -> Opened:
    """Load every file.

    Raises:
        FadeDeployError: A file can't be loaded, or the files are not of one task and head.
    """
    paths = {file: Path(file) for file in files}
    if len(paths) < len(files):
        raise InputError(f"{max(files, key=files.count)} is given twice, expected different files: leave one out")
    names = [path.name for path in paths.values()]
    titles = {file: path.name if names.count(path.name) == 1 else file for file, path in paths.items()}
    opened_files = [
        exported_file(file, path, titles[file], options)
        for file, path in paths.items()
        if kind_of(path) is not Kind.CHECKPOINT
    ]
    facts = _common_facts(opened_files)
    checkpoints = [file for file, path in paths.items() if kind_of(path) is Kind.CHECKPOINT]
    from_files = _recipe_of_files(facts, options) if facts else None
    deployed = []
    if checkpoints:
        require("torch", extra="export")
        from fade_deploy.api.verify.checkpoint import deployed_checkpoint

        deployed = [deployed_checkpoint(paths[file], facts, options) for file in checkpoints]
    recipe = from_files or deployed[0].recipe
    assert recipe is not None
    head = Head(facts["head"]) if facts else deployed[0].head
    interface = Interface(
        head=head,
        embed_preprocess=bool(facts.get("embed_preprocess", False)),
        recipe=recipe,
        **_sizes(opened_files, recipe),
        classes=tuple(facts["classes"]) if "classes" in facts else deployed[0].classes if deployed else (),
        palette=tuple(tuple(colour) for colour in facts.get("palette", ())),
    )
    references = [
        eager_candidate(file, titles[file], one, head, recipe, options, embed_preprocess=interface.embed_preprocess)
        for file, one in zip(checkpoints, deployed, strict=True)
    ]
    others = [candidate for one in opened_files for candidate in candidates_of(one, head, recipe, options)]
    reference, *rest = [*references, *others]
    if not rest:
        raise InputError(
            f"{files[0]} alone has nothing to be compared with, expected two ways to run a model: give its checkpoint, "
            "too, or more than one runtime with --on"
        )
    reference = dataclasses.replace(reference, run=dataclasses.replace(reference.run, tolerance=""))
    return Opened(
        interface=interface,
        facts=facts,
        checkpoint=deployed[0] if deployed else None,
        reference=reference,
        candidates=tuple(rest),
        notes=tuple(note for one in deployed for note in one.notes),
    )


def _common_facts(files: Sequence[ExportedFile]) -> Mapping[str, Any]:
    """Of the first; all must take and return the same."""
    if not files:
        return {}
    first = files[0]
    for other in files[1:]:
        for field in ("task", "head", "embed_preprocess", "size_multiple"):
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
