"""Exported files become engines of TensorRT-RTX on a machine without a GPU: with the plugin and without, fp32 and fp16.

Nothing runs on a GPU here. What is claimed is that TensorRT's own parser and builder take the files, and what stands in
the network that they made.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from pathlib import Path

import pytest

from fade_deploy import contract
from fade_deploy.engines import build
from fade_deploy.engines.build import Built, build_engine
from fade_deploy.engines.build_job import BuildJob
from fade_deploy.engines.engine_from_graph import engine_from_graph
from fade_deploy.engines.graph_for_engine import GraphForEngine, graph_for_engine
from fade_deploy.engines.options import EngineOptions
from fade_deploy.engines.profile import ShapeProfile
from fade_deploy.errors import ExportError, InputError
from fade_deploy.precision import Precision, default_plan
from fade_deploy.runtimes.engine_flavour import Flavour
from tests.engines.conftest import FILES
from tests.engines.rtx import needs_rtx

pytestmark = needs_rtx
PROFILE = ShapeProfile.parse("1x64x64:1x256x256:2x512x512")
PRECISIONS = ("fp32", "fp16", pytest.param("bf16", marks=pytest.mark.slow))


def built(graph: GraphForEngine, folder: Path, *, with_plugin: bool, **options) -> Built:
    """Build for one architecture; with the Python twin registered in the worker, or without a plugin."""
    names = sorted(set(graph.plugin_nodes.values()))
    worker = (
        (sys.executable, "-m", "tests.engines.worker_with_plugin", ",".join(names)) if with_plugin else build.WORKER
    )
    engine, facts = engine_from_graph(
        graph,
        folder,
        EngineOptions(flavour=Flavour.RTX, compute_capabilities=("8.6",), **options),
        plugin=None,
        expects_plugin=with_plugin,
        worker=worker,
    )
    assert engine.stat().st_size > 10_000
    return facts


def read(path: Path, precision: str) -> GraphForEngine:
    plan = None if precision == "fp32" else default_plan(Precision(precision))
    return graph_for_engine(path, Flavour.RTX, plan)


def check_network(facts: Built, graph: GraphForEngine, precision: str, *, with_plugin: bool) -> None:
    plugins = [layer for layer in facts.network if layer.is_plugin]
    assert len(plugins) == (len(graph.plugin_nodes) if with_plugin else 0)
    computing = Counter(layer.precision for layer in facts.network if layer.kind in ("CONVOLUTION", "MATRIX_MULTIPLY"))
    assert computing[precision] == max(computing.values())
    if precision == "fp32":
        assert set(computing) == {"fp32"}
    else:
        kept = {layer.precision for layer in facts.network if layer.kind == "NORMALIZATION"}
        assert kept <= {"fp32"}


@pytest.mark.parametrize("with_plugin", [False, True], ids=["bodies", "plugin"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tiny_file_is_built(tiny_onnx, tmp_path, precision, with_plugin):
    graph = read(tiny_onnx, precision)
    assert graph.lowered_heads == 1
    operators = Counter(graph.plugin_nodes.values())
    assert operators == {"FadeUpsample": 3, "FadeAccumulate_k5_s2_t3": 1}
    facts = built(graph, tmp_path, with_plugin=with_plugin, profile=PROFILE)
    check_network(facts, graph, precision, with_plugin=with_plugin)
    assert facts.compute_capabilities == ("8.6",)
    assert facts.gpu is None
    assert facts.engine is None
    assert [entry["name"] for entry in facts.inputs] == ["image"]
    assert {entry["dtype"] for entry in (*facts.inputs, *facts.outputs)} == {"FLOAT"}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", FILES)
def test_file_of_released_size_is_built(exported_file, tmp_path, name, precision):
    graph = read(exported_file(name), precision)
    assert bool(graph.plugin_nodes) == ("bilinear" not in name)
    for with_plugin in (False, True) if graph.plugin_nodes else (False,):
        facts = built(graph, tmp_path, with_plugin=with_plugin, profile=PROFILE)
        check_network(facts, graph, precision, with_plugin=with_plugin)
        print(
            f"{name} {precision} {'plugin' if with_plugin else 'bodies'}: {len(facts.network)} layers, "
            f"{(tmp_path / 'engine').stat().st_size / 1e6:.1f} MB, {facts.seconds:.1f} s"
        )


def upsampler_file(name: str, folder: Path) -> Path:
    """One upsampler of the family as a file of its own, as its export's test makes it."""
    import onnx

    from tests.graph.test_family_export import exported

    _, proto = exported(name)
    entry = proto.metadata_props.add()
    entry.key, entry.value = contract.METADATA_KEY, json.dumps({"task": contract.OWN_MODULE})
    path = folder / f"{name}.onnx"
    onnx.save(proto, path)
    return path


