"""Smaller states: what an environment offers a mixer to read in place of its whole state. Needs no torch itself."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from rllib_reborn.named_modules import BrokenModuleError, NoSuchModuleError, import_named

#: States that every environment with a state has: as it is, and zeros in its place.
FULL, NONE = "full", "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StateView:
    """A smaller state, computed of the whole one where the mixer reads it; ``training.mixer.state`` names it. Replay,
    checkpoints and runners hold the whole state as ever.

    Attributes:
        name: What ``training.mixer.state`` calls it; neither ``full`` nor ``none``.
        size: Numbers in it, ``d >= 1``.
        function: ``module:function``, called as ``function(state, *arguments)``. ``state`` [rows, s] is a float32 torch
            tensor on the learner's device, multiplied by ``TeamSpec.state_scale`` already. It returns [rows, d] float32 of
            order 1. A row must depend on the same row alone, and on nothing but the arguments: no random numbers, no memory.
        arguments: Plain data, such as the sizes of a board.

    Raises:
        ValueError: One of them is not as above; the message names it.
    """

    name: str
    size: int
    function: str
    arguments: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", tuple(self.arguments))  # of JSON it is a list
        if not isinstance(self.name, str) or not self.name.isidentifier() or self.name in (FULL, NONE):
            raise ValueError(
                f"StateView.name is {self.name!r}; expected a name of letters, digits and _, other than {FULL!r} and "
                f"{NONE!r}."
            )
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise ValueError(f"StateView.size of {self.name!r} is {self.size!r}; expected a whole number >= 1.")
        module, _, attribute = self.function.partition(":") if isinstance(self.function, str) else ("", "", "")
        if not module or not attribute:
            raise ValueError(
                f"StateView.function of {self.name!r} is {self.function!r}; expected 'package.module:function'."
            )
        if module == "__main__":
            raise ValueError(
                f"StateView.function of {self.name!r} is {self.function!r}, which learners and checkpoints in other "
                "processes cannot find; put it into a module and name that, or use StateView.of_columns."
            )

    @classmethod
    def of_columns(cls, name: str, columns: Sequence[int]) -> StateView:
        """The numbers of the state at the places ``columns``, each >= 0, in this order."""
        if not all(isinstance(column, int) and column >= 0 for column in columns):
            raise ValueError(f"columns of {name!r} are {columns!r}; expected whole numbers >= 0.")
        return cls(name=name, size=len(columns), function=f"{__name__}:columns_of", arguments=tuple(columns))

    def __call__(self, state: Any) -> Any:
        """``state`` [rows, s] -> [rows, d].

        Raises:
            ValueError: There is no such function.
        """
        return _function(self.function)(state, *self.arguments)


def columns_of(state: Any, *columns: int) -> Any:
    """``state`` [rows, s] -> [rows, len(columns)]."""
    return state[:, list(columns)]


@functools.lru_cache(maxsize=64)
def _function(path: str) -> Callable[..., Any]:
    module, _, attribute = path.partition(":")
    try:
        found = getattr(import_named(module), attribute, None)
    except NoSuchModuleError as error:
        raise ValueError(f"state function {path!r}: there is no module {error.missing!r}.") from error
    except BrokenModuleError as error:
        raise ValueError(f"state function {path!r}: {error}.") from error
    if not callable(found):
        raise ValueError(f"state function {path!r}: module {module!r} has no function {attribute!r}.")
    return found  # type: ignore[no-any-return]
