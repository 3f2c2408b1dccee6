"""Drives libfade_tensorrt under TensorRT-RTX: loads it in every way, parses and builds networks of one node. No GPU.

    python drive_tensorrt_rtx.py build/tensorrt/plugins/tensorrt/libfade_tensorrt.so

Needs numpy, onnx and tensorrt-rtx in the Python that runs it. One line for each check; the exit code is 1 where one
fails. A library that was built with the headers of TensorRT 10 must be refused, and that is checked instead.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from onnx import TensorProto, helper

DTYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
WAYS = ("load_library", "dlopen", "preload", "embedded")
FIRST_OF_RTX = 110000  # TensorRT-RTX has TensorRT 11's interfaces


class Operator:
    """An operator as the library itself describes it."""

    def __init__(self, line: str):
        words = line.split()
        arrow = words.index("->")
        self.name = words[0]
        self.inputs = dict(word.split(":") for word in re.findall(r"\w+:\[[^]]*\]", line))
        self.attributes = {
            key: int(value) for key, value in (word.split("=") for word in words[arrow + 2 :] if "=" in word)
        }

    def type_name(self, attributes: Mapping[str, int]) -> str:
        suffix = "".join(f"_{key[0]}{value}" for key, value in attributes.items())
        return self.name + ("" if attributes == self.attributes else suffix)

    def shapes(self, attributes: Mapping[str, int], n: int, c: int, h: int, w: int) -> dict[str, list[int]]:
        sizes = {"N": n, "C": c, "H": h, "W": w, "K": attributes["kernel_size"], "s": attributes["scale"]}
        sizes |= {"G": attributes.get("groups", 1), "T": attributes.get("terms", 1)}

        def size(text: str) -> int:
            product = 1
            for letter in text.removesuffix(" or 1").replace("*", ""):
                product *= sizes[letter] if letter in sizes else int(letter)
            return product

        return {key: [size(part) for part in shape.strip("[]").split(",")] for key, shape in self.inputs.items()}


def model(
    operator: Operator,
    shapes: Mapping[str, list[int]],
    dtype: int | Mapping[str, int] = TensorProto.FLOAT,
    *,
    attributes: Mapping[str, int] | None = None,
    stated: Mapping[str, object] | None = None,
    name: str | None = None,
    version: str = "1",
) -> bytes:
    """A file of one node without a body: nothing but the library makes a layer of it."""
    attributes = attributes or operator.attributes
    dtypes = dtype if isinstance(dtype, Mapping) else dict.fromkeys(operator.inputs, dtype)
    named = {key: [f"{key}_{i}" if size < 0 else size for i, size in enumerate(shape)] for key, shape in shapes.items()}
    inputs = [helper.make_tensor_value_info(key, dtypes[key], shape) for key, shape in named.items()]
    node = helper.make_node(
        name or operator.type_name(attributes), list(shapes), ["y"], name="the_node", domain="fade",
        plugin_namespace="fade", plugin_version=version, **(attributes if stated is None else stated),
    )  # fmt: skip
    output = helper.make_tensor_value_info("y", next(iter(dtypes.values())), None)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("fade", 1)]
    graph = helper.make_graph([node], "one_node", inputs, [output])
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


class Driver:
    """TensorRT-RTX with the library in it, and the account of the checks."""

    def __init__(self, library: Path):
        import tensorrt_rtx

        self.trt = trt = tensorrt_rtx
        self.library = library
        self.failed = 0

        class Log(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors: list[str] = []

            def log(self, severity, message: str) -> None:
                if severity <= trt.ILogger.Severity.ERROR:
                    self.errors.append(" ".join(message.split()))

        self.log = Log()
        self.builder = trt.Builder(self.log)
        self.registry = trt.get_plugin_registry()

    def check(self, right: bool, claim: str, told: str = "") -> None:
        self.failed += not right
        print(f"{'ok  ' if right else 'FAIL'} {claim}{': ' * bool(told)}{told}", flush=True)
        self.log.errors.clear()

    def parse(self, content: bytes):
        flags = 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = self.builder.create_network(flags)
        parser = self.trt.OnnxParser(network, self.log)
        parsed = parser.parse(content)
        self.log.errors += [" ".join(parser.get_error(i).desc().split()) for i in range(parser.num_errors)]
        return network if parsed else None

    def build(self, content: bytes, profile: tuple[dict, dict, dict] | None = None, embed: bool = False):
        """The network and the engine of a file, or None where there is none."""
        network = self.parse(content)
        if network is None:
            return None, None
        config = self.builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(self.trt.ComputeCapability.SM86, 0)
        if embed:
            config.plugins_to_serialize = [str(self.library)]
        if profile is not None:
            ranges = self.builder.create_optimization_profile()
            for key in profile[0]:
                ranges.set_shape(key, *(shapes[key] for shapes in profile))
            config.add_optimization_profile(ranges)
        return network, self.builder.build_serialized_network(network, config)

    def has(self, name: str) -> bool:
        return self.registry.get_creator(name, "1", "fade") is not None

    def refused(self, claim: str, content: bytes, told: str) -> None:
        _, engine = self.build(content)
        lines = [line for line in self.log.errors if told in line]
        self.check(
            engine is None and bool(lines), claim, lines[0] if lines else f"expected {told!r}, got {self.log.errors}"
        )


def operators(library: Path) -> dict[str, Operator]:
    content = ctypes.CDLL(str(library))
    content.fade_tensorrt_operators.restype = ctypes.c_char_p
    lines = content.fade_tensorrt_operators().decode().splitlines()
    return {operator.name: operator for operator in map(Operator, lines)}


def plugin_layers(driver: Driver, network) -> int:
    return sum(network.get_layer(i).type == driver.trt.LayerType.PLUGIN_V3 for i in range(network.num_layers))


def check_networks(driver: Driver, known: Mapping[str, Operator]) -> None:
    for operator in known.values():
        for changed in (
            {},
            {"kernel_size": 3, "scale": 4}
            | ({list(operator.attributes)[2]: 3} if len(operator.attributes) > 2 else {}),
        ):
            attributes = operator.attributes | changed
            s = attributes["scale"]
            for label, dtype in DTYPES.items():
                shapes = operator.shapes(attributes, 2, 6, 5, 7)
                network, engine = driver.build(model(operator, shapes, dtype, attributes=attributes))
                claim = f"{operator.type_name(attributes)}, {label}, fixed shapes"
                right = engine is not None and plugin_layers(driver, network) == 1
                right = right and tuple(network.get_output(0).shape) == (2, 6, 5 * s, 7 * s)
                driver.check(right, claim, "; ".join(driver.log.errors))

                open_ = {
                    key: [-1 if i in (0, 2, 3) and size > 1 else size for i, size in enumerate(shape)]
                    for key, shape in shapes.items()
                }
                profile = tuple(
                    operator.shapes(attributes, n, 6, side, side + 2) for n, side in ((1, 4), (2, 8), (4, 16))
                )
                network, engine = driver.build(model(operator, open_, dtype, attributes=attributes), profile)
                right = engine is not None and plugin_layers(driver, network) == 1
                right = right and tuple(network.get_output(0).shape) == (-1, 6, -1, -1)
                driver.check(right, claim.replace("fixed shapes", "a profile"), "; ".join(driver.log.errors))


def check_refusals(driver: Driver, known: Mapping[str, Operator]) -> None:
    upsample = known["FadeUpsample"]
    shapes = upsample.shapes(upsample.attributes, 2, 6, 4, 5)

    def refuse(claim: str, told: str, **how) -> None:
        driver.refused(f"refused: {claim}", model(upsample, **({"shapes": shapes} | how)), told)

    refuse(
        "an attribute that is missing",
        "FadeUpsample: attribute scale is missing, expected 2",
        stated={"kernel_size": 5},
    )
    refuse("no attribute", "FadeUpsample: attribute kernel_size is missing, expected 5", stated={})
    refuse(
        "a float", "attribute kernel_size is float32 of length 1, expected 5", stated={"kernel_size": 5.0, "scale": 2}
    )
    refuse("a text", "attribute kernel_size is text of length", stated={"kernel_size": "5", "scale": 2})
    refuse(
        "two integers", "attribute kernel_size is 2 integers, expected 5", stated={"kernel_size": [5, 5], "scale": 2}
    )
    refuse(
        "what the name does not mean", "attribute kernel_size is 3, expected 5", stated={"kernel_size": 3, "scale": 2}
    )
    refuse("out of range", "attribute scale is -2, expected 2", stated={"kernel_size": 5, "scale": -2})
    refuse("a name that is not offered", "Plugin not found", name="FadeUpsample_k9_s2")
    refuse("another version", "Plugin not found", version="2")
    refuse(
        "shapes that don't fit",
        "encoder is [2,5,8,10], expected [N,C,sH,sW] = [2,6,8,10]",
        shapes=shapes | {"encoder": [2, 5, 8, 10]},
    )
    refuse("three dimensions", "gate_logits is [2,4,5], expected [N,1,H,W]", shapes=shapes | {"gate_logits": [2, 4, 5]})
    refuse("int32", "decoder is int32, expected float32, float16 or bfloat16", dtype=TensorProto.INT32)
    mixed = dict.fromkeys(shapes, TensorProto.FLOAT16) | {"encoder": TensorProto.FLOAT}
    refuse("mixed types", "encoder is float32, expected float16, which decoder is", dtype=mixed)


def load(driver: Driver) -> bool:
    """Whether TensorRT loads the library; its binding raises where it does not."""
    try:
        return driver.registry.load_library(str(driver.library)) is not None
    except RuntimeError as error:
        driver.log.errors.append(str(error))
        return False


def by_load_library(driver: Driver) -> None:
    driver.check(not driver.has("FadeUpsample"), "before, the registry has no FadeUpsample")
    driver.check(load(driver), "load_library", "; ".join(driver.log.errors))
    ours = [creator for creator in driver.registry.all_creators if creator.plugin_namespace == "fade"]
    driver.check(len(ours) == len({creator.name for creator in ours}) > 100, f"{len(ours)} names are there, each once")
    known = operators(driver.library)
    check_networks(driver, known)
    check_refusals(driver, known)


def by_dlopen(driver: Driver) -> None:
    ctypes.CDLL(str(driver.library))
    driver.check(driver.has("FadeUpsample_k3_s1"), "dlopen after TensorRT: it registers itself")
    known = operators(driver.library)
    reassemble = known["FadeReassemble"]
    right = model(reassemble, reassemble.shapes(reassemble.attributes, 1, 4, 4, 4))
    driver.check(driver.build(right)[1] is not None, "and builds", "; ".join(driver.log.errors))
    wrong = model(reassemble, reassemble.shapes(reassemble.attributes, 1, 4, 4, 4), stated={})
    driver.refused("and its errors go to TensorRT's log", wrong, "FadeReassemble: attribute kernel_size is missing")
    driver.check(load(driver), "load_library of it after that", "; ".join(driver.log.errors))
    driver.check(driver.has("FadeUpsample_k3_s1"), "and it is there")


def by_preload(driver: Driver) -> None:
    driver.check(driver.has("FadeUpsample_k3_s1"), "LD_PRELOAD with FADE_TENSORRT_LIBRARY: it is registered")


def by_embedding(driver: Driver) -> None:
    driver.check(load(driver), "load_library", "; ".join(driver.log.errors))
    upsample = operators(driver.library)["FadeUpsample"]
    content = model(upsample, upsample.shapes(upsample.attributes, 1, 4, 4, 4))
    plain, embedding = driver.build(content)[1], driver.build(content, embed=True)[1]
    size = driver.library.stat().st_size
    right = plain is not None and embedding is not None and embedding.nbytes >= plain.nbytes + size // 2
    sizes = [0 if engine is None else engine.nbytes for engine in (plain, embedding)]
    driver.check(right, f"an engine of {sizes[0]} bytes takes {sizes[1]} with the library ({size}) in it")


def refused_by_headers(driver: Driver) -> None:
    loaded = load(driver)
    driver.check(
        not (loaded and driver.has("FadeUpsample")), "a library for TensorRT 10 brings no plugin to TensorRT-RTX"
    )


CHILDREN: dict[str, Callable[[Driver], None]] = {
    "load_library": by_load_library,
    "dlopen": by_dlopen,
    "preload": by_preload,
    "embedded": by_embedding,
    "refused": refused_by_headers,
}


def run_child(way: str, library: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """This script again, in a process that finds TensorRT-RTX under the name its parser looks for."""
    place = importlib.util.find_spec("tensorrt_rtx_libs").submodule_search_locations[0]
    rtx = Path(place, "libtensorrt_rtx.so.1")
    environment = os.environ | {"LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    if way == "preload":
        environment |= {"LD_PRELOAD": str(library), "FADE_TENSORRT_LIBRARY": str(rtx)}
    command = [sys.executable, __file__, str(library), way]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def main() -> int:
    library = Path(sys.argv[1]).resolve()
    if len(sys.argv) == 3:
        driver = Driver(library)
        CHILDREN[sys.argv[2]](driver)
        return 1 if driver.failed else 0
    headers = ctypes.CDLL(str(library)).fade_tensorrt_headers()
    ways = WAYS if headers >= FIRST_OF_RTX else ("refused",)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        place = importlib.util.find_spec("tensorrt_rtx_libs").submodule_search_locations[0]
        for name in ("libtensorrt_rtx.so", "libtensorrt_rtx.so.1"):
            Path(folder, name).symlink_to(Path(place, "libtensorrt_rtx.so.1"))
        for way in ways:
            finished = run_child(way, library, Path(folder))
            print(finished.stdout, end="")
            told = finished.stderr.count("does not fit TensorRT-RTX")
            wrong = finished.returncode != 0 or told != (way == "refused")  # once, not for each of its entries
            failed += wrong
            if wrong or told:
                outcome = "FAIL" if wrong else "ok  "
                print(f"{outcome} {way}: exit code {finished.returncode}, {finished.stderr.strip()}")
    print("FAILED" if failed else "PASSED", "headers of TensorRT", headers)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
