"""The sizes that an engine takes: smallest, tuned for, and largest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fade_deploy.errors import ExportError
from fade_deploy.recipe import Shape

__all__ = ["PictureInput", "ShapeProfile"]

_SIZE = r"[1-9]\d{0,5}"
_FORM = "NxHxW:NxHxW:NxHxW (smallest:tuned for:largest), for example 1x256x256:4x512x512:8x1024x1024"
_MULTIPLE = 4  # of the recipe's size_multiple, where the smallest default size lies
_USUAL_SIDE = 512  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeProfile:
    """Batch, height and width of the inputs: the smallest, those that kernels are chosen for, the largest."""

    smallest: Shape
    optimum: Shape
    largest: Shape

    @classmethod
    def parse(cls, text: str) -> ShapeProfile:
        """Read ``1x256x256:4x512x512:8x1024x1024``; a single ``1x512x512`` fixes the sizes.

        Raises:
            ExportError: It is neither, or the three are not in order.
        """
        parts = text.split(":")
        if len(parts) == 1:
            parts = parts * 3
        if len(parts) != 3 or not all(re.fullmatch(f"{_SIZE}x{_SIZE}x{_SIZE}", part) for part in parts):
            raise ExportError(f"--profile '{text}' is not one size or three: give {_FORM}")
        shapes = [Shape(*(int(number) for number in part.split("x"))) for part in parts]
        profile = cls(smallest=shapes[0], optimum=shapes[1], largest=shapes[2])
        for name, *sizes in zip(("batches", "heights", "widths"), *(shape.sizes for shape in shapes), strict=True):
            if sorted(sizes) != sizes:
                raise ExportError(
                    f"--profile '{text}' has the {name} {', '.join(map(str, sizes))}, expected them to grow from the "
                    f"smallest over the one to tune for to the largest: give {_FORM}"
                )
        return profile

    @classmethod
    def default(cls, multiple: int) -> ShapeProfile:
        """One picture of 512x512, up to four of 1024x1024, or the multiples next to these.

        A file with other sizes is asked for with ``--profile``.
        """
        tuned = max(_USUAL_SIDE // multiple, 1) * multiple
        side, most = min(multiple * _MULTIPLE, tuned), 2 * tuned
        return cls(smallest=Shape(1, side, side), optimum=Shape(1, tuned, tuned), largest=Shape(4, most, most))

    @property
    def shapes(self) -> tuple[Shape, Shape, Shape]:
        """(smallest, optimum, largest)."""
        return self.smallest, self.optimum, self.largest

    @property
    def is_fixed(self) -> bool:
        """Whether it allows one size only."""
        return self.smallest == self.largest

    def __str__(self) -> str:
        return str(self.optimum) if self.is_fixed else ":".join(str(shape) for shape in self.shapes)

    def as_dict(self) -> dict[str, str]:
        """For a manifest: ``min``, ``opt``, ``max``."""
        return dict(zip(("min", "opt", "max"), (str(shape) for shape in self.shapes), strict=True))

    def check(self, inputs: Sequence[PictureInput], *, multiple: int, name: str) -> None:
        """Refuse sizes that the file does not take.

        Args:
            inputs: Of the file.
            multiple: Of dynamic heights and widths.
            name: How an error calls the file.

        Raises:
            ExportError: A size is no multiple, or differs from a fixed dimension.
        """
        for given in inputs:
            for what, axis, of in given.axes:
                fixed = given.dimensions[axis]
                for size in (shape.sizes[of] for shape in self.shapes):
                    if isinstance(fixed, int) and size != fixed:
                        raise ExportError(
                            f"--profile has the {what} {size}, {name} has a fixed {what} of {fixed}: give that, or "
                            "export the file without --shape"
                        )
                    if not isinstance(fixed, int) and what != "batch" and size % multiple:
                        nearest = max(multiple, round(size / multiple) * multiple)
                        raise ExportError(
                            f"--profile has the {what} {size}, {name} takes multiples of {multiple}: give {nearest}"
                        )

    def sizes_for(self, given: PictureInput) -> tuple[tuple[int, ...], ...]:
        """The three shapes of one input, with its fixed dimensions as they are."""
        of_axis = {axis: of for _, axis, of in given.axes}
        return tuple(
            tuple(
                size if isinstance(size, int) else shape.sizes[of_axis[axis]]
                for axis, size in enumerate(given.dimensions)
            )
            for shape in self.shapes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureInput:
    """An input of pictures: its name and dimensions, numbers where they are fixed, else what they are called.

    [N, C, H, W], or [N, H, W, C] with the channels last.
    """

    name: str
    dimensions: tuple[int | str | None, ...]
    channels_last: bool

    @property
    def axes(self) -> list[tuple[str, int, int]]:
        """(what it is, axis, index in a Shape) of batch, height and width."""
        height = 1 if self.channels_last else 2
        return [("batch", 0, 0), ("height", height, 1), ("width", height + 1, 2)]

    @property
    def is_fixed(self) -> bool:
        """Whether no dimension is dynamic."""
        return all(isinstance(size, int) for size in self.dimensions)
