"""Whether this machine can export and run, every row proven by a real run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fade_deploy.diagnosis.examination import TIME_LIMIT, Examination
from fade_deploy.diagnosis.row import Diagnosis, Row, Status

__all__ = ["Diagnosis", "Row", "Status", "doctor"]


def doctor(
    model: Path | str | None = None, *, libraries: Sequence[Path | str] = (), time_limit: float = TIME_LIMIT
) -> Diagnosis:
    """Examine this machine; nothing is written, installed or sent.

    Each package is imported, each provider of onnxruntime runs a model and each native library is used, all at once, in
    processes of their own that a crash or a hang ends alone.

    Args:
        model: An ``.onnx`` file that is looked into and loaded as well.
        libraries: Native libraries that are examined as well; where one is ours, the model is loaded with it.
        time_limit: Seconds that one probe may take.

    Returns:
        The rows; ``faults`` are those of what is installed and does not work.

    Raises:
        InputError: The model is no ONNX file, or a library can't be read.
    """
    return Examination(
        model=None if model is None else Path(model),
        libraries=tuple(Path(library) for library in libraries),
        time_limit=time_limit,
    ).diagnosis()
