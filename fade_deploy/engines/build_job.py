"""What the process that builds is told, as JSON on its standard input."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fade_deploy.engines.options import EngineOptions, HardwareCompatibility
from fade_deploy.runtimes.engine_flavour import Flavour

__all__ = ["BuildJob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildJob:
    """One build: which graph, to which file, how."""

    model: Path | None  # None: TensorRT is asked whether it could build so, and nothing is built
    engine: Path  # overwritten
    options: EngineOptions  # its profile is not read: `sizes` has it
    sizes: dict[str, tuple[tuple[int, ...], ...]]  # input -> smallest, optimum and largest shape; empty: all fixed
    plugin: Path | None  # the library to load

    def to_json(self) -> str:
        """One line."""
        options = {
            field.name: getattr(self.options, field.name)
            for field in dataclasses.fields(self.options)
            if field.name != "profile"
        }
        document = {
            "model": self.model,
            "engine": self.engine,
            "options": options,
            "sizes": self.sizes,
            "plugin": self.plugin,
        }
        return json.dumps(document, default=str)

    @classmethod
    def from_json(cls, text: str) -> BuildJob:
        """The job of :meth:`to_json`."""
        document: dict[str, Any] = json.loads(text)
        options = document["options"]
        model, cache, plugin = document["model"], options["timing_cache"], document["plugin"]
        return cls(
            model=None if model is None else Path(model),
            engine=Path(document["engine"]),
            options=EngineOptions(
                **{
                    **options,
                    "flavour": Flavour(options["flavour"]),
                    "timing_cache": None if cache is None else Path(cache),
                    "hardware_compatibility": HardwareCompatibility(options["hardware_compatibility"]),
                    "compute_capabilities": tuple(options["compute_capabilities"]),
                }
            ),
            sizes={name: tuple(tuple(shape) for shape in shapes) for name, shapes in document["sizes"].items()},
            plugin=None if plugin is None else Path(plugin),
        )
