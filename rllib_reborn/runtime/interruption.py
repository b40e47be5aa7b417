"""An iteration that ends before it is complete, because nobody waits for it any longer."""

from __future__ import annotations


class InterruptedIterationError(RuntimeError):
    """An iteration was broken off between two updates, or while no episodes came. The state is whole: a checkpoint can be
    made of it, and the next iteration, here or where that is restored, is the rest of this one.

    Attributes:
        env_steps: Env steps of the iteration so far.
    """

    env_steps: int = 0
