"""Probes of onnxruntime: sessions that run. In a process of their own; see ``probe``."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

import numpy as np

from fade_deploy import contract
from fade_deploy.diagnosis.onnx_file import without_functions
from fade_deploy.diagnosis.probe import Tell
from fade_deploy.diagnosis.proof_model import OUTPUT, expected_output, proof_inputs, proof_model
from fade_deploy.runtimes.native_libraries import NONE, register
from fade_deploy.runtimes.ort import output_of, session_from_onnx
from fade_deploy.runtimes.providers import chosen, execution_providers

__all__ = ["file", "operators", "session"]


def session(tell: Tell, provider: str) -> None:
    """The proof model in standard operators on one provider."""
    ort = importlib.import_module("onnxruntime")
    tell(version=str(ort.__version__), listed=ort.get_available_providers())
    tell(works=_computes_right(provider, library=NONE, body=True))


def operators(tell: Tell, provider: str, path: str) -> None:
    """The proof model without its body, which only a library's operators can run."""
    tell(works=_computes_right(provider, library=path, body=False))


def file(tell: Tell, model: str, provider: str, library: str) -> None:
    """Load a file as it is by default, with a library if there is one, and then without its fade operators' bodies."""
    session_from_onnx(Path(model), provider=provider, library=library or NONE)
    tell(loads=True)
    if not library:
        return
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 4  # it raises what it would say
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # nothing is run
    register(options, Path(library))
    try:
        bare = without_functions(Path(model), contract.DOMAIN)
        ort.InferenceSession(bare, options, providers=execution_providers(chosen(provider)), enable_fallback=0)
    except Exception as error:  # onnxruntime's own exceptions have no common parent below Exception
        tell(native=False, native_fault=" ".join(str(error).split()))
    else:
        tell(native=True)


def _computes_right(provider: str, *, library: str, body: bool) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "proof.onnx")
        path.write_bytes(proof_model(body=body))
        loaded = session_from_onnx(path, threads=1, provider=provider, library=library)
        output = output_of(loaded, OUTPUT, proof_inputs(), name="the proof model")
    return isinstance(output, np.ndarray) and np.array_equal(output, expected_output())
