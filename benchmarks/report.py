"""The results document as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.roofline import Peaks, peaks_by_threads, roofline_seconds

__all__ = ["markdown"]

Document = Mapping[str, Any]

_COMMAND = "make bench"
_NOTHING = "-"


def markdown(document: Document) -> str:
    """The whole report; ``document`` is what ``suite.measured`` returns."""
    sections = [_head(document)]
    if document["models"]:
        sections.append("## Whole models\n\n" + _READING)
        sections += [_case_section(case) for case in document["models"]]
    if document["operators"]:
        sections.append("## Operators\n\nSingle nodes on noise; times against the function body in standard operators.")
        peaks = peaks_by_threads(document["kernels"])
        sections += [_case_section(case, peaks) for case in document["operators"]]
        sections.append(_kernel_section(document["kernels"]))
    sections += [_growth_section(entry) for entry in document["head_growth"]]
    sections.append(_METHOD)
    return "\n\n".join(sections) + "\n"


_READING = (
    "Milliseconds are medians. Each ratio is the median of time against the baseline, the first row, within a round, "
    "with the quartiles in brackets; below 1 is faster. Memory is what the process grows by in its first run, on one "
    "thread, beyond the loaded model, its inputs and its output (with PyTorch's, for PyTorch)."
)
_METHOD = """## How it was measured

- float32, golden weights (values from a recipe: no weights of these sizes were ever published), noise as input.
- All rows of a table ran in one process, interleaved round by round in rotating order after a warm-up; slow ones joined
  some of the rounds, spread evenly. Sessions of ONNX Runtime have bound inputs and outputs and stop their workers after
  each run (`session.force_spinning_stop`). OpenVINO computes in float32 (`INFERENCE_PRECISION_HINT`).
- Before it was timed, every result was compared with that of the exported file in standard operators, which
  `fade-export` had compared with eager PyTorch; those of single operators with that of the function body.
- "Plain PyTorch form" is FADE by unfold, repeat, product and sum, as its public PyTorch file computes it, exported by
  `torch.onnx.export(dynamo=True)`: what a user has without this project.
- "Plain export" and `--no-fuse` leave out the exact fusion; the equally fused bilinear model stands beside the plain
  one because the fusion makes both cheaper."""


def _head(document: Document) -> str:
    machine, versions = document["machine"], document["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    commit = f", commit {document['commit']}" if document["commit"] else ""
    return (
        "# Benchmarks\n\n"
        f"Written by `{_COMMAND}` (`{document.get('command', 'python -m benchmarks')}`); not edited by hand.\n\n"
        f"{machine['cpu']}, {machine['cores']} cores, {machine['vectors']}, {machine['memory_gib']} GiB, "
        f"{machine['system']}; {listed}{commit}; {document['date']}. "
        f"Load average before: {document['load_before']}."
    )


def _case_section(case: Mapping[str, Any], peaks: Mapping[str, Peaks] | None = None) -> str:
    """One table; with ``peaks``, of an operator, also the fraction of the roofline that each row reaches."""
    threads = list(case["threads"])
    heads = [case["subject"]]
    for count in threads:
        heads += [f"ms, {_threads(count)}", "ratio", *(["of roofline"] if peaks else [])]
    heads += ["memory growth, MiB", "ratio"]
    rows, reasons = [], []
    for name, title in case["titles"].items():
        cells = [title]
        for count in threads:
            result = case["threads"][count]["variants"][name]
            cells += _time_cells(result)
            if peaks:
                cells.append(_roofline_cell(result, case["work"], peaks[count]) if count in peaks else _NOTHING)
            reasons += _reason(title, result)
        cells += _memory_cells(case["memory"], name, case["baseline"])
        reasons += _reason(title, case["memory"][name])
        rows.append(cells)
    return "\n\n".join(["### " + case["subject"], _table(heads, rows), *_listed(reasons)])


def _time_cells(result: Mapping[str, Any]) -> list[str]:
    if "left_out" in result:
        return [_NOTHING, _NOTHING]
    ratio = result["ratio"]
    return [
        _milliseconds(result["ms"]["median"]),
        f"{_ratio(ratio['median'])} ({_ratio(ratio['first'])} to {_ratio(ratio['third'])})",
    ]


def _roofline_cell(result: Mapping[str, Any], work: Mapping[str, int], peaks: Peaks) -> str:
    if "left_out" in result:
        return _NOTHING
    return f"{100 * roofline_seconds(work, peaks) / (result['ms']['median'] / 1000):.0f} %"


def _memory_cells(memory: Mapping[str, Any], name: str, baseline: str) -> list[str]:
    if "left_out" in memory[name]:
        return [_NOTHING, _NOTHING]
    mib = memory[name]["mib"]
    base = memory[baseline].get("mib")
    return [f"{mib:.0f}" if mib >= 10 else f"{mib:.1f}", _ratio(mib / base) if base else _NOTHING]


def _growth_section(entry: Mapping[str, Any]) -> str:
    rows, reasons = [], []
    threads = list(entry["threads"])
    for name in entry["threads"][threads[0]]:
        cells = [name]
        for count in threads:
            result = entry["threads"][count][name]
            reasons += _reason(f"{name}, {_threads(count)}", result)
            if "left_out" in result:
                cells += [_NOTHING, _NOTHING]
                continue
            growth = result["growth"]
            cells.append(" → ".join(_milliseconds(ms["median"]) for ms in result["ms"].values()))
            cells.append(f"{growth['median']:.2f} ({growth['first']:.2f} to {growth['third']:.2f})")
        rows.append(cells)
    heads = [entry["subject"], *(head for count in threads for head in (f"ms, {_threads(count)}", "growth"))]
    text = (
        "## Cost growth of the head\n\nTime per pixel at 1024x2048 against 512x512, of the head alone: cut out of the "
        "exported file where the backbone hands over its features, and run on features of a real run."
    )
    return "\n\n".join([text, _table(heads, rows), *_listed(reasons)])


def _kernel_section(kernels: Mapping[str, Any]) -> str:
    text = (
        "## Kernels without a runtime\n\nThe native kernels alone, by `fade_kernel_bench`, and what the machine can "
        "do: measured peaks of fused multiply-adds and of copying. The roofline is the larger of arithmetic over the "
        "one and unavoidable traffic over the other."
    )
    if "left_out" in kernels:
        return f"{text}\n\nLeft out: {kernels['left_out']}"
    peaks = [
        [_threads(str(entry["threads"])), f"{entry['fma_gflops']:.0f}", f"{entry['copy_gbps']:.1f}"]
        for entry in kernels["peaks"]
    ]
    rows = [
        [entry["name"], str(entry["threads"]), _milliseconds(entry["ms"]), f"{100 * entry['roofline']:.0f} %"]
        for entry in kernels["kernels"]
    ]
    return "\n\n".join(
        [text, _table(["Peaks", "GFLOP/s", "GB/s"], peaks), _table(["Kernel", "threads", "ms", "of roofline"], rows)]
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _reason(what: str, result: Mapping[str, Any]) -> list[str]:
    return [f"- {what}: {result['left_out']}"] if "left_out" in result else []


def _listed(reasons: Sequence[str]) -> list[str]:
    return ["Left out:\n\n" + "\n".join(dict.fromkeys(reasons))] if reasons else []


def _threads(count: str) -> str:
    return f"{count} thread{'s' * (count != '1')}"


def _milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
