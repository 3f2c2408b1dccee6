"""A user's own module as a verified ONNX file with our operators."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fade_deploy import contract
from fade_deploy.api.export.manifest import file_facts
from fade_deploy.api.export.module_interface import Interface, checked_interface, checked_module, tensor_fault
from fade_deploy.api.export.verified_file import ExportResult, check_target, publish_verified
from fade_deploy.errors import ExportError, InputError
from fade_deploy.graph.onnx_from_model import GraphOptions, onnx_from_model
from fade_deploy.runtimes.native_libraries import AUTOMATIC
from fade_deploy.tolerances import tolerance
from fade_deploy.verification.inputs import VerificationInput

__all__ = ["export_module"]

logger = logging.getLogger(__name__)

# In the names of the upsamplers that fade_deploy.swap_upsamplers knows, or in what their compiled functions raise.
_UPSAMPLERS = re.compile("carafe|fade|semishift|indexblock|updown|upsampl|sapa", re.IGNORECASE)
# How torch.export speaks of a dimension that can't have every size.
_SIZES = re.compile(r"Constraints violated|specializ|Expected shape\[|not in VR\[|Mod\(")


def export_module(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    output: Path | str,
    *,
    outputs: Sequence[str] = ("output",),
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    multiples: Mapping[str, int] | None = None,
    opset: int = 18,
    standard_ops: bool = False,
    tolerance_name: str = "ORT_CPU_OWN_MODULE",
    library: str = AUTOMATIC,
    force: bool = False,
) -> ExportResult:
    """Turn any module into one ``.onnx`` file that is checked against eager PyTorch before it gets its name.

    The module is compared on the given inputs and, where axes are dynamic, on noise at half and at a larger size; it
    must run at these. Floats may differ by the tolerance, integers and booleans not at all. The given tensors stay as
    they are. For CARAFE and its relatives inside, see :func:`fade_deploy.swap_upsamplers` and
    :func:`fade_deploy.carafe_replaced`.

    Args:
        module: In eval mode, on the CPU; takes the inputs by position.
        inputs: Name in the file -> example.
        output: Path of the file.
        outputs: Names of what the module returns: one tensor, or a tuple or list of them.
        dynamic_axes: Input name -> axis -> name of the dimension, as ``{"image": {0: "batch", 2: "height", 3:
            "width"}}``. Axes of one name have one size. By default every size is the example's.
        multiples: Name of a dimension -> what its sizes are multiples of, as ``{"height": 32, "width": 32}``.
        opset: Of the file.
        standard_ops: Inline the function bodies.
        tolerance_name: Of :mod:`fade_deploy.tolerances`.
        library: Native operators to verify with, besides standard ones: ``auto``, the installed ones, if there are;
            ``none``; or a library's path.
        force: Replace existing files.

    Returns:
        The file's path and what was measured. Where ``passed`` is False the runtimes disagree, and the file is kept as
        ``STEM.unverified.onnx``: look at it before you use ``path``.

    Raises:
        FadeDeployError: The user can mend it; nothing was written.
    """
    if not isinstance(output, str | Path):
        raise InputError(
            f"output is of type {type(output).__name__}, expected a path: export_module(module, inputs, 'model.onnx')"
        )
    target = Path(output)
    check_target(target, opset=opset, library=library, force=force)
    checked_module(module)
    interface = checked_interface(inputs, outputs, dynamic_axes or {}, multiples or {})
    bound = tolerance(tolerance_name)

    def eager(**tensors: Tensor) -> dict[str, Tensor]:
        return _run(module, interface, tensors)

    batches = _verification_inputs(interface)
    for batch in batches:  # a module that does not run has nothing to be compared with
        with torch.no_grad():
            eager(**{name: torch.from_numpy(array.copy()) for name, array in batch.tensors.items()})

    start = time.perf_counter()
    graph = _graph(module, interface, opset=opset, standard_ops=standard_ops)
    logger.info("export: opset %d, %d nodes (%.1f s)", opset, len(graph.graph), time.perf_counter() - start)
    facts = {
        "task": contract.OWN_MODULE,
        "model": type(module).__name__,
        **file_facts(
            shape="dynamic" if interface.sizes else _shape(interface.inputs), opset=opset, standard_ops=standard_ops
        ),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }
    return publish_verified(
        graph,
        facts,
        target,
        eager=eager,
        outputs=interface.outputs,
        inputs=batches,
        bound=bound,
        library=library,
        manifest_facts={"verification": "full", "reproduce": "fade_deploy.export_module, from the user's own code"},
    )


def _run(module: nn.Module, interface: Interface, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The module's outputs by name, or one line on why they can't be compared with those of a file."""
    name, shape = type(module).__name__, _shape(tensors)
    with _watched(module) as running:
        try:
            result = module(*(tensors[name] for name in interface.inputs))
        except Exception as error:
            if shape == _shape(interface.inputs):
                remedy = _remedy(module, running, error)
                raise ExportError(
                    f"{_where(module, running)} raises at {shape}: {_reason(error)}; "
                    f"expected a module that runs on the CPU and takes the inputs by position: {remedy}"
                ) from error
            raise ExportError(
                f"{_where(module, running)} raises at {shape}: {_reason(error)}; expected a module that runs at every "
                "size of its dynamic axes: state their multiples, give a larger example, or leave them out of "
                "dynamic_axes"
            ) from error
    returned = (result,) if isinstance(result, Tensor) else result
    if not isinstance(returned, tuple | list):
        raise ExportError(
            f"{name} returns {type(result).__name__}, expected a tensor or a tuple of tensors: wrap it in a module "
            "whose forward returns these"
        )
    if odd := [type(part).__name__ for part in returned if not isinstance(part, Tensor)]:
        raise ExportError(
            f"{name} returns a {type(result).__name__} with {odd[0]}, expected tensors only: wrap it in a module whose "
            "forward returns these"
        )
    if len(returned) != len(interface.outputs):
        raise InputError(
            f"{name} returns {len(returned)} tensors, outputs names {len(interface.outputs)} "
            f"({', '.join(interface.outputs)}), expected a name for each: give them as outputs"
        )
    named = dict(zip(interface.outputs, returned, strict=True))
    for output, tensor in named.items():
        if fault := tensor_fault(tensor):
            raise ExportError(f"output '{output}' of {name} at {shape} {fault}")
    return named


