"""Probes of Python packages. In a process of their own; see ``probe``."""

from __future__ import annotations

import importlib

from fade_deploy.diagnosis.probe import Tell
from fade_deploy.diagnosis.proof_model import OUTPUT, expected_output, proof_inputs, proof_model

__all__ = ["onnx", "package", "torch", "triton_client"]


def package(tell: Tell, module: str) -> None:
    """Import it."""
    imported = importlib.import_module(module)
    tell(version=str(getattr(imported, "__version__", "")), works=True)


def torch(tell: Tell) -> None:
    """Import it and multiply, on the CPU and on a GPU where it has one."""
    imported = importlib.import_module("torch")
    tell(version=str(imported.__version__), cuda=imported.version.cuda or "")
    tell(works=_multiplies(imported, "cpu"))
    if imported.version.cuda:
        try:
            imported.cuda.init()
            right = _multiplies(imported, "cuda")
            tell(gpu=imported.cuda.get_device_name(0), cuda_fault="" if right else "it multiplies wrongly")
        except Exception as error:  # CUDA's failures are RuntimeErrors, a missing symbol is an AttributeError
            tell(gpu="", cuda_fault=" ".join(str(error).split()))


def _multiplies(imported: object, device: str) -> bool:
    ones = getattr(imported, "ones")  # noqa: B009 - torch is not a type here
    product = ones(2, 3, device=device) @ ones(3, 4, device=device)
    return bool((product == 3).all())


def onnx(tell: Tell) -> None:
    """Import it, check the proof model and run it on the reference evaluator."""
    imported = importlib.import_module("onnx")
    tell(version=str(imported.__version__))
    model = imported.load_model_from_string(proof_model(body=True))
    imported.checker.check_model(model, full_check=True)
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(model)
    [output] = evaluator.run([OUTPUT], proof_inputs())
    tell(works=bool((output == expected_output()).all()))


def triton_client(tell: Tell) -> None:
    """Import both clients and read a model's configuration."""
    imported = importlib.import_module("tritonclient")
    tell(version=str(getattr(imported, "__version__", "")))
    told = {}
    for protocol in ("http", "grpc"):
        try:
            importlib.import_module(f"tritonclient.{protocol}")
        except (ImportError, RuntimeError) as error:  # it raises either where an extra of its own is missing
            told[protocol] = " ".join(str(error).split())
    tell(without=told)
    if "grpc" not in told:
        configuration = importlib.import_module("tritonclient.grpc.model_config_pb2").ModelConfig()
        importlib.import_module("google.protobuf.text_format").Parse('name: "proof"', configuration)
        tell(works=configuration.name == "proof")
