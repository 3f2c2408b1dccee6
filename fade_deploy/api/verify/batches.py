"""What a verification runs everything on: one batch at a time, each made from its shape or picture alone.

So a command line with that shape or picture makes the very same batch again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fade_deploy.api.verify.options import VerifyOptions
from fade_deploy.api.verify.pictures import PictureInput, fitted_input, picture_files, picture_inputs
from fade_deploy.api.verify.subjects import Interface
from fade_deploy.errors import InputError
from fade_deploy.recipe import Shape
from fade_deploy.verification.inputs import verification_inputs
from fade_deploy.verification.seeded import seeded_inputs

__all__ = ["Batch", "Batches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One input."""

    name: str  # of its own
    shape: Shape
    source: str
    tensors: Mapping[str, NDArray[Any]]
    file: Path | None  # the user's picture
    deployed: PictureInput | None  # at its own size, with its truth


class Batches:
    """The inputs that were asked for.

    Raises:
        InputError: The options contradict each other or the files.
    """

    def __init__(self, interface: Interface, options: VerifyOptions) -> None:
        self.interface = interface
        self.options = options
        self.pictures = picture_files(options, interface.recipe.task)
        if options.seed is not None and self.pictures:
            raise InputError("--seed and --images exclude each other: pictures are made of a number, or given")
        if options.shapes and (options.labels is not None or options.alphas is not None):
            raise InputError("--shapes and a truth exclude each other: pictures with a truth keep their own size")
        for shape in options.shapes:
            self._check(shape, "--shapes has")

    @property
    def have_own_size(self) -> bool:
        """Whether the pictures decide the sizes."""
        return bool(self.pictures) and not self.options.shapes

    def __iter__(self) -> Iterator[Batch]:
        if self.have_own_size:
            yield from self._of_pictures()
            return
        for shape in self.options.shapes or self.interface.shapes:
            if not self.pictures:
                yield self.at(shape)
            for file in self.pictures:
                yield self.at(shape, file)

    def at(self, shape: Shape, file: Path | None = None) -> Batch:
        """A batch of that shape: of the picture ``file``, else of the seed, else of the recipe's pictures."""
        recipe, seed, embed = self.interface.recipe, self.options.seed, self.interface.embed_preprocess
        name = f"{shape} {file.name}" if file is not None and len(self.pictures) > 1 else str(shape)
        if file is not None:
            tensors = fitted_input(file, self.options, recipe, shape, embed_preprocess=embed)
            return Batch(name=name, shape=shape, source=str(file), tensors=tensors, file=file, deployed=None)
        if seed is None and recipe.pictures:
            (given,) = verification_inputs(recipe, [shape], embed_preprocess=embed)
            return Batch(name=name, shape=shape, source=given.source, tensors=given.tensors, file=None, deployed=None)
        ((_, tensors),) = seeded_inputs(
            recipe.task, [shape], seed=seed or 0, mean=recipe.mean, std=recipe.std, embed_preprocess=embed
        )
        return Batch(name=name, shape=shape, source=f"seed {seed or 0}", tensors=tensors, file=None, deployed=None)

    def _of_pictures(self) -> Iterator[Batch]:
        bounds = self.interface.bounds
        for picture in picture_inputs(
            self.pictures,
            self.options,
            self.interface.recipe,
            embed_preprocess=self.interface.embed_preprocess,
            fixed=bounds.largest if bounds.fixed else None,
        ):
            self._check(picture.shape, f"{picture.path} becomes")
            yield Batch(
                name=picture.path.name,
                shape=picture.shape,
                source=str(picture.path),
                tensors=picture.tensors,
                file=picture.path,
                deployed=picture,
            )

    def _check(self, shape: Shape, what: str) -> None:
        bounds = self.interface.bounds
        if shape in bounds:
            return
        expected = f"{bounds.smallest} to {bounds.largest}, height and width multiples of {bounds.multiple}"
        raise InputError(
            f"{what} {shape}, which the files don't take: expected {bounds.largest if bounds.fixed else expected}"
        )
