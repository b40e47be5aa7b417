"""The checks that env runner, vectoriser and checker share, on arrays made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.contract import (
    EnvContractError,
    check_obs,
    check_step,
    find_array_fault,
    first_non_finite,
    first_without_action,
)
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep

SPEC = TeamSpec(n_agents=2, n_actions=3, obs_dim=4, state_dim=5, episode_limit=6, has_win=True)


def good_obs() -> TeamObs:
    return TeamObs(np.zeros((1, 2, 4), np.float32), np.zeros((1, 5), np.float32), np.ones((1, 2, 3), np.bool_))


def good_step() -> TeamStep:
    flag = np.zeros(1, np.bool_)
    return TeamStep(good_obs(), np.zeros(1, np.float32), flag, flag.copy(), {"won": flag.copy(), "failed": flag.copy()})


def test_what_keeps_the_contract_passes() -> None:
    check_obs(good_obs(), SPEC, 1, "some/game")
    check_step(good_step(), SPEC, 1, "some/game")


def test_the_message_names_env_array_value_and_remedy() -> None:
    obs = good_obs()
    obs.state[0, 3] = np.inf
    with pytest.raises(
        EnvContractError,
        match=r"^'some/game' returned state with the value inf; expected finite numbers\. Run `rllib-reborn envs` on it\.$",
    ):
        check_obs(obs, SPEC, 1, "some/game")


def test_another_number_of_games_is_a_wrong_shape() -> None:
    with pytest.raises(EnvContractError, match=r"obs of shape \(1, 2, 4\) and dtype float32; expected \(3, 2, 4\)"):
        check_obs(good_obs(), SPEC, 3, "some/game")


def test_won_is_needed_only_where_an_episode_ends() -> None:
    check_step(good_step()._replace(info={}), SPEC, 1, "some/game")
    ended = good_step()._replace(info={}, truncated=np.ones(1, np.bool_))
    with pytest.raises(EnvContractError, match="expected 'won' among them"):
        check_step(ended, SPEC, 1, "some/game")


@pytest.mark.parametrize(
    ("dtype", "casting", "fits"),
    [
        ("float32", "no", True),
        ("float64", "no", False),
        ("float64", "same_kind", True),
        ("complex64", "same_kind", False),
        ("complex64", "unsafe", True),
    ],
)
def test_dtypes_fit_by_casting(dtype, casting, fits) -> None:
    fault = find_array_fault("x", np.zeros(2, dtype), (2,), np.float32, casting)
    assert (fault is None) == fits


def test_the_first_bad_entry_is_found() -> None:
    array = np.zeros((2, 3), np.float32)
    assert first_non_finite(array) is None
    array[1, 2] = array[1, 0] = np.nan
    assert first_non_finite(array) == (1, 0)
    assert first_non_finite(np.zeros(2, np.uint8)) is None


def test_the_first_agent_without_an_action_is_found() -> None:
    mask = np.ones((2, 3, 4), np.bool_)
    assert first_without_action(mask) is None
    mask[1, 2] = False
    assert first_without_action(mask) == (1, 2)
    assert first_without_action(mask[1]) == (2,)
