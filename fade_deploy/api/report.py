"""The HTML page of a verification or a benchmark."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fade_deploy import artefact
from fade_deploy.errors import FadeDeployError
from fade_deploy.optional import require

if TYPE_CHECKING:
    from fade_deploy.api.verify.options import VerifyOptions
    from fade_deploy.report.content import Report, Section
    from fade_deploy.timing.benchmark import Benchmark
    from fade_deploy.verification.verification import Verification

__all__ = ["check_report", "write_benchmark_report", "write_verification_report"]

logger = logging.getLogger(__name__)

_DRAWING = ("jinja2", "matplotlib", "PIL")


def check_report(target: Path | str, *, force: bool = False) -> None:
    """Refuse a report that can't be written, before anything is measured.

    Raises:
        MissingDependency: The extra ``report`` is not installed.
        OutputError: The target exists without ``force``, or can't be written.
    """
    for module in _DRAWING:
        require(module, extra="report")
    artefact.check_target(Path(target), force=force, option="--report")


def write_verification_report(
    result: Verification,
    target: Path | str,
    *,
    options: VerifyOptions | None = None,
    command: str = "",
    force: bool = False,
) -> Path:
    """Write what :func:`fade_deploy.verification` found as one HTML file that opens offline.

    With a checkpoint as reference the page also shows what its upsamplers did in a picture.

    Args:
        result: What was found.
        target: The ``.html`` file.
        options: Those of the verification, by which the checkpoint is read again.
        command: The command line to print as what reproduces it; empty: the files with no options.
        force: Replace an existing file.

    Raises:
        FadeDeployError: As :func:`check_report`.
    """
    check_report(target, force=force)
    from fade_deploy.report.from_verification import verification_report
    from fade_deploy.report.graph_summary import graph_section

    files = [result.reference.file, *(run.file for run in result.runs)]
    sections = [_upsamplers(result, options), graph_section(files)]
    report = verification_report(result, command=command or _plain_command("fade-verify", files), sections=sections)
    return _written(report, Path(target))


def write_benchmark_report(result: Benchmark, target: Path | str, *, command: str = "", force: bool = False) -> Path:
    """Write what :func:`fade_deploy.bench` measured as one HTML file that opens offline.

    Args:
        result: What was measured.
        target: The ``.html`` file.
        command: The command line to print as what reproduces it; empty: the files with no options.
        force: Replace an existing file.

    Raises:
        FadeDeployError: As :func:`check_report`.
    """
    check_report(target, force=force)
    from fade_deploy.report.from_benchmark import benchmark_report
    from fade_deploy.report.graph_summary import graph_section

    files = [candidate.file for candidate in result.candidates]
    report = benchmark_report(
        result, command=command or _plain_command("fade-bench", files), sections=[graph_section(files)]
    )
    return _written(report, Path(target))


def _plain_command(name: str, files: Sequence[str]) -> str:
    return shlex.join([name, *dict.fromkeys(files)])


def _written(report: Report, target: Path) -> Path:
    from fade_deploy.report.page import rendered

    page = rendered(report).encode("utf-8", "backslashreplace")  # a file's name may hold bytes that are no text
    artefact.write(target, page)
    logger.info("report: %s (%.1f MB)", target, len(page) / 1e6)
    return target


def _upsamplers(result: Verification, options: VerifyOptions | None) -> Section:
    """What the reference's upsamplers did in the first picture that the page shows, or why that is left out."""
    from fade_deploy.api.verify.runners import Kind, kind_of
    from fade_deploy.report.content import Note, Section
    from fade_deploy.report.run_pictures import pictured

    shown = pictured(result)
    path = Path(result.reference.file)
    reason = ""
    if not shown or shown[0].kept is None:
        reason = "this verification kept no picture"
    elif kind_of(path) is not Kind.CHECKPOINT:
        reason = f"{path.name} is not a checkpoint; give the checkpoint to fade-verify, too"
    else:
        try:
            return _checkpoint_upsamplers(result, options)
        except FadeDeployError as error:  # moved or changed since, or without torch: the rest of the page stands
            reason = str(error)
    return Section(title="What the upsamplers did", blocks=(Note(f"Left out: {reason}."),))


def _checkpoint_upsamplers(result: Verification, options: VerifyOptions | None) -> Section:
    torch = require("torch", extra="export")
    from fade_deploy.api.verify.checkpoint import deployed_checkpoint
    from fade_deploy.api.verify.options import VerifyOptions
    from fade_deploy.report.run_pictures import pictured
    from fade_deploy.report.upsamplers import upsampler_maps, upsampler_section
    from fade_deploy.verification.model_inputs import model_inputs

    shown = pictured(result)[0]
    assert shown.kept is not None
    model = deployed_checkpoint(
        Path(result.reference.file), {"task": result.task, "head": result.head}, options or VerifyOptions()
    )
    trimap = shown.kept.trimap
    tensors = model_inputs(
        shown.kept.picture[None],
        None if trimap is None else trimap[None],
        mean=model.recipe.mean,
        std=model.recipe.std,
        embed_preprocess=False,
    )
    deployed = model.deployed(model.model, model.head, embed_preprocess=False)
    given = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    return upsampler_section(upsampler_maps(model.model, lambda: deployed(**given)), source=shown.name)