@pytest.mark.slow
def test_every_upsampler_is_built(tmp_path):
    """One after the other in one test: exporting them is most of the time, and collecting them would import PyTorch."""
    from fade_deploy.ops.registry import UPSAMPLERS
    from tests.graph.test_family_export import channels_of

    for name in UPSAMPLERS:
        path, channels = upsampler_file(name, tmp_path), channels_of(name)
        for precision in ("fp32", "fp16"):
            graph = read(path, precision)
            sizes = {
                "encoder": tuple((n, channels, 2 * h, 2 * w) for n, h, w in ((1, 4, 4), (1, 16, 24), (2, 32, 32))),
                "decoder": tuple((n, channels, h, w) for n, h, w in ((1, 4, 4), (1, 16, 24), (2, 32, 32))),
            }
            for with_plugin in (False, True) if graph.plugin_nodes else (False,):
                model, engine = tmp_path / "graph.onnx", tmp_path / "engine"
                model.write_bytes(graph.data)
                options = EngineOptions(flavour=Flavour.RTX, compute_capabilities=("8.6",))
                job = BuildJob(model=model, engine=engine, options=options, sizes=sizes, plugin=None)
                names = ",".join(sorted(set(graph.plugin_nodes.values())))
                worker = (
                    (sys.executable, "-m", "tests.engines.worker_with_plugin", names) if with_plugin else build.WORKER
                )
                facts = build_engine(job, tmp_path, check=lambda network: None, worker=worker)
                plugins = sum(layer.is_plugin for layer in facts.network)
                assert plugins == (len(graph.plugin_nodes) if with_plugin else 0), (name, precision, with_plugin)
                print(f"{name} {precision} {'plugin' if with_plugin else 'bodies'}: {len(facts.network)} layers")


@pytest.mark.parametrize(
    ("precision", "lowest"),
    [("fp32", "8.0"), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("fp16", "7.5"), ("bf16", "8.0")))],
)
def test_engines_are_for_all_architectures_that_can_take_the_file(tiny_onnx, tmp_path, precision, lowest):
    graph = read(tiny_onnx, precision)
    options = EngineOptions(flavour=Flavour.RTX, profile=PROFILE)
    _, facts = engine_from_graph(graph, tmp_path, options, plugin=None, expects_plugin=False)
    known = ["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"]  # of TensorRT-RTX 1.7
    assert list(facts.compute_capabilities)[: len(known)] == known[known.index(lowest) :]
    assert any("not built for compute capability 7.5" in note for note in facts.notes) == (lowest != "7.5")


@pytest.mark.parametrize(("precision", "lacking"), [("fp32", "float32 products of matrices"), ("bf16", "bfloat16")])
def test_an_architecture_that_can_not_take_the_file_is_refused(tiny_onnx, tmp_path, precision, lacking):
    message = refused(read(tiny_onnx, precision), tmp_path, compute_capabilities=("7.5", "8.6"))
    assert f"has no {lacking} for compute capability 7.5: leave that out" in message


@pytest.mark.slow
def test_progress_is_logged_in_tenths(tiny_onnx, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, logger="fade_deploy"):
        built(read(tiny_onnx, "fp32"), tmp_path, with_plugin=False, profile=PROFILE)
    fractions = [record.fraction for record in caplog.records if hasattr(record, "fraction")]
    assert fractions
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert any(fraction == 1 for fraction in fractions)
    plain = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert 2 <= len(plain) <= 40


# --- what is refused, each in one line -----------------------------------------------------------------------------


def refused(graph: GraphForEngine, folder: Path, **options) -> str:
    with pytest.raises((ExportError, InputError)) as error:
        engine_from_graph(
            graph,
            folder,
            EngineOptions(flavour=Flavour.RTX, profile=PROFILE, **options),
            plugin=None,
            expects_plugin=False,
        )
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_capabilities": ("9.0",)}, "can't build for compute capability 9.0, expected some of 7.5, 8.0, 8.6"),
        ({"timing_cache": Path("x.cache")}, "has no --timing-cache"),
        ({"hardware_compatibility": "ampere+"}, "has no --hardware-compatibility ampere"),
        ({"version_compatible": True}, "has no --version-compatible"),
    ],
)
def test_an_option_that_rtx_lacks_is_one_line(tiny_onnx, tmp_path, options, message):
    assert message in refused(read(tiny_onnx, "fp32"), tmp_path, **options)


def test_a_plugin_that_is_asked_for_and_not_there_fails(tiny_onnx, tmp_path):
    with pytest.raises(ExportError, match="the plugin was asked for and the network has no plugin layer for node"):
        engine_from_graph(
            read(tiny_onnx, "fp32"),
            tmp_path,
            EngineOptions(flavour=Flavour.RTX, profile=PROFILE, compute_capabilities=("8.6",)),
            plugin=None,
            expects_plugin=True,
        )


