"""Polygraphy's time of a session beside ours, and where the difference comes from.

Its OnnxrtRunner calls ``session.run``, which allocates the outputs anew and copies them (from and to a GPU the inputs,
too), and it checks its inputs. Each part is measured: in every round the bound run, ``session.run`` alone, Polygraphy's
``infer``, and a copy of the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fade_deploy.optional import require
from fade_deploy.timing.bound_run import BoundSession, Inputs
from fade_deploy.timing.rounds import interleaved, percentile, warmed_up

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["PolygraphyTimes", "polygraphy_times"]

_CERTAIN = 3  # standard errors
_BOUND, _PLAIN, _POLYGRAPHY, _COPY = "bound", "plain", "polygraphy", "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolygraphyTimes:
    """Seconds of one candidate, a round each: the same index is the same round."""

    name: str
    shape: str
    bound: tuple[float, ...]  # as everything else here is timed
    plain: tuple[float, ...]  # session.run, nothing bound
    polygraphy: tuple[float, ...]  # OnnxrtRunner.infer
    copy: tuple[float, ...]  # of what session.run copies

    @property
    def explanation(self) -> str:
        """The difference and its parts, medians over the rounds, in one line."""
        whole = _differences(self.polygraphy, self.bound)
        binding = 1000 * percentile(_differences(self.plain, self.bound), 50)
        checks = 1000 * percentile(_differences(self.polygraphy, self.plain), 50)
        bound, theirs = (1000 * percentile(times, 50) for times in (self.bound, self.polygraphy))
        difference = 1000 * percentile(whole, 50)
        line = f"{theirs:.2f} ms, bound {bound:.2f} ms: {difference:+.2f} ms within a round"
        if abs(difference) < _CERTAIN * 1000 * _standard_error(whole):
            return f"{line}, which is noise"
        return (
            f"{line}; {binding:+.2f} of it for running without binding (copying as much alone takes "
            f"{1000 * percentile(self.copy, 50):.2f}), {checks:+.2f} for Polygraphy's own work"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "explanation": self.explanation}


def polygraphy_times(
    session: onnxruntime.InferenceSession,
    bound: BoundSession,
    inputs: Inputs,
    *,
    name: str,
    shape: str,
    seconds: float,
    fewest: int,
    most: int,
) -> PolygraphyTimes:
    """Time one session in four ways.

    Args:
        session: Of the candidate.
        bound: The same session with its inputs and output bound.
        inputs: By name.
        name: Of the candidate.
        shape: Of the input.
        seconds: For all rounds.
        fewest: Rounds, at least.
        most: Rounds, at most.

    Raises:
        MissingDependency: Polygraphy is not installed.
    """
    runner = require("polygraphy.backend.onnxrt", extra="verify").OnnxrtRunner(session)
    feed = dict(inputs)
    with runner:
        runs = {
            _BOUND: bound.run,
            _PLAIN: lambda: session.run(None, feed),
            _POLYGRAPHY: lambda: runner.infer(feed),
            _COPY: bound.copy,
        }
        count = min(most, max(fewest, int(seconds / sum(warmed_up(runs).values()))))
        rounds = interleaved(runs, dict.fromkeys(runs, 1), count)
    return PolygraphyTimes(
        name=name,
        shape=shape,
        **{kind: tuple(entry[kind] for entry in rounds) for kind in (_BOUND, _PLAIN, _POLYGRAPHY, _COPY)},
    )


def _standard_error(values: Sequence[float]) -> float:
    """Of the median, from the quartiles, which a few disturbed runs leave alone: 0.93 of their distance by sqrt n."""
    return 0.93 * (percentile(values, 75) - percentile(values, 25)) / math.sqrt(len(values))


def _differences(more: Sequence[float], less: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(more, less, strict=True)]
