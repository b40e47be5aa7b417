"""An environment of the main script or of a notebook, which other processes cannot import: it travels by value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import cloudpickle

from rllib_reborn.envs.factories import UnknownEnvError, find_factory, provide

#: The module of a script that is run, and of the cells of a notebook. Another process has another one.
MAIN = "__main__"


class CarriedFactory:
    """What ``__main__:callable`` names in this process; wherever a pickle of it arrives, the name means the same.

    To be pickled by cloudpickle, as Ray and RLlib's checkpoints do, which takes what lies in ``__main__`` by value.

    Args:
        name: ``__main__:callable``.
        factory: That callable.
    """

    def __init__(self, name: str, factory: Callable[..., Any]) -> None:
        self.name = name
        self.factory = factory

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        provide(self.name, self.factory)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing of it changes


def carried_factory(env: Any, name: str) -> CarriedFactory | None:
    """What must travel with an environment for other processes to find it; None where they can import it, or it is not even
    here.

    Args:
        env: The environment as it was given: a callable, or ``name``.
        name: Its name.
    """
    if not name.startswith(f"{MAIN}:"):
        return None
    if callable(env):
        provide(name, env)  # it may have come here by value itself
        return CarriedFactory(name, env)
    try:
        return CarriedFactory(name, find_factory(name))
    except UnknownEnvError:
        return None


class CarriedMaker:
    """A maker of games of such an environment, which any pickle takes along with it: into the processes of games.

    Args:
        make: The maker.
        carried: The environment that it names.
    """

    def __init__(self, make: Callable[[], Any], carried: CarriedFactory) -> None:
        self._make = make
        self._carried = carried

    def __call__(self) -> Any:
        return self._make()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (cloudpickle.dumps((self._carried, self._make)),)


def _unpack(pickled: bytes) -> CarriedMaker:
    carried, make = cloudpickle.loads(pickled)
    return CarriedMaker(make, carried)