def test_a_plugin_that_was_not_asked_for_fails(tiny_onnx, tmp_path):
    graph = read(tiny_onnx, "fp32")
    names = ",".join(sorted(set(graph.plugin_nodes.values())))
    with pytest.raises(ExportError, match="no plugin was asked for and there is one"):
        engine_from_graph(
            graph,
            tmp_path,
            EngineOptions(flavour=Flavour.RTX, profile=PROFILE, compute_capabilities=("8.6",)),
            plugin=None,
            expects_plugin=False,
            worker=(sys.executable, "-m", "tests.engines.worker_with_plugin", names),
        )


def test_a_library_that_is_none_is_one_line(tiny_onnx, tmp_path):
    library = tmp_path / "libfade_tensorrt.so"
    library.write_bytes(b"not a library")
    with pytest.raises(InputError, match=r"libfade_tensorrt.so can't be loaded by TensorRT .*, expected the library"):
        engine_from_graph(
            read(tiny_onnx, "fp32"),
            tmp_path,
            EngineOptions(flavour=Flavour.RTX, profile=PROFILE),
            plugin=library,
            expects_plugin=True,
        )


def altered(tiny_onnx: Path, folder: Path, change) -> GraphForEngine:
    """The tiny file after a change of its protobuf."""
    import onnx

    proto = onnx.load(tiny_onnx)
    change(proto)
    path = folder / "altered.onnx"
    onnx.save(proto, path)
    return graph_for_engine(path, Flavour.RTX)


def test_an_operator_without_body_and_plugin_is_named(tiny_onnx, tmp_path):
    def without_bodies(proto) -> None:
        head = next(function for function in proto.functions if function.name == "FadeHead")
        del proto.functions[:]
        proto.functions.append(head)

    message = refused(altered(tiny_onnx, tmp_path, without_bodies), tmp_path)
    assert "has no plugin for node 'node_upsample' (FadeUpsample) and the file has no function body" in message


def test_an_operator_that_tensorrt_lacks_is_named(tiny_onnx, tmp_path):
    def with_determinant(proto) -> None:
        node = next(node for node in proto.graph.node if node.op_type == "Softmax")
        node.op_type = "Det"  # takes one tensor, too, and no TensorRT has it
        del node.attribute[:]

    message = refused(altered(tiny_onnx, tmp_path, with_determinant), tmp_path)
    assert "(Det)" in message
    assert "can't take node" in message


# --- the child process -------------------------------------------------------------------------------------------


def job(graph: GraphForEngine, folder: Path) -> BuildJob:
    model = folder / "graph.onnx"
    model.write_bytes(graph.data)
    options = EngineOptions(flavour=Flavour.RTX, compute_capabilities=("8.6",))
    sizes = {given.name: PROFILE.sizes_for(given) for given in graph.inputs}
    return BuildJob(model=model, engine=folder / "engine", options=options, sizes=sizes, plugin=None)


def test_a_crash_is_one_line_with_what_the_process_said(tiny_onnx, tmp_path):
    worker = (
        sys.executable,
        "-c",
        "import os, sys; print('terminate called', file=sys.stderr, flush=True); os.abort()",
    )
    with pytest.raises(
        ExportError, match=r"TensorRT-RTX ended its process while building \(SIGABRT: terminate called\)"
    ):
        build_engine(job(read(tiny_onnx, "fp32"), tmp_path), tmp_path, check=print, worker=worker)


def test_a_crash_amid_a_line_is_one_line(tiny_onnx, tmp_path):
    worker = (sys.executable, "-c", 'import os; os.write(1, b\'{"event": "par\'); os.abort()')
    with pytest.raises(ExportError, match=r"TensorRT-RTX ended its process while building \(SIGABRT\)"):
        build_engine(job(read(tiny_onnx, "fp32"), tmp_path), tmp_path, check=print, worker=worker)


def test_a_bug_of_ours_keeps_its_traceback(tiny_onnx, tmp_path):
    worker = (sys.executable, "-c", "raise ValueError('ours')")
    with pytest.raises(RuntimeError, match="ValueError: ours"):
        build_engine(job(read(tiny_onnx, "fp32"), tmp_path), tmp_path, check=print, worker=worker)


def test_the_child_dies_with_its_parent(tmp_path):
    import os
    import signal
    import subprocess
    import time

    # A parent that is killed at once after it has started a worker, which would wait for a job forever.
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'fade_deploy.engines.build_worker'], stdin=subprocess.PIPE)\n"
        "time.sleep(2)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(50):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if "Z" in Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]:
            return  # dead, and not yet collected by init
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the worker lived on")
