"""What a user can ask of an engine."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fade_deploy.engines.profile import ShapeProfile
from fade_deploy.errors import ExportError
from fade_deploy.runtimes.engine_flavour import Flavour
from fade_deploy.runtimes.native_libraries import AUTOMATIC

__all__ = ["EngineOptions", "HardwareCompatibility", "reproducing_flags"]

_MOST_WORKSPACE = 1 << 24  # MiB: 16 TiB, more than any GPU has


class HardwareCompatibility(StrEnum):
    """On which GPUs, other than the one it is built on, an engine of TensorRT is to run."""

    NONE = "none"  # on that model of GPU
    AMPERE_PLUS = "ampere+"  # Ampere and newer
    SAME_COMPUTE_CAPABILITY = "same-compute-capability"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to build an engine; everything that changes its bytes but the precision, which is a property of the graph."""

    flavour: Flavour = Flavour.TENSORRT
    profile: ShapeProfile | None = None  # None: the file's own fixed size, else a default
    workspace_mib: int = 0  # of memory that a layer may use meanwhile; 0: all that the GPU has
    timing_cache: Path | None = None  # read where it is there, and written back
    hardware_compatibility: HardwareCompatibility = HardwareCompatibility.NONE
    version_compatible: bool = False  # runs on later versions of the same major one
    refit: bool = False  # weights can be replaced without building
    plugin: str = AUTOMATIC  # auto: the installed library where there is one; none; or its path
    embed_plugin: bool = False  # the library's code travels in the engine
    compute_capabilities: tuple[str, ...] = ()  # TensorRT-RTX: such as "8.6"; empty: all that it knows
    force: bool = False

    def __post_init__(self) -> None:
        """Refuse what no GPU has.

        Raises:
            ExportError: The message names the option.
        """
        if not 0 <= self.workspace_mib <= _MOST_WORKSPACE:
            raise ExportError(
                f"--workspace {self.workspace_mib} is not within 0 to {_MOST_WORKSPACE}: give the MiB that a layer may "
                "use, or leave it out"
            )
        for capability in self.compute_capabilities:
            if not re.fullmatch(r"[1-9]\d?\.\d", capability):
                digits = re.search(r"(?<![.\d])(\d{1,2})(\d)$", capability)  # as CUDA's compilers have them: 86, sm_86
                meant = f"give {digits[1]}.{digits[2]}" if digits else "give some such as 8.6,12.0, or leave it out"
                raise ExportError(f"--compute-capability '{capability}' is not of the form X.Y: {meant}")


def reproducing_flags(options: EngineOptions) -> str:
    """The flags of ``fade-export`` that ask for these options, without those that are the default."""
    words = ["--format", str(options.flavour)]
    defaults = EngineOptions()
    for flag, given, default in (
        ("--profile", str(options.profile or ""), ""),
        ("--workspace", str(options.workspace_mib), str(defaults.workspace_mib)),
        ("--timing-cache", options.timing_cache.name if options.timing_cache else "", ""),
        ("--hardware-compatibility", options.hardware_compatibility, defaults.hardware_compatibility),
        ("--plugin", Path(options.plugin).name, defaults.plugin),
        ("--compute-capability", ",".join(options.compute_capabilities), ""),
    ):
        if given != default:
            words += [flag, given]
    for flag, on in (
        ("--version-compatible", options.version_compatible),
        ("--refit", options.refit),
        ("--embed-plugin", options.embed_plugin),
    ):
        if on:
            words.append(flag)
    return shlex.join(words)
