"""The papers' complexity tables, counted on our modules and set beside the published numbers.

Published numbers are data: ``published/*.toml`` in the recipe folder, each with its source.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from fade_deploy.optional import require
from fade_deploy.recipe import recipe_folder

if TYPE_CHECKING:
    from fade_deploy.models.complexity import Complexity

__all__ = ["PaperTable", "paper_table"]

_CONVENTION = (
    "GFLOPs are multiply-accumulates / 1e9 of convolutions, linear layers, matrix and inner products, reassemblies; "
    "norms, activations, softmax and resizing are not counted. The blend is every product of two features that nothing "
    "sums: two for each output value of FADE (its gate), one of IndexNet (its index map), and SAPA-G's gated queries; "
    "published numbers are held against ours with and without it."
)
_SCALES = {"K": 1_000, "M": 1_000_000, "G": 1_000_000_000}


class PaperTable(StrEnum):
    """The tables: upsamplers in SegFormer-B1, in A2U matting, and on their own."""

    SEGFORMER_B1 = "segformer-b1"
    A2U_MATTING = "a2u-matting"
    OPERATOR = "operator"


def paper_table(name: PaperTable | str) -> dict[str, Any]:
    """Count one of the papers' complexity tables, by shape, on the real modules.

    Args:
        name: A :class:`PaperTable` or its value.

    Returns:
        A JSON-ready dict: ``title``, ``rows`` (the papers' first, in their order, then every other upsampler of the
        registry) and ``notes``. A row has ``parameters`` and ``macs``: where ``adds`` is true, what the upsampler adds
        to the bilinear base, else the whole. ``published`` is None where
        the papers print nothing; ``difference`` is ours minus published; ``fits`` is whether ours, rounded as
        published, is the published number, and for MACs with or without the blend.

    Raises:
        ValueError: There is no such table.
        MissingDependency: PyTorch is not installed.
    """
    table = PaperTable(name)
    require("torch", extra="export")
    published = tomllib.loads((recipe_folder() / "published" / f"{table}.toml").read_text(encoding="utf-8"))
    single = table is PaperTable.OPERATOR
    rows = list(_operator_rows(published) if single else _model_rows(table, published))
    notes = [f"{row['label']}: {row['note']}" for row in rows if row["note"]]
    for row in rows:
        if row["macs"]["for_each_image"]:
            notes.append(
                f"{row['upsampler']}: {row['macs']['for_each_image']} MACs for each image, whatever its size, are left "
                "out: convolutions of what was pooled to a fixed size."
            )
    return {
        "table": str(table),
        "title": published["title"],
        "rows": rows,
        "notes": [_CONVENTION, *published["notes"], *dict.fromkeys(notes)],  # rows of one upsampler share a note
        "sources": published["sources"],
    }


def _model_rows(table: PaperTable, published: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from fade_deploy.models import compared

    build = compared.segformer_b1 if table is PaperTable.SEGFORMER_B1 else compared.a2u_matting
    height, width = published["height"], published["width"]
    base = compared.cost_of_model(build, compared.BASE, height=height, width=width)
    for entry in _every_upsampler(published["rows"]):
        if entry["upsampler"] == compared.BASE:
            yield _row(entry, published, base)
            continue
        cost = compared.cost_of_model(
            build,
            entry["upsampler"],
            height=height,
            width=width,
            inner=entry.get("inner", 0),
            without=entry.get("without", ()),
        )
        yield _row(entry, published, cost, base=base)


def _operator_rows(published: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from fade_deploy.models.compared import cost_of_operator

    for side in published["outputs"]:
        for entry in _every_upsampler(published["rows"]):
            yield _row(entry, published, cost_of_operator(entry["upsampler"], height=side, width=side))


def _every_upsampler(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the file, then one for each upsampler of the registry that they do not name."""
    from fade_deploy.models.compared import NAMES

    named = {row["upsampler"] for row in rows}
    return [*rows, *({"upsampler": name, "label": name} for name in NAMES if name not in named)]


def _row(
    entry: dict[str, Any], published: dict[str, Any], cost: Complexity, *, base: Complexity | None = None
) -> dict[str, Any]:
    amounts = _amounts(cost)
    if base is not None:
        amounts = [ours - plain for ours, plain in zip(amounts, _amounts(base), strict=True)]
    parameters, without_blend, blend, for_each_image = amounts
    with_blend = without_blend + blend
    return {
        "label": entry["label"],
        "upsampler": entry["upsampler"],
        "adds": base is not None,
        "height": cost.height,
        "width": cost.width,
        "parameters": {"count": parameters, **_compared(entry.get("parameters"), {"yes": parameters})},
        "macs": {
            "with_blend": with_blend,
            "without_blend": without_blend,
            "for_each_image": for_each_image,
            **_compared(entry.get("gflops"), {"with the blend": with_blend, "without the blend": without_blend}),
        },
        "source": published["sources"].get(entry.get("source")),
        "note": entry.get("note"),
    }


def _amounts(cost: Complexity) -> list[int]:
    """Parameters, MACs that grow with the image, the blend's, and those for each image."""
    return [cost.parameters, cost.macs - cost.pooled_macs, cost.blend_macs, cost.pooled_macs]


def _compared(text: str | None, ours: dict[str, int]) -> dict[str, Any]:
    if text is None:
        return {"published": None, "difference": None, "fits": None}
    number, unit = _published_number(text)
    differences = {name: count - number for name, count in ours.items()}
    fitting = [name for name, difference in differences.items() if 2 * abs(difference) <= unit]
    return {
        "published": text,
        "difference": min(differences.values(), key=abs),
        "fits": "no" if not fitting else fitting[0] if len(fitting) == 1 else "yes",
    }


def _published_number(text: str) -> tuple[int, int]:
    """``"+0.44M"`` -> (440000, 10000): the number, and one of its last digit."""
    match = re.fullmatch(r"\+?(\d+)(?:\.(\d+))?([KMG])", text)
    if match is None:
        raise ValueError(f"published number '{text}' is not like '+0.44M' or '80K'")
    whole, decimals, scale = match[1], match[2] or "", _SCALES[match[3]]
    unit = scale // 10 ** len(decimals)
    return int(whole + decimals) * unit, unit
