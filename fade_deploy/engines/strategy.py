"""What is different between the TensorRTs when an engine is built: one object for TensorRT 10, 11 and TensorRT-RTX.

All three are told nothing of precision: the graph is typed, and every network is created ``STRONGLY_TYPED``. (TensorRT
11 knows nothing else; in 10, and in RTX, the flag keeps the builder from choosing other types.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fade_deploy.engines.layers import Layer
from fade_deploy.engines.options import EngineOptions, HardwareCompatibility
from fade_deploy.errors import ExportError
from fade_deploy.runtimes.engine_flavour import Flavour, major_minor

__all__ = ["STRATEGIES", "Strategy", "check_options", "strategy_for"]

_MIB = 1 << 20
_TURING = "7.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How one TensorRT builds; the booleans say what it has."""

    name: str
    flavour: Flavour
    major: int
    needs_gpu: bool  # to build: kernels are timed on it
    has_timing_cache: bool
    has_version_compatibility: bool
    has_refit: bool
    embeds_plugin_only_version_compatible: bool
    has_compute_capabilities: bool
    hardware_levels: Mapping[HardwareCompatibility, str]  # -> name in trt.HardwareCompatibilityLevel

    def check(self, options: EngineOptions) -> None:
        """Refuse options that this TensorRT does not have.

        Raises:
            ExportError: The message names the first.
        """
        if options.hardware_compatibility not in self.hardware_levels:
            given = f"--hardware-compatibility {options.hardware_compatibility}"
            raise ExportError(
                f"{self.name} has no {given}: leave it out; its engines run on every GPU of --compute-capability"
            )
        if options.timing_cache is not None and not self.has_timing_cache:
            raise ExportError(f"{self.name} times nothing while it builds, so it has no --timing-cache: leave it out")
        if options.version_compatible and not self.has_version_compatibility:
            raise ExportError(f"{self.name} has no --version-compatible: leave it out")
        if options.refit and not self.has_refit:
            raise ExportError(f"{self.name} builds engines that can be refitted on a GPU only: leave --refit out")
        if options.compute_capabilities and not self.has_compute_capabilities:
            raise ExportError(
                f"{self.name} builds for the GPU it runs on and has no --compute-capability: leave it out, or build "
                "with --format tensorrt-rtx"
            )
        if options.embed_plugin and self.embeds_plugin_only_version_compatible and not options.version_compatible:
            raise ExportError(
                f"{self.name} embeds plugins in version-compatible engines only: give --version-compatible, too, or "
                "leave --embed-plugin out"
            )

    def network(self, trt: ModuleType, builder: Any) -> Any:
        """An empty network whose types are those of the graph."""
        return builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))

    def config(
        self, trt: ModuleType, builder: Any, options: EngineOptions, capabilities: Sequence[str], plugin: Path | None
    ) -> Any:
        """The builder's configuration, without its profile.

        Args:
            trt: The module of ``flavour``.
            builder: Its ``Builder``.
            options: Checked.
            capabilities: From :meth:`capabilities_for`.
            plugin: The library that is embedded where the options say so.
        """
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector then tells each layer's types
        config.clear_flag(trt.BuilderFlag.TF32)  # float32 is float32; what may have 11 bits is asked for as fp16
        if options.workspace_mib:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
        if options.refit:
            config.set_flag(trt.BuilderFlag.REFIT)
        if options.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if options.hardware_compatibility is not HardwareCompatibility.NONE:
            level = self.hardware_levels[options.hardware_compatibility]
            config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
        if options.embed_plugin and plugin is not None:
            config.plugins_to_serialize = [str(plugin)]
        if self.has_compute_capabilities:
            members = _members(trt)
            config.num_compute_capabilities = len(capabilities)
            for index, capability in enumerate(capabilities):
                config.set_compute_capability(members[capability], index)
        return config

    def capabilities_for(
        self, trt: ModuleType, asked: Sequence[str], layers: Iterable[Layer]
    ) -> tuple[list[str], list[str]]:
        """The compute capabilities to build for, in ascending order, and what is to be said of the choice.

        Args:
            trt: The module of ``flavour``.
            asked: By the user; empty: all that can take the network.
            layers: Of the network.

        Raises:
            ExportError: One that was asked for is unknown, or can't take the network.
        """
        if not self.has_compute_capabilities:
            return [], []
        known, title = list(_members(trt)), f"{self.name} {trt.__version__}"
        for capability in asked:
            if capability not in known:
                raise ExportError(
                    f"{title} can't build for compute capability {capability}, expected some of {', '.join(known)}; "
                    "for a data-centre GPU build with --format tensorrt on that GPU"
                )
        chosen = [capability for capability in known if not asked or capability in asked]
        lacking = _lacking_on_turing(layers)
        if lacking and _TURING in chosen:
            if asked:
                raise ExportError(
                    f"{title} has no {lacking} for compute capability {_TURING}: leave that out of "
                    "--compute-capability, or give --precision fp16"
                )
            chosen.remove(_TURING)
            return chosen, [f"not built for compute capability {_TURING}: {title} has no {lacking} for it"]
        return chosen, []


