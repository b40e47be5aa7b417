"""What known suites do otherwise than they promise, and how it is put right. Each was seen in the suite's code; the
versions are those of ``constraints/py311.txt``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


def _nothing(env: Any) -> None:
    pass


def _as_reported(env: Any) -> bool:
    return False


class SuiteFixes(NamedTuple):
    """All three are called with the innermost environment."""

    before_reset: Callable[[Any], None] = _nothing
    after_reset: Callable[[Any], None] = _nothing
    #: Whether an end that the environment calls terminated was its step limit.
    ended_by_limit: Callable[[Any], bool] = _as_reported


def fixes_for(env: Any) -> SuiteFixes:
    """Those of the suite that ``env`` is of; for other suites nothing is done."""
    inner = getattr(env, "unwrapped", env)
    return _FIXES.get(type(inner).__module__.partition(".")[0], SuiteFixes())


def _forget_old_places(env: Any) -> None:
    # lbforaging 2.0.0 does not place a player where one stood at the end of the last episode, so that equal seeds give
    # unequal games.
    for player in env.players:
        player.position = None


def _foraging_hit_its_limit(env: Any) -> bool:
    return bool(env.current_step >= env._max_episode_steps and env.field.sum() > 0)


def _warehouse_hit_its_limit(env: Any) -> bool:
    inactive = env.max_inactivity_steps and env._cur_inactive_steps >= env.max_inactivity_steps
    return bool(env.max_steps and env._cur_steps >= env.max_steps and not inactive)


def _renew_walls(env: Any) -> None:
    # magent2 0.3.4 puts the walls of the map that the constructor drew into every state(), also where each reset draws
    # other ones (adversarial_pursuit, tiger_deer).
    env.base_state[..., 0] = 0
    columns, rows = np.asarray(env.env._get_walls_info()).T
    env.base_state[columns, rows, 0] = 1


#: Package of the suite -> its fixes.
_FIXES: Mapping[str, SuiteFixes] = MappingProxyType(
    {
        "lbforaging": SuiteFixes(before_reset=_forget_old_places, ended_by_limit=_foraging_hit_its_limit),
        "rware": SuiteFixes(ended_by_limit=_warehouse_hit_its_limit),
        "magent2": SuiteFixes(after_reset=_renew_walls),
    }
)
