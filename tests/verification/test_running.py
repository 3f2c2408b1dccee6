"""Polygraphy's runners and files, as its own users know them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata

from fade_deploy.errors import InputError
from fade_deploy.verification.agreement import SCORES
from fade_deploy.verification.running import RunFailure, run_one, save_inputs, save_outputs

IMAGE = np.zeros((1, 3, 4, 4), np.float32)


class Raising(BaseRunner):  # type: ignore[misc]
    """Fails as it is told to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(name="raising", prefix="raising")
        self.error = error

    def get_input_metadata_impl(self) -> TensorMetadata:
        return TensorMetadata().add("image", dtype=np.dtype(np.float32), shape=(-1, 3, -1, -1))

    def infer_impl(self, feed_dict: dict[str, Any]) -> dict[str, Any]:
        raise self.error


def test_what_a_runtime_can_not_compute_is_a_result() -> None:
    with pytest.raises(RunFailure, match=r"^no kernel for it$"):
        run_one(Raising(InputError("no kernel\n for it")), {"image": IMAGE})


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("Failed to allocate memory for 5 bytes")])
def test_too_little_memory_is_told_to_the_user(error: BaseException) -> None:
    with pytest.raises(InputError, match=r"takes more memory at .1, 3, 4, 4.*give smaller --shapes"):
        run_one(Raising(error), {"image": IMAGE})


def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(KeyError):
        run_one(Raising(KeyError("x")), {"image": IMAGE})


def test_polygraphy_reads_what_is_saved(tmp_path: Path) -> None:
    logits = np.arange(6, dtype=np.float32).reshape(1, 6)
    save_outputs(tmp_path / "outputs.json", {"pytorch": {"logits": logits, SCORES: logits}, "ort": {"logits": logits}})
    save_inputs(tmp_path / "inputs.json", {"image": IMAGE})
    for name, told in (
        ("outputs.json", ["pytorch", "ort", "logits [dtype=float32, shape=(1, 6)]"]),
        ("inputs.json", ["image"]),
    ):
        finished = subprocess.run(
            [str(Path(sys.executable).with_name("polygraphy")), "inspect", "data", name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        for words in told:
            assert words in finished.stdout
        assert "class_scores" not in finished.stdout
