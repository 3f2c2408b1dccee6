"""What exported files hold: their nodes by operator and by module. Reads with onnx; nothing is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fade_deploy.errors import FadeDeployError, InputError
from fade_deploy.optional import require
from fade_deploy.report.content import Block, Cell, Column, Note, Section, Table
from fade_deploy.report.number_text import counted, millions, size_text

__all__ = ["GraphSummary", "ModuleSummary", "graph_section", "summarised"]

# As fade_deploy.graph.passes writes them.
_MODULE, _REPLACES = "fade.module", "fade.replaces"
_DEPTH = 2  # components of a module's name that make a row
_NAMED = 4  # modules that a row names as what it stands for


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSummary:
    """The nodes of one module."""

    name: str  # its first components; empty for nodes that belong to none
    nodes: int
    weights: int  # numbers that its nodes are the first to use
    replaces: tuple[str, ...]  # modules of the user that fused nodes of it stand for


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSummary:
    """One exported file."""

    file: str
    size: int  # bytes
    operators: Counter[str]  # name, with its domain where that is not ONNX's -> nodes
    modules: tuple[ModuleSummary, ...]  # in the order of the graph


def summarised(path: Path) -> GraphSummary:
    """Read one file.

    Raises:
        InputError: It can't be read as ONNX.
        MissingDependency: onnx is not installed.
    """
    onnx = require("onnx", extra="export")
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
        size = path.stat().st_size
    except Exception as error:  # protobuf's and onnx's errors share no public base
        raise InputError(f"{path} is not a readable ONNX file: export it again with fade-export") from error
    weights = {one.name: _elements(one) for one in graph.initializer}
    rows: dict[str, ModuleSummary] = {}
    for node in graph.node:
        properties = {entry.key: entry.value for entry in node.metadata_props}
        name = ".".join(properties.get(_MODULE, "").split(".")[:_DEPTH])
        replaced = [module for module in properties.get(_REPLACES, "").split(", ") if module]
        row = rows.get(name, ModuleSummary(name=name, nodes=0, weights=0, replaces=()))
        rows[name] = ModuleSummary(
            name=name,
            nodes=row.nodes + 1,
            weights=row.weights + sum(weights.pop(given, 0) for given in node.input),
            replaces=tuple(dict.fromkeys([*row.replaces, *replaced])),
        )
    operators = Counter(f"{node.domain}.{node.op_type}" if node.domain else str(node.op_type) for node in graph.node)
    return GraphSummary(file=str(path), size=size, operators=operators, modules=tuple(rows.values()))


def graph_section(files: Sequence[str]) -> Section:
    """The chapter of the page, for the files among these that are ``.onnx``; one that can't be read is told."""
    summaries = []
    notes: list[Block] = []
    for file in dict.fromkeys(files):
        if not file.lower().endswith(".onnx"):
            continue
        try:
            summaries.append(summarised(Path(file)))
        except FadeDeployError as error:
            notes.append(Note(f"Left out: {error}."))
    if not summaries and not notes:
        notes.append(Note("Left out: none of the files is an ONNX graph."))
    blocks: list[Block] = [_operator_table(summaries)] if summaries else []
    blocks += [_module_table(summary) for summary in summaries]
    return Section(title="Graphs", blocks=(*blocks, *notes))


def _operator_table(summaries: Sequence[GraphSummary]) -> Table:
    names = sorted(
        {name for summary in summaries for name in summary.operators},
        key=lambda name: (-max(summary.operators[name] for summary in summaries), name),
    )
    most = max(max(summary.operators.values(), default=1) for summary in summaries)
    rows = [
        (
            name,
            *(
                Cell(text=str(summary.operators[name]), share=summary.operators[name] / most)
                if summary.operators[name]
                else "-"
                for summary in summaries
            ),
        )
        for name in names
    ]
    totals = ("all", *(str(summary.operators.total()) for summary in summaries))
    columns = [Column(Path(summary.file).name, is_number=True) for summary in summaries]
    return Table(
        title="Nodes by operator",
        columns=(Column("operator"), *columns),
        rows=(totals, *rows),
        note="An operator of domain fade counts once; the standard operators that it stands for are not counted.",
    )


def _module_table(summary: GraphSummary) -> Table:
    most = max(1, *(row.weights for row in summary.modules)) if summary.modules else 1
    rows = tuple(
        (
            row.name or "(no module)",
            str(row.nodes),
            Cell(text=millions(row.weights), share=row.weights / most),
            _names(row.replaces),
        )
        for row in summary.modules
    )
    columns = (
        Column("module"),
        Column("nodes", is_number=True),
        Column("weights", is_number=True),
        Column("stands for"),
    )
    return Table(
        title=f"Modules of {Path(summary.file).name}, {size_text(summary.size)}",
        columns=columns,
        rows=rows,
        note="Weights are counted where they are first used, as they are stored: fusion moves and merges them.",
    )


def _names(modules: tuple[str, ...]) -> str:
    text = ", ".join(modules[:_NAMED])
    more = len(modules) - _NAMED
    return f"{text} and {counted(more, 'more module')}" if more > 0 else text


def _elements(initializer: Any) -> int:
    total = 1
    for size in initializer.dims:
        total *= size
    return total
