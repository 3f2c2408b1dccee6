"""The pictures of a verification: what each run made of an input, and where it is from the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import Task
from fade_deploy.report.content import Block, Gallery, Note, Picture, Scale, Section, Swatch
from fade_deploy.report.number_text import counted, error_text, percent
from fade_deploy.report.pictures import HEAT, grey, heat_over, marked, mask_over, photo, shown_size
from fade_deploy.serve.pictures import palette_for
from fade_deploy.verification.verification import KeptPicture, UsedInput, Verification

__all__ = ["picture_section", "pictured"]

_INPUTS = 3  # that are shown
_RUNS = 6  # of each
_CLASSES = 12  # in a legend


def pictured(result: Verification) -> tuple[UsedInput, ...]:
    """The inputs that a page shows: those that failed first, then those with the largest errors."""

    def worst_first(used: UsedInput) -> tuple[bool, float]:
        found = [each for each in result.comparisons if each.input == used.name]
        errors = [each.agreement.max_error or 0.0 for each in found if each.agreement]
        finite = [error if np.isfinite(error) else np.inf for error in errors]
        return all(each.passed for each in found), -max(finite, default=0.0)

    kept = [used for used in result.inputs if used.kept is not None]
    return tuple(sorted(kept, key=worst_first)[:_INPUTS])


def picture_section(result: Verification, *, numbers: Mapping[str, int]) -> Section:
    """One gallery an input.

    Args:
        result: With its pictures.
        numbers: Run -> its number on the page.
    """
    shown = pictured(result)
    blocks: list[Block] = [_gallery(result, used, used.kept, numbers) for used in shown if used.kept is not None]
    more = len(result.inputs) - len(shown)
    if not shown:
        blocks = [Note("Left out: this verification kept no pictures (golden outputs are single values).")]
    elif more:
        blocks.append(Note(f"Pictures of {counted(more, 'more input')} are left out here."))
    return Section(title="Pictures", blocks=tuple(blocks))


def _gallery(result: Verification, used: UsedInput, kept: KeptPicture, numbers: Mapping[str, int]) -> Gallery:
    size = shown_size(*kept.picture.shape[:2])
    picture = photo(kept.picture, size)
    is_matting = result.task == Task.MATTING
    tiles = [Picture(title="picture", pixels=picture, is_photo=True)]
    if kept.trimap is not None:
        tiles.append(
            Picture(title="trimap", pixels=photo(kept.trimap, size), is_photo=False, caption="grey is unknown")
        )
    reference = result.reference.name
    errors = {run: error for run, error in kept.errors.items() if run != reference}
    high = max((_largest_finite(error) for error in errors.values()), default=0.0)
    all_finite = all(np.isfinite(error).all() for error in errors.values())
    has_heat = (high > 0 or not all_finite) and result.head != "labels"  # of labels the differences tell all
    failed = {found.run for found in result.comparisons if found.input == used.name and not found.passed}
    runs = sorted((run for run in kept.results if run != reference), key=lambda run: run not in failed)
    legend: tuple[Swatch, ...] = ()
    if is_matting:
        tiles.append(Picture(title="reference", pixels=grey(kept.results[reference], size), is_photo=False))
    else:
        palette = _palette(result, kept)
        tiles.append(_mask(picture, kept.results[reference], palette, title="reference"))
        legend = _legend(kept.results[reference], palette, result.classes)
    for run in runs[:_RUNS]:
        number, title = numbers.get(run), _short(run)
        if is_matting:
            alpha = grey(kept.results[run], size)
            tiles.append(Picture(title=title, pixels=alpha, is_photo=False, number=number, starts_row=True))
        else:
            tiles += _labelled(picture, kept.results[run], kept.results[reference], palette, title, number)
        if run in errors and has_heat:
            tiles.append(_heat(picture, errors[run], high, title, number))
    notes = [] if used.source == used.name else [f"From {used.source}."]
    if used.shape.batch > 1:
        notes.append(f"The first of a batch of {used.shape.batch}.")
    if errors and high == 0 and all_finite:
        notes.append("Every run gave exactly the reference's values here.")
    if not all_finite:
        notes.append("Cyan is NaN or infinite.")
    if len(runs) > _RUNS:
        notes.append(f"{counted(len(runs) - _RUNS, 'more run')} not shown.")
    return Gallery(
        title=used.name,
        pictures=tuple(tiles),
        note=" ".join(notes),
        scales=(Scale(low="no error", high=f"{error_text(high)} (square root)", colours=HEAT),) if has_heat else (),
        legend=legend,
    )


def _short(run: str) -> str:
    return Path(run).name


def _largest_finite(error: NDArray[np.float32]) -> float:
    finite = error[np.isfinite(error)]
    return float(finite.max()) if finite.size else 0.0


def _heat(
    picture: NDArray[np.uint8], error: NDArray[np.float32], high: float, title: str, number: int | None
) -> Picture:
    return Picture(
        title=f"error of {title}",
        pixels=heat_over(picture, error, high=high),
        is_photo=True,
        caption=f"at most {error_text(float(error.max()))}",  # NaN where one is not a number
        number=number,
    )


def _mask(
    picture: NDArray[np.uint8],
    labels: NDArray[np.uint16],
    palette: NDArray[np.uint8],
    *,
    title: str,
    caption: str = "",
    number: int | None = None,
) -> Picture:
    return Picture(
        title=title,
        pixels=mask_over(picture, labels, palette),
        is_photo=True,
        caption=caption,
        number=number,
        starts_row=number is not None,
    )


def _labelled(
    picture: NDArray[np.uint8],
    labels: NDArray[np.uint16],
    expected: NDArray[np.uint16],
    palette: NDArray[np.uint8],
    title: str,
    number: int | None,
) -> list[Picture]:
    """A run's mask and, where there is any, its difference from the reference's."""
    if labels.shape != expected.shape:
        return [_mask(picture, labels, palette, title=title, caption="of another size", number=number)]
    different = labels != expected
    count = int(different.sum())
    if count == 0:
        return [_mask(picture, labels, palette, title=title, caption="every label as the reference's", number=number)]
    return [
        _mask(picture, labels, palette, title=title, number=number),
        Picture(
            title=f"labels of {title} that differ",
            pixels=marked(picture, different),
            is_photo=True,
            caption=f"{count:,} of {different.size:,}, {percent(count / different.size)}",
            number=number,
        ),
    ]


def _palette(result: Verification, kept: KeptPicture) -> NDArray[np.uint8]:
    classes = max(len(result.classes), 1 + max(int(labels.max()) for labels in kept.results.values()))
    return palette_for(classes, result.palette if len(result.palette) >= classes else ())


def _legend(labels: NDArray[np.uint16], palette: NDArray[np.uint8], names: tuple[str, ...]) -> tuple[Swatch, ...]:
    """The commonest classes of a mask."""
    counts = np.bincount(labels.ravel(), minlength=len(palette))
    common = [int(index) for index in np.argsort(-counts, kind="stable")[:_CLASSES] if counts[index]]
    return tuple(
        Swatch(
            name=f"{names[index] if index < len(names) else f'class {index}'} {percent(counts[index] / labels.size)}",
            colour=(int(palette[index, 0]), int(palette[index, 1]), int(palette[index, 2])),
        )
        for index in common
    )