def _members(trt: ModuleType) -> dict[str, Any]:
    """Compute capability such as ``8.6`` -> TensorRT-RTX's member for it, in ascending order."""
    members = trt.ComputeCapability.__members__
    numbers = sorted((int(name[2:]), name) for name in members if name.startswith("SM"))
    return {f"{number // 10}.{number % 10}": members[name] for number, name in numbers}


def _lacking_on_turing(layers: Iterable[Layer]) -> str:
    """What of a network TensorRT-RTX 1.7 can't build for Turing; empty where it can."""
    layers = list(layers)
    if any("bf16" in (*layer.inputs, *layer.outputs) for layer in layers):
        return "bfloat16"
    if any(layer.kind == "MATRIX_MULTIPLY" and "fp32" in layer.outputs for layer in layers):
        return "float32 products of matrices"
    return ""


_ON_ONE_GPU = {
    HardwareCompatibility.NONE: "NONE",
    HardwareCompatibility.AMPERE_PLUS: "AMPERE_PLUS",
    HardwareCompatibility.SAME_COMPUTE_CAPABILITY: "SAME_COMPUTE_CAPABILITY",
}


def _tensorrt(major: int) -> Strategy:
    return Strategy(
        name=f"TensorRT {major}",
        flavour=Flavour.TENSORRT,
        major=major,
        needs_gpu=True,
        has_timing_cache=True,
        has_version_compatibility=True,
        has_refit=True,
        embeds_plugin_only_version_compatible=True,
        has_compute_capabilities=False,
        hardware_levels=_ON_ONE_GPU,
    )


STRATEGIES = (
    _tensorrt(10),
    _tensorrt(11),
    Strategy(
        name="TensorRT-RTX",
        flavour=Flavour.RTX,
        major=1,
        needs_gpu=False,
        has_timing_cache=False,  # its functions are there and do nothing
        has_version_compatibility=False,
        has_refit=False,  # ahead of time it ends in "CHECK(status == CUDA_SUCCESS) failed" (1.7.1)
        embeds_plugin_only_version_compatible=False,
        has_compute_capabilities=True,
        hardware_levels={HardwareCompatibility.NONE: "NONE"},
    ),
)


def check_options(options: EngineOptions) -> None:
    """Refuse what no TensorRT of the asked flavour has, before it is known which version is installed.

    Raises:
        ExportError: As :meth:`Strategy.check`.
    """
    next(strategy for strategy in reversed(STRATEGIES) if strategy.flavour is options.flavour).check(options)


def strategy_for(flavour: Flavour, version: str) -> Strategy:
    """The strategy of an installed TensorRT of that flavour, whose version was checked.

    Raises:
        ValueError: No strategy is for that major version.
    """
    major, _ = major_minor(version)
    for strategy in STRATEGIES:
        if (strategy.flavour, strategy.major) == (flavour, major):
            return strategy
    raise ValueError(f"no strategy for {flavour} {version}")
