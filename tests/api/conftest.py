"""Fixtures of several files here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from tests.api.planted_faults import one_more, with_weights


@pytest.fixture(scope="session")
def changed_onnx(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_onnx`` with one weight of a backbone stage changed; not to be changed."""
    target = tmp_path_factory.mktemp("changed") / "changed.onnx"
    return with_weights(tiny_onnx, target, {"backbone.block2.0.attn.sr.weight": one_more})


@dataclass(frozen=True, slots=True)
class StandIn:
    """An engine that is none, and the plugins that it was loaded with."""

    path: Path
    plugins: list[Any] = field(default_factory=list)


@pytest.fixture
def engine(tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """``tiny_onnx`` with a profile on ONNX Runtime, in the place of TensorRT, which needs a GPU: what is asked of an
    engine, not what it computes.
    """
    from polygraphy.backend.onnxrt import OnnxrtRunner

    from fade_deploy.runtimes import engine as engines
    from fade_deploy.runtimes.ort import session_from_onnx

    stand_in = StandIn(tmp_path / "tiny.engine")
    stand_in.path.write_bytes(b"engine")
    (properties,) = onnx.load(tiny_onnx).metadata_props
    manifest = {
        "tensorrt": {"flavour": "tensorrt", "version": "11.4"},
        "profile": {"min": "1x64x64", "opt": "2x64x96", "max": "2x96x96"},
        "metadata": json.loads(properties.value),
    }

    def load_engine(path: Path, *, plugin: Any) -> SimpleNamespace:
        stand_in.plugins.append(plugin)
        return SimpleNamespace(manifest=manifest, runner=OnnxrtRunner(session_from_onnx(tiny_onnx, library="none")))

    monkeypatch.setattr(engines, "load_engine", load_engine)
    return stand_in
