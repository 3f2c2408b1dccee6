"""Files loaded in each way that a benchmark runs them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fade_deploy.api.bench.ways import Loaded, Way
from fade_deploy.api.verify.runners import Kind, kind_of, precision_of
from fade_deploy.contract import Head, Task
from fade_deploy.errors import InputError
from fade_deploy.optional import require
from fade_deploy.precision import Precision
from fade_deploy.provider import Provider
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.deployed_metadata import deployed_metadata
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary, library_for
from fade_deploy.runtimes.native_operators import has_native_operators
from fade_deploy.runtimes.ort import ort_version, session_from_onnx
from fade_deploy.timing.bound_run import BoundEngine, BoundModule, BoundSession

__all__ = ["load", "native_way"]

_NO_WAITING = {"session.force_spinning_stop": "1"}  # else one session's workers spin while the next one runs
_RECORD = {"session.record_ep_graph_assignment_info": "1"}  # since onnxruntime 1.24
_LIBRARIES = {
    Provider.CPU: NativeLibrary.ONNXRUNTIME_CPU,
    Provider.CUDA: NativeLibrary.ONNXRUNTIME_CUDA,
}  # TensorRT's engines hold the function bodies
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


def load(way: Way) -> Loaded:
    """Load a file the way it is asked for.

    Raises:
        FadeDeployError: It can't be loaded, or fade-export did not write it.
    """
    match kind_of(Path(way.file)):
        case Kind.ONNX:
            return _session(way)
        case Kind.ENGINE:
            return _engine(way)
        case Kind.CHECKPOINT:
            return _checkpoint(way)
        case Kind.MANIFEST:
            raise InputError(f"{way.file} is a manifest, expected the file that lies beside it: give that one")


def native_way(loaded: Loaded, library: str) -> Way | None:
    """The same file with its provider's native operators; None where there are none, or the file has none for them.

    Raises:
        InputError: The library that was asked for is missing, or the file has no use for it.
    """
    own = None if loaded.session is None else _LIBRARIES.get(Provider(loaded.way.provider))
    found = None if own is None else library_for(library, own)
    if found is None:
        return None
    if not has_native_operators(Path(loaded.way.file)):
        if library != AUTOMATIC:
            raise InputError(
                f"{loaded.way.file} has no fade operator, so --library {library} does nothing: leave it out"
            )
        return None
    return dataclasses.replace(loaded.way, library=str(found))


def _session(way: Way) -> Loaded:
    start = time.perf_counter()
    provider = Provider(way.provider)
    session = session_from_onnx(
        Path(way.file),
        threads=way.threads,
        provider=provider,
        library=way.library,
        settings={**_NO_WAITING, **_RECORD},
    )
    seconds = time.perf_counter() - start
    facts = deployed_metadata(session, name=way.file)
    native = way.library != NONE
    image = next((given.shape for given in session.get_inputs() if given.name == "image"), None)
    if image is None or len(image) != 4:
        raise InputError(f"{way.file} has no input 'image' of 4 axes, expected a file of fade-export: export it again")
    rows = 1 if facts["embed_preprocess"] else 2
    batch, height, width = (size if isinstance(size, int) else None for size in (image[0], *image[rows : rows + 2]))
    head = Head(facts["head"])
    return Loaded(
        way=way,
        label=f"{provider} native" if native else str(provider),
        runtime=f"ONNX Runtime {ort_version()}, {provider}, {'native' if native else 'standard'} operators",
        precision=precision_of(facts),
        **_interface(facts),
        types={given.name: _TYPES.get(given.type, np.float32) for given in session.get_inputs()},
        sizes=(batch, height, width),
        native=native,
        session=session,
        bound=lambda inputs: BoundSession(session, inputs, head.output, provider),
        seconds=seconds,
    )


def _engine(way: Way) -> Loaded:
    from fade_deploy.runtimes.engine import load_engine

    start = time.perf_counter()
    engine = load_engine(Path(way.file), plugin=way.plugin)
    engine.runner.activate()
    seconds = time.perf_counter() - start
    facts = engine.manifest["metadata"]
    stated = engine.manifest["tensorrt"]
    edges = engine.manifest.get("profile")
    profile = tuple(Shape.parse(edges[name]) for name in ("min", "opt", "max")) if edges else ()
    fixed = None if profile else Shape.parse(facts["shape"])
    output = Head(facts["head"]).output
    return Loaded(
        way=way,
        label="engine",
        runtime=f"{stated['flavour']} {stated['version']}",
        precision=precision_of(facts),
        **_interface(facts),
        types={given["name"]: np.dtype(given["dtype"]) for given in engine.manifest["inputs"]},
        sizes=(None, None, None) if fixed is None else fixed.sizes,
        profile=profile,
        bound=lambda inputs: BoundEngine(engine.runner, inputs, output),
        seconds=seconds,
    )


def _checkpoint(way: Way) -> Loaded:
    torch = require("torch", extra="export")
    from fade_deploy.checkpoints.checkpoint import read_checkpoint
    from fade_deploy.checkpoints.recognise import model_from_checkpoint, recipe_for
    from fade_deploy.models.a2u_matting import A2UMatting
    from fade_deploy.models.deployed import DeployedMatting, DeployedSegmentation

    torch.set_num_threads(way.threads)
    start = time.perf_counter()
    read = read_checkpoint(Path(way.file), ema=way.ema)
    recipe = recipe_for(read, way.recipe)
    model = model_from_checkpoint(read, recipe)
    seconds = time.perf_counter() - start
    head = Head(way.head or model.TASK.heads[0])
    if head not in model.TASK.heads:
        raise InputError(f"{way.file} is a {model.TASK} model, the other files return {head}: give files of one task")
    kind = DeployedMatting if isinstance(model, A2UMatting) else DeployedSegmentation
    deployed = kind(model, head=head, recipe=recipe, embed_preprocess=way.embed_preprocess).eval()
    return Loaded(
        way=way,
        label="pytorch",
        runtime=f"PyTorch {torch.__version__}, eager, cpu",
        precision=Precision.FP32,
        task=model.TASK,
        head=head,
        embed_preprocess=way.embed_preprocess,
        mean=recipe.mean,
        std=recipe.std,
        check_size=model.check_size,
        bound=lambda inputs: BoundModule(deployed, inputs),
        seconds=seconds,
    )


def _interface(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": Task(facts["task"]),
        "head": Head(facts["head"]),
        "embed_preprocess": bool(facts["embed_preprocess"]),
        "mean": tuple(facts["mean"]),
        "std": tuple(facts["std"]),
        "multiple": int(facts["size_multiple"]),
    }
