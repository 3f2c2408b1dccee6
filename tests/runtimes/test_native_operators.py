"""Which files have nodes for a native library, told by what is in them."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.inliner

from fade_deploy.runtimes.native_operators import has_native_operators


def test_a_file_has_our_operators_where_its_nodes_name_them(tiny_onnx: Path, tmp_path: Path) -> None:
    assert has_native_operators(tiny_onnx)
    inlined = tmp_path / "inlined.onnx"
    onnx.save(onnx.inliner.inline_local_functions(onnx.load(tiny_onnx)), inlined)
    assert not has_native_operators(inlined)
