"""One candidate on one batch: what it gives, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fade_deploy.contract import Head
from fade_deploy.errors import InputError
from fade_deploy.verification.comparing import compared
from fade_deploy.verification.model_inputs import trimaps_in
from fade_deploy.verification.verification import Comparison

if TYPE_CHECKING:
    from fade_deploy.api.verify.batches import Batch
    from fade_deploy.api.verify.runners import Candidate

__all__ = ["judged", "outputs_of"]

Arrays = Mapping[str, NDArray[Any]]


def outputs_of(candidate: Candidate, batch: Batch) -> Arrays:
    """What a candidate gives where nothing can be said without it.

    Raises:
        InputError: The runtime can't compute this batch.
    """
    from fade_deploy.verification.running import RunFailure

    try:
        return candidate.run_on(batch.tensors)
    except RunFailure as error:
        raise InputError(
            f"{candidate.run.name} can't run {batch.name}: {error}; expected a size that it runs: give other "
            "--shapes or pictures, or another file"
        ) from error


def judged(candidate: Candidate, batch: Batch, given: Arrays, expected: Arrays, head: Head) -> Comparison:
    """What a candidate gave for a batch against what the reference gave, within the candidate's bound."""
    return compared(
        given,
        expected,
        run=candidate.run.name,
        input_name=batch.name,
        shape=str(batch.shape),
        source=batch.source,
        head=head,
        tolerance=candidate.bound,
        trimaps=trimaps_in(batch.tensors),
    )
