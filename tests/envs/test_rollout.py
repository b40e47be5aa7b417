"""The one loop that plays games: quotas, counts, failed games, environments that raise, episodes without an end."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.rollout import EnvCallError, EpisodeOutcome, Rollout, Transition, equal_quotas
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep

LIMIT = 5


class ScriptedGames:
    """Game ``i``'s episodes are ``scripts[i]``, over and over: how many steps each has, negative where it fails at its end.
    The reward of a step is its number in the episode; the observation is that number too."""

    def __init__(self, *scripts: list[int], has_win: bool = False, truncate: bool = False) -> None:
        self.spec = TeamSpec(n_agents=1, n_actions=2, obs_dim=1, state_dim=1, episode_limit=LIMIT, has_win=has_win)
        self.num_envs = len(scripts)
        self.scripts = scripts
        self.truncate = truncate
        self.episode = np.full(self.num_envs, -1)
        self.time = np.zeros(self.num_envs, np.int64)
        self.calls: list[tuple[str, Any]] = []
        self.raise_at: dict[int, EnvCallError] = {}  # number of a call: what it raises

    def _call(self, name: str, detail: Any) -> None:
        self.calls.append((name, detail))
        if len(self.calls) - 1 in self.raise_at:
            raise self.raise_at[len(self.calls) - 1]

    def reset(self, *, seed: Any = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        self._call("reset", (seed, None if mask is None else mask.tolist()))
        chosen = slice(None) if mask is None else mask
        self.episode[chosen] += 1
        self.time[chosen] = 0
        return self._obs()

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        self._call("step", actions.tolist())
        self.time += 1
        wanted = np.array([script[e % len(script)] for script, e in zip(self.scripts, self.episode)])
        over, failed = self.time >= np.abs(wanted), (self.time >= np.abs(wanted)) & (wanted < 0)
        ended, nothing = over & ~failed, np.zeros(self.num_envs, bool)
        info: dict[str, Any] = {"failed": failed} if failed.any() else {}
        if self.spec.has_win:
            info["won"] = self.time % 2 == 0
        ends = (nothing, ended) if self.truncate else (ended, nothing)
        return TeamStep(self._obs(), self.time.astype(np.float32), *ends, info)

    def _obs(self) -> TeamObs:
        values = self.time.astype(np.float32)
        return TeamObs(values.reshape(-1, 1, 1), values.reshape(-1, 1), np.ones((self.num_envs, 1, 2), bool))


class ConstantActor:
    def __init__(self) -> None:
        self.begun: list[tuple[Any, Any]] = []

    def begin(self, mask: npt.NDArray[np.bool_] | None, seed: int | None) -> None:
        self.begun.append((None if mask is None else mask.tolist(), seed))

    def act(self, obs: TeamObs) -> npt.NDArray[np.int64]:
        return np.ones((len(obs.obs), 1), np.int64)


def rollout(games: ScriptedGames, **kwargs: Any) -> tuple[Rollout, list[tuple[int, EpisodeOutcome]], list[Transition]]:
    """A rollout that has begun, what it finishes (game, outcome), and its transitions (their arrays copied)."""
    finished: list[tuple[int, EpisodeOutcome]] = []
    transitions: list[Transition] = []

    def on_step(transition: Transition) -> None:
        finished.extend((game, transition.outcome(game)) for game in np.flatnonzero(transition.counted).tolist())
        transitions.append(transition._replace(lengths=transition.lengths.copy(), returns=transition.returns.copy()))

    made = Rollout(games, ConstantActor(), "some/game", on_step=on_step, **kwargs)
    made.begin(seed=3)
    return made, finished, transitions


@given(st.integers(0, 50), st.integers(1, 9))
def test_equal_quotas_share_everything_out(episodes: int, num_envs: int) -> None:
    quotas = equal_quotas(episodes, num_envs)
    assert len(quotas) == num_envs
    assert quotas.sum() == episodes
    assert quotas.max() - quotas.min() <= 1
    assert (np.diff(quotas) <= 0).all()  # the first ones have one more


def test_each_game_finishes_its_quota_and_short_episodes_are_not_favoured() -> None:
    made, finished, _ = rollout(ScriptedGames([1], [4]))
    assert made.run(quotas=np.array([2, 2])) == 2 * 8
    # Game 0 has finished eight episodes meanwhile; only two of them count.
    assert sorted((game, outcome.length) for game, outcome in finished) == [(0, 1), (0, 1), (1, 4), (1, 4)]


def test_the_first_to_finish_count_where_any_will_do() -> None:
    made, finished, _ = rollout(ScriptedGames([1], [4]))
    assert made.run(episodes=3) == 2 * 3
    assert [(game, outcome.length) for game, outcome in finished] == [(0, 1)] * 3


@pytest.mark.parametrize(("steps", "taken"), [(0, 0), (1, 2), (4, 4), (5, 6)])
def test_steps_are_those_of_all_games_together(steps: int, taken: int) -> None:
    games = ScriptedGames([3], [3])
    made, _, _ = rollout(games)
    assert made.run(steps=steps) == taken
    assert sum(name == "step" for name, _ in games.calls) * 2 == taken


def test_no_quota_takes_no_step() -> None:
    made, finished, _ = rollout(ScriptedGames([3], [3]))
    assert made.run(quotas=equal_quotas(0, 2)) == 0
    assert finished == []


@pytest.mark.parametrize("truncate", [False, True])
def test_outcomes_by_hand(truncate: bool) -> None:
    made, finished, transitions = rollout(ScriptedGames([2, 3], [4], has_win=True, truncate=truncate))
    made.run(quotas=np.array([2, 1]))
    assert finished == [
        (0, EpisodeOutcome(3.0, 2, True)),
        (1, EpisodeOutcome(10.0, 4, True)),
        (0, EpisodeOutcome(6.0, 3, False)),
    ]
    assert [one.lengths.tolist() for one in transitions] == [[1, 1], [2, 2], [1, 3], [2, 4], [3, 1]]
    assert [one.returns.tolist() for one in transitions] == [[1, 1], [3, 3], [1, 6], [3, 10], [6, 1]]


def test_won_is_none_where_nothing_is_won() -> None:
    made, finished, transitions = rollout(ScriptedGames([2]))
    made.run(episodes=1)
    assert transitions[0].won is None
    assert finished[0][1].won is None


def test_ended_games_begin_again_and_no_others() -> None:
    games = ScriptedGames([1], [2])
    begun: list[list[float]] = []
    made, _, _ = rollout(games, on_begin=lambda obs: begun.append(obs.obs.ravel().tolist()))
    made.run(steps=4)
    resets = [detail for name, detail in games.calls if name == "reset"]
    # Never a seed and a mask at once: the streams of the others must not move.
    assert resets == [(3, None), (None, [True, False]), (None, [True, True])]
    assert made.actor.begun == [(None, 3), ([True, False], None), ([True, True], None)]
    assert begun == [[0, 0], [0, 1], [0, 0]]


def test_running_episodes_go_on_from_call_to_call() -> None:
    split, of_split, _ = rollout(ScriptedGames([3], [4]))
    whole, of_whole, _ = rollout(ScriptedGames([3], [4]))
    for _ in range(6):
        split.run(steps=2)
    whole.run(steps=12)
    assert of_split == of_whole != []
    np.testing.assert_array_equal(split.lengths, whole.lengths)
    np.testing.assert_array_equal(split.returns, whole.returns)


def test_begin_comes_first() -> None:
    made = Rollout(ScriptedGames([1]), ConstantActor(), "some/game")
    with pytest.raises(AssertionError, match="begin"):
        made.run(steps=1)


# ---------------------------------------------------------------------- failed games


def test_the_episode_of_a_failed_game_does_not_count_and_is_played_again() -> None:
    made, finished, transitions = rollout(ScriptedGames([-2, 3], [1]))
    made.run(quotas=np.array([1, 1]))
    assert finished == [(1, EpisodeOutcome(1.0, 1, None)), (0, EpisodeOutcome(6.0, 3, None))]
    at = transitions[1]
    assert (at.failed.tolist(), at.done.tolist()) == ([True, False], [True, True])
    assert not at.counted.any()  # game 1's second episode is beyond its quota
    assert transitions[2].lengths[0] == 1  # begun again


def test_games_that_fail_again_and_again_are_given_up() -> None:
    made, _, transitions = rollout(ScriptedGames([-1], [-1]))
    with pytest.raises(
        EnvContractError, match="the games of 'some/game' failed 20 times in 20 env steps without a finished episode"
    ):
        made.run(episodes=1)
    assert len(transitions) == 10


def test_one_game_that_always_fails_ends_quotas_and_costs_its_share_elsewhere() -> None:
    made, _, _ = rollout(ScriptedGames([-1], [1]))
    assert made.run(episodes=300) == 600
    made, _, _ = rollout(ScriptedGames([-1], [1]))
    with pytest.raises(EnvContractError, match="game 0 of 2 of 'some/game' failed 10 times in 10 of its steps"):
        made.run(quotas=np.array([1, 1]))


def test_a_game_that_runs_on_after_its_limit_is_refused() -> None:
    made, _, transitions = rollout(ScriptedGames([2], [LIMIT + 1]))
    with pytest.raises(EnvContractError, match=f"game 1 of 'some/game' runs on after its {LIMIT} steps; it must set"):
        made.run(steps=100)
    assert len(transitions) == LIMIT - 1  # the step that should have been the last is told to nobody
    made, finished, _ = rollout(ScriptedGames([LIMIT]))
    made.run(episodes=1)
    assert finished[0][1].length == LIMIT


# ---------------------------------------------------------------------- calls that raise


def test_without_recovery_an_error_of_a_call_is_raised() -> None:
    games = ScriptedGames([3])
    games.raise_at[2] = EnvCallError("died")
    made, _, _ = rollout(games)
    with pytest.raises(EnvCallError, match="died"):
        made.run(steps=9)


@pytest.mark.parametrize("at", ["step", "reset"])
def test_recovery_begins_anew_and_playing_goes_on(at: str) -> None:
    games = ScriptedGames([2], [3])
    # Calls: reset, step, step, reset of game 0, ...
    games.raise_at[2 if at == "step" else 3] = failure = EnvCallError("died")
    recovered: list[EnvCallError] = []

    def recover(error: EnvCallError) -> None:
        recovered.append(error)
        games.episode[:] = -1
        made.begin()

    made, finished, _ = rollout(games, recover=recover)
    assert made.run(quotas=np.array([1, 1])) > 0
    assert recovered == [failure]
    # Game 0's episode is whole; in "reset" it was finished, and reported, before the call that raised.
    assert finished == [(0, EpisodeOutcome(3.0, 2, None)), (1, EpisodeOutcome(6.0, 3, None))]
    assert games.calls[3 if at == "step" else 4] == ("reset", (None, None))


def test_what_is_no_error_of_a_call_is_not_recovered_from() -> None:
    def act(obs: TeamObs) -> Any:
        raise ValueError("the networks' own")

    made, _, _ = rollout(ScriptedGames([3]), recover=lambda error: pytest.fail("recovered"))
    made.actor.act = act
    with pytest.raises(ValueError, match="the networks' own"):
        made.run(steps=1)
