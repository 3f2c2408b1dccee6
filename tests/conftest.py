"""Fixtures shared by several test folders. PyTorch is imported inside them only: some tests prove its absence."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.command_line import Finished, run

if TYPE_CHECKING:
    from fade_deploy.api.export.verified_file import ExportResult

TINY_CLASSES = ("sky", "sea", "sand", "rock")

# Wherever the tests run: no colours, no terminal width, no language of the machine in what commands print.
for _name in ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "COLUMNS", "TERMINAL_WIDTH"):
    os.environ.pop(_name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest comes first: two processes then end at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_released_sizes.py")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SegFormer with FADE of 0.3 million seeded weights, in the container that mmsegmentation writes."""
    import torch

    from fade_deploy.models.mix_transformer import MixTransformerConfig
    from fade_deploy.models.segformer import SegFormer, SegFormerConfig

    torch.manual_seed(0)
    backbone = MixTransformerConfig(widths=(16, 32, 40, 64), depths=(1, 1, 1, 1), heads=(1, 2, 5, 8))
    model = SegFormer(SegFormerConfig(backbone=backbone, embed_width=32, classes=4, upsampler="fade"))
    stated = {"heads": [1, 2, 5, 8], "block_norm_eps": 1e-6, "embed_norm_eps": 1e-5}
    path = tmp_path_factory.mktemp("tiny") / "tiny.pth"
    torch.save({"meta": {"CLASSES": TINY_CLASSES, "fade_deploy": stated}, "state_dict": model.state_dict()}, path)
    return path


@pytest.fixture(scope="session")
def tiny_export(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """``tiny_checkpoint`` exported once, by the API: logits, dynamic, compared at the recipe's quick shapes."""
    from fade_deploy.api.export.export import export
    from fade_deploy.api.export.options import ExportOptions

    folder = tmp_path_factory.mktemp("tiny_export")
    return export(tiny_checkpoint, folder / "tiny.onnx", ExportOptions(full_verification=False))


@pytest.fixture(scope="session")
def tiny_onnx(tiny_export: ExportResult) -> Path:
    """The file of ``tiny_export``; not to be changed."""
    return tiny_export.path


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What the manifest's command wrote elsewhere, and what it said."""

    folder: Path
    finished: Finished


@pytest.fixture(scope="session")
def tiny_export_reproduced(
    tiny_export: ExportResult, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Reproduced:
    """The command that the manifest of ``tiny_export`` states, run as somebody else, elsewhere, with ``--json``."""
    folder = tmp_path_factory.mktemp("somewhere else")
    shutil.copy(tiny_checkpoint, folder)
    words = shlex.split(tiny_export.document["reproduce"])
    stranger = {"HOME": str(tmp_path_factory.mktemp("home")), "USER": "stranger", "LOGNAME": "stranger"}
    # Not this process's seed, whatever that is: any other order of sets and dicts must give the same bytes.
    seed = str((int(os.environ.get("PYTHONHASHSEED", "0").replace("random", "0")) + 4711) % 2**32)
    finished = run(*words, "--json", cwd=folder, environment={**stranger, "PYTHONHASHSEED": seed})
    assert finished.code == 0, finished.err
    return Reproduced(folder, finished)
