"""What the shapes in a checkpoint say, asked for with errors that help."""

from __future__ import annotations

from fade_deploy.checkpoints.checkpoint import Checkpoint
from fade_deploy.checkpoints.safe_load import one_line
from fade_deploy.contract import Task
from fade_deploy.errors import CheckpointError
from fade_deploy.ops.fade import low_to_high_key

__all__ = ["DEFAULT_RECIPES", "WeightShapes", "state_it"]

# The recipe of a checkpoint that names none.
DEFAULT_RECIPES = {Task.SEGMENTATION: "segformer", Task.MATTING: "a2u_matting"}


def state_it(task: Task) -> str:
    """The remedy for what weights can't tell, as the end of a sentence."""
    return f'in a recipe with extends = "{DEFAULT_RECIPES[task]}" and give it with --recipe FILE.toml'


class WeightShapes:
    """The shapes in a checkpoint by the low-to-high names, asked for with an error that helps."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.path = checkpoint.path
        self.facts = checkpoint.facts
        self.is_high_to_low = any(low_to_high_key(key) != key for key in checkpoint.state_dict)
        self.shapes = {low_to_high_key(key): tuple(value.shape) for key, value in checkpoint.state_dict.items()}
        if len(self.shapes) < len(checkpoint.state_dict):
            twice = next(key for key in checkpoint.state_dict if low_to_high_key(key) != key)
            raise CheckpointError(
                f"{self.path} holds '{one_line(twice)}' and a weight under the low-to-high name of the same; "
                "expected one: re-save the weights of one model"
            )

    def of(self, key: str, dimensions: int) -> tuple[int, ...]:
        """A shape of that many dimensions, none of them empty."""
        shape = self.shapes.get(key)
        if shape is None:
            raise CheckpointError(
                f"{self.path} lacks the key '{key}'; expected every weight of the model: save it whole"
            )
        if len(shape) != dimensions or min(shape) < 1:
            raise CheckpointError(
                f"{self.path}: key '{key}' has the shape {list(shape)}, expected {dimensions} dimensions, none of "
                "them 0: give an unchanged checkpoint"
            )
        return shape

    def ratio(self, over: int, under: int, what: str) -> int:
        """A quotient that has to be whole."""
        if over % under:
            raise CheckpointError(
                f"{self.path}: {what} {over} is not a multiple of the width {under}; expected an unchanged model"
            )
        return over // under

    def first_size(self, key: str) -> int:
        """The first size of a weight of any number of dimensions."""
        shape = self.shapes.get(key, ())
        return self.of(key, len(shape) or 1)[0]

    def count(self, prefix: str, *, start: int) -> int:
        """How many numbers follow ``prefix`` in the keys; they count from ``start`` without gaps."""
        found = {key.removeprefix(prefix).partition(".")[0] for key in self.shapes if key.startswith(prefix)}
        if not found or found != {str(i) for i in range(start, start + len(found))}:
            raise CheckpointError(
                f"{self.path}: the blocks {prefix}* are missing, or not numbered from {start} without gaps; expected "
                "every weight of the model: save it whole"
            )
        return len(found)
