"""Exported files for the builds: each exported once a session, from golden weights, as a user would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

# file -> how the network is made; 'B1' and friends are of the released sizes.
FILES = {
    "b0_fade": ("segformer", "mit_b0", "fade"),
    "b1_fade": ("segformer", "mit_b1", "fade"),
    "b0_fade_lite": ("segformer", "mit_b0", "fade_lite"),
    "b0_bilinear": ("segformer", "mit_b0", "bilinear"),
    "matting_fade": ("matting", "fade"),
}


@pytest.fixture(scope="session")
def exported_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The ``.onnx`` file of one of ``FILES``, float32, of dynamic size, with its function bodies."""
    folder = tmp_path_factory.mktemp("exported")

    def path_of(name: str) -> Path:
        target = folder / f"{name}.onnx"
        if not target.exists():
            _export(name, target)
        return target

    return path_of


def _export(name: str, target: Path) -> None:
    import torch

    from fade_deploy.api.export.export import export
    from fade_deploy.api.export.options import ExportOptions
    from tests import golden_weights

    kind, *arguments = FILES[name]
    model = getattr(golden_weights, kind)(*arguments)
    checkpoint = target.with_suffix(".pth")
    torch.save(model.state_dict(), checkpoint)
    result = export(checkpoint, target, ExportOptions(full_verification=False))
    assert result.passed
