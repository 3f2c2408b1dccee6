"""How far a build is: TensorRT's phases, each of a number of steps and possibly inside a step of another."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["BuildProgress", "monitor_for"]


class BuildProgress:
    """The tree of phases that run now, and the share of the outermost one that is done.

    A phase inside another counts as a part of the step that the other is at; the share never goes back.
    """

    def __init__(self) -> None:
        self.fraction = 0.0  # of the outermost phase, 0..1
        self.phase = ""  # its name
        self._parents: dict[str, str | None] = {}  # in order of their starts
        self._steps: dict[str, int] = {}
        self._done: dict[str, int] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins; a parent that is not running counts as none."""
        self._parents[name] = parent if parent in self._parents else None
        self._steps[name], self._done[name] = max(steps, 1), 0
        if self._parents[name] is None and name != self.phase:
            self.phase, self.fraction = name, 0.0

    def step(self, name: str, step: int) -> None:
        """Step ``step``, counted from 0, of a phase is done."""
        if name in self._done:
            self._done[name] = min(step + 1, self._steps[name])
            self._update()

    def finish(self, name: str) -> None:
        """A phase has ended, maybe before its last step."""
        if name in self._parents:
            self._done[name] = self._steps[name]
            self._update()
            for table in (self._parents, self._steps, self._done):
                table.pop(name)

    def _update(self) -> None:
        if self.phase in self._parents:
            self.fraction = max(self.fraction, min(self._share(self.phase), 1.0))

    def _share(self, name: str) -> float:
        inside = max((self._share(child) for child, parent in self._parents.items() if parent == name), default=0.0)
        return min((self._done[name] + inside) / self._steps[name], 1.0)


def monitor_for(trt: ModuleType, tell: Callable[..., None]) -> Any:
    """A TensorRT progress monitor that passes everything on; it must outlive the build.

    Args:
        trt: ``tensorrt`` or ``tensorrt_rtx``.
        tell: Called with ``start``, a phase, its parent or None, and its steps; with ``step``, a phase and its step;
            with ``finish`` and a phase. From TensorRT's threads, one call at a time: Python's lock is held.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined] # of whichever package is installed
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tell("start", phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            tell("step", phase_name, step)
            return True

        def phase_finish(self, phase_name: str) -> None:
            tell("finish", phase_name)

    return Monitor()
