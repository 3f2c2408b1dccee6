"""The shipped entries are well-formed, and each of their patterns finds its nodes and no others."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fade_deploy.diagnosis.file_rows import known_bad_rows
from fade_deploy.diagnosis.known_bad import KnownBad, load_known_bad, matching_nodes
from fade_deploy.diagnosis.onnx_file import read_onnx
from fade_deploy.diagnosis.row import Status
from tests.diagnosis.test_onnx_file import graph_model, saved

KNOWN = load_known_bad()
HALF, FULL = np.float16, np.float32


def entry_of(thread: str) -> KnownBad:
    """The entry with a thread that ends so."""
    [entry] = [entry for entry in KNOWN if any(url.endswith(thread) for url in entry.threads)]
    return entry


def layer_norm(start: str = "x") -> list[onnx.NodeProto]:
    """LayerNorm in single operators, as exporters write it below opset 17."""
    steps = [
        ("ReduceMean", [start], "mean"),
        ("Sub", [start, "mean"], "centred"),
        ("Pow", ["centred", "two"], "squared"),
        ("ReduceMean", ["squared"], "variance"),
        ("Add", ["variance", "epsilon"], "shifted"),
        ("Sqrt", ["shifted"], "deviation"),
        ("Div", ["centred", "deviation"], "normal"),
    ]
    return [helper.make_node(operator, inputs, [output], name=operator) for operator, inputs, output in steps]


def convolution(output: str = "y", *, group: int | None = None, weight: str = "w") -> onnx.NodeProto:
    stated = {} if group is None else {"group": group}
    return helper.make_node("Conv", ["x", weight], [output], name="conv", **stated)


def residual(*operators: str) -> list[onnx.NodeProto]:
    """A convolution, then one operator after the other; each also takes the input."""
    nodes = [convolution("t0")]
    for index, operator in enumerate(operators):
        inputs = [f"t{index}"] if operator == "Relu" else [f"t{index}", "x"]
        stated = {"axis": 1} if operator == "Concat" else {}
        nodes.append(helper.make_node(operator, inputs, [f"t{index + 1}"], **stated))
    return nodes


WEIGHTS = {dtype: {"w": np.zeros((4, 1, 1, 1), dtype)} for dtype in (HALF, FULL)}
NORM = {"two": np.array(2.0, HALF), "epsilon": np.array(1e-5, HALF)}
IN_HALF = {"dtype": TensorProto.FLOAT16}
CONDITION = helper.make_graph(
    [helper.make_node("Relu", ["x"], ["inner"])], "branch", [], [helper.make_tensor_value_info("inner", 1, None)]
)

# Thread of the entry, a model, how many nodes it finds there.
PATTERN_CASES = [
    ("issues/4838", graph_model([convolution(group=4)], initializers=WEIGHTS[HALF], **IN_HALF), 1),
    ("issues/4838", graph_model([convolution(group=4)], initializers=WEIGHTS[FULL]), 0),
    ("issues/4838", graph_model([convolution(group=1)], initializers=WEIGHTS[HALF], **IN_HALF), 0),
    ("issues/4838", graph_model([convolution()], initializers=WEIGHTS[HALF], **IN_HALF), 0),
    ("issues/4854", graph_model(residual("Relu", "Add", "Concat"), initializers=WEIGHTS[HALF], **IN_HALF), 1),
    ("issues/4854", graph_model(residual("Relu", "Add", "Concat"), initializers=WEIGHTS[FULL]), 0),
    ("issues/4854", graph_model(residual("Relu", "Concat"), initializers=WEIGHTS[HALF], **IN_HALF), 0),
    ("issues/4493", graph_model([helper.make_node("LayerNormalization", ["x", "s"], ["y"])], **IN_HALF), 1),
    ("issues/4493", graph_model([helper.make_node("LayerNormalization", ["x", "s"], ["y"])]), 0),
    ("issues/4646", graph_model([helper.make_node("GridSample", ["x", "g"], ["y"])], opset=20), 1),
    ("issues/4646", graph_model([helper.make_node("GridSample", ["x", "g"], ["y"])], opset=18), 0),
    ("issues/3657", graph_model(layer_norm(), opset=16, initializers=NORM, **IN_HALF), 1),
    ("issues/3657", graph_model(layer_norm(), opset=17, initializers=NORM, **IN_HALF), 0),
    ("issues/3657", graph_model(layer_norm(), opset=16), 0),
    ("issues/3657", graph_model(layer_norm()[:-1], opset=16, initializers=NORM, **IN_HALF), 0),
    ("issues/176", graph_model(layer_norm(), opset=18, initializers=NORM, **IN_HALF), 1),
    ("issues/176", graph_model(layer_norm(), opset=16, initializers=NORM, **IN_HALF), 0),
    ("issues/12786", graph_model([helper.make_node("Col2Im", ["x", "i", "b"], ["y"])]), 1),
    ("issues/12786", graph_model([helper.make_node("Col2Im", ["x"], ["y"], domain="other")]), 0),
    ("pull/783", graph_model([helper.make_node("If", ["c"], ["y"], then_branch=CONDITION, else_branch=CONDITION)]), 1),
    ("pull/783", graph_model([helper.make_node("Loop", ["x"], ["y"], body=CONDITION)]), 1),
    ("pull/783", graph_model([helper.make_node("Scan", ["x"], ["y"], body=CONDITION)]), 1),
    ("pull/783", graph_model([helper.make_node("Relu", ["x"], ["y"])]), 0),
]
# Thread of the entry, what is installed, whether it is about that.
VERSION_CASES = [
    ("pull/24367", {"tensorrt": "10.2.0.post1"}, True),
    ("pull/24367", {"tensorrt": "10.2.0.19"}, True),
    ("pull/24367", {"tensorrt": "10.20.0.1"}, False),
    ("issues/4723", {"tensorrt": "10.3.0"}, True),
    ("issues/4742", {"tensorrt": "10.4.0b1"}, True),
    ("issues/4742", {"tensorrt": "10.16.1.11"}, False),
    ("issues/4742", {"tensorrt-rtx": "10.4.0"}, False),
    ("issues/4742", {"tensorrt": "what is this"}, False),
    ("issues/4838", {"tensorrt": "11.2.1.2"}, True),
    ("issues/4838", {"tensorrt": "11.4.0.106"}, False),
    ("api/migration/", {"onnxruntime-gpu": "1.26.0", "tensorrt": "11.1.0.106"}, True),
    ("api/migration/", {"onnxruntime-gpu": "1.27.0", "tensorrt": "11.1.0.106"}, False),
    ("api/migration/", {"onnxruntime-gpu": "1.26.0", "tensorrt": "10.16.1.11"}, False),
    ("api/migration/", {"onnxruntime-gpu": "1.26.0"}, False),
    ("issues/2534", {"onnxruntime-gpu": "1.31.1", "cuda driver": "12.4"}, True),
    ("issues/2534", {"onnxruntime-gpu": "1.31.1", "cuda driver": "13.0"}, False),
    ("issues/2534", {"onnxruntime-gpu": "1.24.4", "cuda driver": "12.4"}, False),
    ("pull/64410", {"onnxscript": "0.5.7"}, True),
    ("pull/64410", {"onnxscript": "0.7.2"}, False),
]


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: entry.threads[0].split("/", 3)[-1])
def test_an_entry_says_what_happens_where_it_is_told_and_what_to_do(entry: KnownBad) -> None:
    assert entry.package == entry.package.lower()
    assert entry.what[0].islower()
    assert not entry.what.endswith(".")
    assert entry.remedy
    assert entry.threads
    for url in entry.threads:
        parts = urlsplit(url)
        assert parts.scheme == "https"
        assert parts.netloc in {"github.com", "docs.nvidia.com"}
        assert parts.netloc != "github.com" or parts.path.split("/")[3] in {"issues", "pull"}


def test_every_pattern_and_every_version_has_its_case() -> None:
    threads = {case[0] for case in PATTERN_CASES}
    for entry in KNOWN:
        cases = threads if entry.pattern else {case[0] for case in VERSION_CASES}
        assert any(url.endswith(thread) for url in entry.threads for thread in cases), entry.what


@pytest.mark.parametrize(("thread", "model", "count"), PATTERN_CASES)
def test_a_pattern_finds_its_nodes(tmp_path: Path, thread: str, model: onnx.ModelProto, count: int) -> None:
    pattern = entry_of(thread).pattern
    assert pattern is not None
    assert len(matching_nodes(pattern, read_onnx(saved(tmp_path, model)))) == count


@pytest.mark.parametrize(("thread", "versions", "concerned"), VERSION_CASES)
def test_a_version_is_concerned_or_not(thread: str, versions: dict[str, str], concerned: bool) -> None:
    assert entry_of(thread).concerns(versions) is concerned


def test_a_pattern_is_found_inside_branches_and_function_bodies(tmp_path: Path) -> None:
    grid = helper.make_node("GridSample", ["a", "g"], ["b"])
    function = helper.make_function("other", "Warp", ["a", "g"], ["b"], [grid], [helper.make_opsetid("", 20)])
    branch = helper.make_graph([grid], "branch", [], [helper.make_tensor_value_info("b", 1, None)])
    nodes = [
        helper.make_node("Warp", ["x", "g"], ["y"], domain="other"),
        helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch),
    ]
    file = read_onnx(saved(tmp_path, graph_model(nodes, opset=20, functions=(function,))))
    pattern = entry_of("issues/4646").pattern
    assert pattern is not None
    assert len(matching_nodes(pattern, file)) == 3


def test_a_file_is_a_fault_with_what_is_installed_and_a_word_with_what_is_not(tmp_path: Path) -> None:
    file = read_onnx(saved(tmp_path, graph_model([convolution(group=4)], initializers=WEIGHTS[HALF], **IN_HALF)))
    [bad] = known_bad_rows("m.onnx", file, KNOWN, {"tensorrt": "11.2.1.2"})
    assert (bad.status, bad.version) == (Status.BAD_VERSION, "11.2.1.2")
    assert bad.found.startswith("'conv': it can't build grouped float16 convolutions")
    assert bad.thread == "https://github.com/NVIDIA/TensorRT/issues/4838"
    [good] = known_bad_rows("m.onnx", file, KNOWN, {"tensorrt": "11.4.0.106"})
    assert good.status is Status.OK
    [told] = known_bad_rows("m.onnx", file, KNOWN, {})
    assert told.status is Status.MISSING
    assert told.found.startswith("not installed here; tensorrt ==11.2.1.* can't build")


def test_our_own_exports_meet_nothing(tmp_path: Path, tiny_onnx: Path) -> None:
    file = read_onnx(tiny_onnx)
    assert [entry.what for entry in KNOWN if entry.pattern and matching_nodes(entry.pattern, file)] == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('versions = ""', "holds for every version and every file"),
        ('versions = "=>1"', "=>1"),
        ('surprise = "!"', "unknown keys"),
        ('pattern = { opset = ">=20" }', "lacks"),
        ('pattern = { operators = ["Conv"], dtype = "half" }', "dtype 'half'"),
    ],
)
def test_a_malformed_entry_is_refused(tmp_path: Path, change: str, expected: str) -> None:
    lines = {
        "package": 'package = "p"',
        "versions": 'versions = "==1"',
        "what": 'what = "fails"',
        "threads": 'threads = ["https://github.com/a/b/issues/1"]',
        "remedy": 'remedy = "leave it"',
    }
    lines[change.split(" ")[0]] = change
    path = tmp_path / "known_bad.toml"
    path.write_text("[[known_bad]]\n" + "\n".join(lines.values()))
    with pytest.raises(ValueError, match=expected):
        load_known_bad(path)
