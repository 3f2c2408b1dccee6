"""A Triton model repository: one model with its configuration, written as a whole or not at all.

::

    REPO/NAME/config.pbtxt          what Triton reads
    REPO/NAME/1/model.onnx          or model.plan, or model.py with model.onnx
    REPO/NAME/labels.txt            for clients: the name of class i in line i + 1
    REPO/NAME/native/libfade_*.so   where it was asked for
    REPO/README.md                  how to start the server and how to ask it
    REPO/fade-triton.json           what this is; by it the folder is known as ours

Triton takes every folder of a repository for a model, so the library lies inside the model's, where it reads only
config.pbtxt and the folders that are numbers.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fade_deploy import artefact
from fade_deploy.errors import ExportError
from fade_deploy.runtimes.engine_manifest import read_manifest
from fade_deploy.runtimes.engine_plugin import library_for_engine
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary, library_for
from fade_deploy.runtimes.ort import ort_version
from fade_deploy.serve.triton_config import LABELS, config_text, max_batch_size
from fade_deploy.serve.triton_engine import interface_of_engine
from fade_deploy.serve.triton_interface import Interface
from fade_deploy.serve.triton_onnx import interface_of_onnx
from fade_deploy.serve.triton_options import Backend, Instance, TritonOptions, model_name
from fade_deploy.serve.triton_readme import readme_text
from fade_deploy.version import __version__

__all__ = ["check_repository", "write_repository"]

_MANIFEST = "fade-triton.json"
_PYTHON_MODEL = Path(__file__).with_name("triton_model.py")


def check_repository(target: Path, options: TritonOptions) -> None:
    """Refuse, before any work is done, a target that can't be written or is somebody else's, and a missing library.

    Raises:
        OutputError: It exists without ``force``, was not written by fade-export, or holds more than that wrote.
        InputError: The library is no file.
        ExportError: The installed library was asked for, and none is installed.
    """
    artefact.check_folder(target, force=options.force, manifest=_MANIFEST)
    if options.backend is not Backend.TENSORRT:
        _operators(options)


def write_repository(source: Path, target: Path, options: TritonOptions) -> dict[str, Any]:
    """Write a repository that serves ``source``.

    Args:
        source: An ``.onnx`` file of fade-export, or for backend ``tensorrt`` an engine with its manifest beside it.
        target: The repository's folder.
        options: How the model is served.

    Returns:
        The content of ``fade-triton.json``.

    Raises:
        FadeDeployError: The source is not what it should be, the options don't fit it, or the target can't be written;
            what was there before is untouched.
    """
    check_repository(target, options)
    name = model_name(options.name or source.name.split(".")[0])
    engine = options.backend is Backend.TENSORRT
    if engine:
        interface = interface_of_engine(source, options.warmup)
    else:
        interface = interface_of_onnx(source, options.warmup, threads=options.threads)
    library = _plugin(source, options.library) if engine else _operators(options)
    copied = f"native/{library.name}" if library else ""
    copies = {f"{name}/1/{'model.plan' if engine else 'model.onnx'}": source}
    texts = {
        f"{name}/config.pbtxt": config_text(name, interface, options, library=copied),
        "README.md": readme_text(name, interface, options, library=copied),
    }
    if options.backend is Backend.PYTHON:
        copies[f"{name}/1/model.py"] = _PYTHON_MODEL
    if library:
        copies[f"{name}/{copied}"] = library
    if classes := interface.metadata.get("classes"):
        texts[f"{name}/{LABELS}"] = "".join(" ".join(label.split()) + "\n" for label in classes)
    with artefact.staged_folder(target) as folder:
        with artefact.explained(target):
            for path in (*copies, *texts):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
            for path, original in copies.items():
                shutil.copyfile(original, folder / path)
            for path, text in texts.items():
                (folder / path).write_text(text, encoding="utf-8")
            document = _manifest(name, source, interface, options, folder)
            (folder / _MANIFEST).write_bytes(artefact.json_bytes(document))
        artefact.publish_folder(folder, target)
    return document


def _plugin(source: Path, choice: str) -> Path | None:
    """The plugin library that an engine needs beside it."""
    option = "--native; in Python, library"
    library = library_for_engine(source, read_manifest(source), choice, option=option)
    if library is None and choice not in (AUTOMATIC, NONE):
        raise ExportError(
            f"{source} needs no plugin library beside it, so {choice} would do nothing ({option}): leave it out"
        )
    return library


def _operators(options: TritonOptions) -> Path | None:
    """The native operators for ONNX Runtime to copy in."""
    choice = options.library
    if options.backend is Backend.PYTHON and choice in (AUTOMATIC, NONE):
        return None  # of the server's own installation, or none at all
    cpu = options.instance is Instance.CPU
    kind = NativeLibrary.ONNXRUNTIME_CPU if cpu else NativeLibrary.ONNXRUNTIME_CUDA
    library = library_for(choice, kind)
    if library is None and choice == AUTOMATIC:
        raise ExportError(f"library auto: {kind} is not installed here; give its path, or none to run without")
    return library


def _manifest(name: str, source: Path, interface: Interface, options: TritonOptions, folder: Path) -> dict[str, Any]:
    """What the folder is, free of times and of folders elsewhere."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "kind": "triton repository",
        "model": name,
        "backend": str(options.backend),
        "instance": str(options.instance),
        "source": {"file": source.name, "sha256": artefact.sha256_of(source), "bytes": source.stat().st_size},
        "inputs": [asdict(tensor) for tensor in interface.inputs],
        "outputs": [asdict(tensor) for tensor in interface.outputs],
        "max_batch_size": max_batch_size(interface, options),
        "warmup": [{key: list(shape) for key, shape in shapes.items()} for shapes in interface.warmup],
        "run_with": None if interface.plan else f"ONNX Runtime {ort_version()}, CPU",  # at each of these sizes
        "tensorrt": interface.plan.tensorrt if interface.plan else None,
        "metadata": dict(interface.metadata),
        "versions": {"fade-deploy": __version__},
        "files": {str(path.relative_to(folder)): artefact.sha256_of(path) for path in files},
    }