def _verification_inputs(interface: Interface) -> list[VerificationInput]:
    batches = [VerificationInput(shape=_shape(interface.inputs), source="given", tensors=_arrays(interface.inputs))]
    if not interface.sizes:
        return batches
    multiples = interface.multiples
    half = {dim: max(size // multiples[dim] // 2, 1) * multiples[dim] for dim, size in interface.sizes.items()}
    # An odd number of multiples more, so that both halves of every "if size % 2" are met.
    larger = _distinct(
        {dim: size + multiples[dim] for dim, size in interface.sizes.items()},
        {dim: 2 * multiple for dim, multiple in multiples.items()},
    )
    for sizes in (half, larger):
        noise = _noise(interface, sizes)
        batches.append(VerificationInput(shape=_shape(noise), source="noise", tensors=_arrays(noise)))
    return batches


def _graph(module: nn.Module, interface: Interface, *, opset: int, standard_ops: bool) -> Any:
    # Near the example's sizes, which the module can run at. Those that are equal or 1 the exporter takes for constants.
    traced = _distinct(
        {dim: max(size, 2 * interface.multiples[dim]) for dim, size in interface.sizes.items()}, interface.multiples
    )
    options = GraphOptions(
        outputs=dict.fromkeys(interface.outputs),
        dynamic_axes=interface.axes,
        dimensions={
            dim: multiple * torch.export.Dim(f"multiples{i}", min=1)
            for i, (dim, multiple) in enumerate(interface.multiples.items())
            if multiple > 1
        },
        opset=opset,
        standard_ops=standard_ops,
    )
    with _watched(module) as running:
        try:
            # Other values than those compared: what the exporter takes for a constant then disagrees.
            return onnx_from_model(module, _noise(interface, traced), options)
        except torch.onnx.OnnxExporterError as error:
            cause = error.__cause__ or error
            raise ExportError(
                f"{_where(module, running)} can't be exported: {_reason(cause)}; "
                f"expected operations that torch.export follows: {_remedy(module, running, cause)}"
            ) from error


def _distinct(sizes: Mapping[str, int], steps: Mapping[str, int]) -> dict[str, int]:
    """Each size, or the next one by its step that none before it has."""
    distinct: dict[str, int] = {}
    for dim, size in sizes.items():
        while size in distinct.values():
            size += steps[dim]
        distinct[dim] = size
    return distinct


def _noise(interface: Interface, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Seeded noise like the examples, with other sizes; integers and booleans in the example's range."""
    floats, integers = torch.Generator().manual_seed(0), np.random.default_rng(0)  # only numpy's reach the largest one
    noise = {}
    for name, x in interface.inputs.items():
        dims = interface.axes.get(name, {})
        shape = [sizes[dims[axis]] if axis in dims else size for axis, size in enumerate(x.shape)]
        if x.is_floating_point():
            noise[name] = torch.randn(shape, generator=floats).to(x.dtype)
        else:
            values = integers.integers(int(x.min()), int(x.max()), shape, np.int64, endpoint=True)
            noise[name] = torch.as_tensor(values).to(x.dtype)
    return noise


def _arrays(inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: x.numpy().copy() for name, x in inputs.items()}


def _shape(inputs: Mapping[str, Tensor]) -> str:
    return ", ".join("x".join(map(str, x.shape)) or "scalar" for x in inputs.values())


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[str]]:
    """Paths of the modules that are running, outermost first; after an exception, of those that were."""
    running: list[str] = []
    hooks = []
    for path, inner in module.named_modules():
        hooks.append(inner.register_forward_pre_hook(lambda *_, path=path: running.append(path)))
        hooks.append(inner.register_forward_hook(lambda *_: (running.pop(), None)[1]))
    try:
        yield running
    finally:
        for hook in hooks:
            hook.remove()


def _where(module: nn.Module, running: Sequence[str]) -> str:
    path = running[-1] if running else ""
    return f"'{path}' ({type(module.get_submodule(path)).__name__})" if path else type(module).__name__


def _reason(error: BaseException) -> str:
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def _remedy(module: nn.Module, running: Sequence[str], error: BaseException) -> str:
    """What to do about an error, as far as its words and the names of the modules tell."""
    reason = _reason(error)
    classes = [type(module.get_submodule(path)) for path in running]
    names = [kind.__name__ for kind in classes if not kind.__module__.startswith("fade_deploy.")]
    if _UPSAMPLERS.search(" ".join([*names, reason])):
        return (
            "replace an upsampler with fade_deploy.swap_upsamplers, a carafe function with fade_deploy.carafe_replaced"
        )
    if isinstance(error, MemoryError) or "allocate memory" in reason:
        return "give a smaller example"
    if _SIZES.search(reason):
        return "state multiples of the dynamic dimensions, or leave those of one size out of dynamic_axes"
    return "rewrite that part, or leave it out of the module"
