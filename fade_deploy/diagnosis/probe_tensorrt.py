"""Probe of TensorRT and TensorRT-RTX. In a process of its own; see ``probe``."""

from __future__ import annotations

import ctypes
import importlib

from fade_deploy import contract
from fade_deploy.diagnosis.probe import Tell
from fade_deploy.diagnosis.proof_model import proof_model
from fade_deploy.runtimes.engine_log import TensorRTLog, logger_for

__all__ = ["RTX_LIBRARY", "tensorrt"]

RTX_LIBRARY = "libtensorrt_rtx.so"


def tensorrt(tell: Tell, module: str, plugins: str) -> None:
    """Import it, make a builder, parse the proof model, and register the plugins of a library.

    Args:
        tell: Takes the facts.
        module: ``tensorrt`` or ``tensorrt_rtx``.
        plugins: Path of the plugin library; empty: none.
    """
    trt = importlib.import_module(module)
    tell(version=str(trt.__version__))
    if module == "tensorrt_rtx":
        tell(plain_name_found=_is_found(RTX_LIBRARY))
    log = TensorRTLog()
    logger = logger_for(trt, log)
    try:
        builder = trt.Builder(logger)
    except Exception as error:  # without a GPU TensorRT makes none, and the binding raises TypeError
        tell(builder=False, builder_fault=log.errors[-1] if log.errors else " ".join(str(error).split()))
    else:
        tell(builder=True)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(proof_model(body=True)):
            raise RuntimeError("; ".join(str(parser.get_error(index).desc()) for index in range(parser.num_errors)))
        tell(layers=network.num_layers)
    if plugins:
        registry = trt.get_plugin_registry()
        log.errors.clear()
        registry.load_library(plugins)
        names = [operator.name for operator in contract.OPERATORS if operator is not contract.HEAD]
        version = str(contract.VERSION)
        found = [name for name in names if registry.get_creator(name, version, contract.DOMAIN) is not None]
        tell(plugins=len(found), plugins_wanted=len(names), plugin_fault=log.errors[-1] if log.errors else "")


def _is_found(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
