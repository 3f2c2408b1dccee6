"""Write the public names of TensorRT's Python bindings, of a wheel or of what is installed, without TensorRT.

``python -m tests.engines.record_bindings tensorrt_cu13_bindings-11.4.0.106-cp311-....whl`` (needs cc; pip download
fetches the wheel), or with ``tensorrt_rtx`` for the installed package. Writes ``bindings/NAME-VERSION.json``: class ->
names of its public attributes, the module itself as "". Names only, nothing else of the package is kept.

The bindings are real, the libraries that they are linked to are not in any index: stubs of the nine functions that
they want are enough to import them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).with_name("bindings")
STUBS = {
    "nvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "nvinfer_plugin": ("initLibNvInferPlugins",),
    "nvonnxparser": (
        "createNvOnnxParserRefitter_INTERNAL",
        "createNvOnnxParser_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}
DUMP = """
import importlib, inspect, json, sys
module = importlib.import_module(sys.argv[1])
names = {"": sorted(name for name in dir(module) if not name.startswith("_"))}
for name in names[""]:
    value = getattr(module, name)
    if inspect.isclass(value):
        names[name] = sorted(attribute for attribute in dir(value) if not attribute.startswith("_"))
print(json.dumps({"version": module.__version__, "names": names}))
"""


def public_names(module: str, environment: dict[str, str]) -> dict:
    """What a fresh interpreter sees of a module: its version and its classes' names."""
    finished = subprocess.run(
        [sys.executable, "-c", DUMP, module], env={**os.environ, **environment}, capture_output=True, text=True
    )
    if finished.returncode:
        raise SystemExit(f"{module} can't be imported:\n{finished.stderr}")
    return json.loads(finished.stdout)


def stub_libraries(folder: Path, major: str) -> None:
    """The libraries that the bindings are linked to, with functions that return nothing."""
    for library, functions in STUBS.items():
        source = folder / f"{library}.c"
        source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in functions))
        name = f"lib{library}.so.{major}"
        subprocess.run(
            ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)], check=True
        )


def of_wheel(wheel: Path) -> tuple[str, dict]:
    """Name and public names of a wheel with bindings."""
    found = re.match(r"(tensorrt_cu\d+_bindings)-(\d+)\.", wheel.name)
    if found is None:
        raise SystemExit(f"{wheel.name} is no wheel of TensorRT's bindings")
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        stub_libraries(Path(folder), found[2])
        return "tensorrt", public_names("tensorrt_bindings", {"LD_LIBRARY_PATH": folder, "PYTHONPATH": folder})


def main(argument: str) -> None:
    name, document = of_wheel(Path(argument)) if argument.endswith(".whl") else (argument, public_names(argument, {}))
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(document["names"].items()))
    path = FOLDER / f"{name}-{document['version']}.json"
    path.write_text(f'{{"version": {json.dumps(document["version"])}, "names": {{\n{lines}\n}}}}\n')
    print(f"{path}: {len(document['names'])} classes")


if __name__ == "__main__":
    main(sys.argv[1])
