"""The paper's table: our numbers beside the published ones, and which of the published orderings they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

__all__ = ["METRICS", "PUBLISHED_SOURCES", "Metric", "order_lines", "table_lines"]

PUBLISHED_SOURCES = ("decoder-only", "encoder-only", "encoder-decoder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A row of the table."""

    name: str
    unit: float = 1.0  # what is printed is the score times this
    digits: int
    more_is_better: bool
    published: tuple[float, ...] = ()  # in the order of PUBLISHED_SOURCES, as printed there

    def better(self, one: float, other: float) -> bool:
        return one > other if self.more_is_better else one < other


# FADE's paper: SUN RGBD for the first two, Fashion-MNIST for the others.
METRICS = (
    Metric(name="mIoU", unit=100, digits=2, more_is_better=True, published=(37.00, 36.71, 37.59)),
    Metric(name="bIoU", unit=100, digits=2, more_is_better=True, published=(25.61, 27.89, 28.80)),
    Metric(name="PSNR", digits=2, more_is_better=True, published=(24.35, 32.25, 33.83)),
    Metric(name="SSIM", unit=100, digits=2, more_is_better=True, published=(87.19, 97.73, 98.47)),
    Metric(name="MAE", digits=4, more_is_better=False, published=(0.0357, 0.0157, 0.0122)),
    # The paper calls this column MSE, but its numbers fit its PSNR only as the root: 10^(-24.35/20) = 0.061.
    Metric(name="RMSE", digits=4, more_is_better=False, published=(0.0643, 0.0257, 0.0218)),
    Metric(name="MSE", digits=5, more_is_better=False),
)


def table_lines(scores: Mapping[str, Mapping[str, float]], *, beside_paper: bool) -> list[str]:
    """A Markdown table of the scores {source: {metric: score}}."""
    heads = ["", *(h for source in scores for h in (source, "paper")[: 1 + _beside(source, beside_paper)])]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for metric in METRICS:
        if any(metric.name not in of_source for of_source in scores.values()):
            continue
        cells = [metric.name]
        for source, of_source in scores.items():
            cells.append(f"{metric.unit * of_source[metric.name]:.{metric.digits}f}")
            if _beside(source, beside_paper):
                index = PUBLISHED_SOURCES.index(source)
                cells.append(f"{metric.published[index]:.{metric.digits}f}" if metric.published else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def order_lines(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """For each published metric: the paper's order of the three sources, ours, and which pairs agree."""
    lines = []
    for metric in METRICS:
        if not metric.published:
            continue
        paper = dict(zip(PUBLISHED_SOURCES, metric.published, strict=True))
        ours = {source: scores[source][metric.name] for source in PUBLISHED_SOURCES}
        ranked = [sorted(of, key=of.__getitem__, reverse=metric.more_is_better) for of in (paper, ours)]
        # In the paper's order the first of each pair is the better one.
        pairs = list(combinations(ranked[0], 2))
        missed = [f"{a} before {b}" for a, b in pairs if not metric.better(ours[a], ours[b])]
        told = f"not {', not '.join(missed)}" if missed else "all pairs hold"
        lines.append(f"{metric.name}: paper {' > '.join(ranked[0])}; here {' > '.join(ranked[1])}: {told}")
    return lines


def _beside(source: str, beside_paper: bool) -> bool:
    return beside_paper and source in PUBLISHED_SOURCES
