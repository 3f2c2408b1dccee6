"""What ``fade-export`` tells at its end, for each thing that it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from fade_deploy.cli import command

if TYPE_CHECKING:
    from fade_deploy.api.export.engine import EngineResult
    from fade_deploy.api.export.triton import TritonResult
    from fade_deploy.api.export.verified_file import ExportResult

__all__ = ["engine_outcome", "file_outcome", "repository_outcome"]

_DISAGREE = "the runtimes disagree: the file is kept under another name; please report the manifest"


def file_outcome(result: ExportResult, *, verbose: bool) -> command.Outcome:
    """Of an exported file: agreement for each size and runtime, what it is, where its manifest is."""
    facts = result.document
    operators = "standard operators" if facts["operators"] == "standard" else facts["operators"]
    outcome = command.Outcome(
        artefact=str(result.path),
        passed=result.passed,
        detail=f"{facts['artefact']['bytes'] / 1e6:.1f} MB, opset {facts['opset']}, {operators}, "
        f"sha256 {facts['artefact']['sha256'][:12]}",
        document={"path": str(result.path), "notes": list(result.notes), "manifest": facts},
    )
    if verbose and facts["rewrites"]:
        outcome.tables.append(_rewrite_table(facts))
    outcome.tables.append(_agreement_table(result))
    classes = f"{len(facts['classes'])} classes, " if "classes" in facts else ""
    outcome.lines += [f"note: {note}" for note in result.notes]
    outcome.lines.append(
        f"{facts['model']}, {facts['backbone']} with {facts['upsampler']} upsampling, {classes}"
        f"{facts['parameters']} parameters{_precision(facts)}; "
        f"needs ONNX Runtime {facts['lowest_onnxruntime']} or newer"
    )
    if facts["agreement"]["verification"] == "quick" and facts["shape"] == "dynamic":
        shapes = len({agreement.shape for agreement in result.agreements})
        outcome.lines.append(f"verified quickly (shapes: {shapes}); --verify full compares all of the recipe's shapes")
    outcome.lines.append(f"manifest: {result.manifest}")
    if not result.passed:
        outcome.lines.append(_DISAGREE)
    return outcome


def _precision(facts: dict[str, Any]) -> str:
    if "precision" not in facts:
        return ""
    nodes = ", ".join(f"{count} in {precision}" for precision, count in facts["precision"]["nodes"].items())
    return f", nodes: {nodes} (precision plan '{facts['precision']['plan']}')"


def _rewrite_table(facts: dict[str, Any]) -> Table:
    size = "{height}x{width}".format(**facts["macs"])
    table = Table("exact rewrite", f"GMACs before, {size}", "after")
    for rewrite in facts["rewrites"]:
        counts = (rewrite[key] for key in ("macs_before", "macs_after"))
        table.add_row(rewrite["name"], *(f"{macs / 1e9:.3f}" for macs in counts))
    return table


def _agreement_table(result: ExportResult) -> Table:
    labels = any(agreement.labels_compared is not None for agreement in result.agreements)
    table = Table(
        "input", "run with", "max error", "mean error", "99.9 %", *(["labels agreeing"] if labels else []), "verdict"
    )
    for agreement in result.agreements:
        errors = (agreement.max_error, agreement.mean_error, agreement.p999_error)
        table.add_row(
            agreement.shape,
            agreement.candidate,
            *("-" if error is None else f"{error:.1e}" for error in errors),
            *([f"{agreement.labels_agreeing} of {agreement.labels_compared}"] if labels else []),
            "agrees" if agreement.passed else "DISAGREES",
        )
    return table


def engine_outcome(result: EngineResult) -> command.Outcome:
    """Of an engine: layers by precision, the plugin, for which GPUs; of the file, where the runtimes disagree on it."""
    facts = result.document
    outcome = command.Outcome(
        artefact=str(result.path),
        passed=result.passed,
        document={"path": str(result.path), "notes": list(result.notes), "manifest": facts},
        lines=[f"note: {note}" for note in result.notes],
    )
    if not result.passed:
        outcome.lines += [f"manifest: {result.manifest}", _DISAGREE]
        return outcome
    outcome.tables.append(_layer_table(facts))
    plugin = facts["plugin"]
    if plugin is None:
        outcome.lines.append("no plugin: the engine computes our operators by their function bodies")
    else:
        where = "inside the engine" if plugin["embedded"] else "to be loaded beside it"
        outcome.lines.append(f"plugin: {plugin['file']}, {len(plugin['nodes'])} nodes, {where}")
    tensorrt, sizes = facts["tensorrt"], facts["profile"]
    target = tensorrt["gpu"]["name"] if tensorrt["gpu"] else f"SM {', '.join(tensorrt['compute_capabilities'])}"
    outcome.lines.append(f"{tensorrt['flavour']} {tensorrt['version']}, for {target}")
    if sizes is not None:
        outcome.lines.append(f"sizes: {sizes['min']} to {sizes['max']}, tuned for {sizes['opt']}")
    outcome.lines.append(f"manifest: {result.manifest}")
    size, digest = facts["artefact"]["bytes"] / 1e6, facts["artefact"]["sha256"][:12]
    outcome.detail = f"{size:.1f} MB, {facts['network']['count']} layers, sha256 {digest}"
    return outcome


def _layer_table(facts: dict[str, Any]) -> Table:
    described = facts["engine"] or facts["network"]
    table = Table(f"precision ({facts['read_from']})", "layers")
    for precision, count in described["by_precision"].items():
        table.add_row("no floats" if precision == "none" else precision, str(count))
    return table


def repository_outcome(result: TritonResult) -> command.Outcome:
    """Of a Triton model repository: the model, and where the server's command stands."""
    outcome = command.Outcome(
        artefact=str(result.path),
        passed=result.passed,
        document={
            "path": str(result.path),
            "repository": result.document,
            "manifest": None if result.made is None else result.made.document,
        },
        lines=[f"note: {note}" for note in (result.made.notes if result.made else ())],
    )
    if result.passed:
        facts = result.document
        outcome.detail = f"model {facts['model']}, backend {facts['backend']}"
        outcome.lines.append(f"the server's command and a client: {result.path / 'README.md'}")
    else:
        outcome.lines.append(_DISAGREE)
    return outcome
