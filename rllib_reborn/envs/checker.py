"""Does an environment keep the contract of :class:`VectorTeamEnv`? Random play that looks for broken
promises."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.contract import (
    EnvContractError,
    find_obs_fault,
    find_step_fault,
    first_non_finite,
    first_without_action,
)
from rllib_reborn.envs.random_policy import RandomActor, random_legal_actions
from rllib_reborn.envs.rollout import Rollout
from rllib_reborn.envs.team_env import TeamObs, TeamStep, VectorTeamEnv
from rllib_reborn.envs.team_game import GameUnavailableError
from rllib_reborn.envs.vectorize.game_executor import GameContractError, GameFailedError

#: Name of the one result that says that the game cannot be played on this machine; its ``ok`` is None.
UNAVAILABLE = "game"
#: Name of the check that no game fails; where it is broken, further checks may not be possible.
NO_FAILURES = "no_failures"

_POLICY_SALT = 2
#: Most steps that a check plays by default: enough for several episodes of most games, in seconds.
_DEFAULT_STEPS = 600
#: More steps than any check plays.
_NO_LIMIT = 2**62


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """Outcome of one check.

    Attributes:
        name: Short name of the check.
        ok: True: kept; False: broken; None: could not be checked here.
        sentence: What was seen, for people.
        same_as: The check that has found this fault before. Where games fail, this one could not be made (``ok`` is None).
    """

    name: str
    ok: bool | None
    sentence: str
    same_as: str | None = None


#: What :func:`_copies` gives.
_Arrays = Sequence[npt.NDArray[Any]]
#: ``see(obs, step)``: after a reset ``step`` is None.
_See = Callable[[TeamObs, TeamStep | None], None]
_PARTS = ("obs", "state", "action_mask", "reward", "terminated", "truncated")


class _BrokenError(Exception):
    """A check found a fault; the message is its sentence."""


class _UnknownError(Exception):
    """A check could not be made; the message is its sentence."""


def check_team_env(
    env: VectorTeamEnv,
    seed: int = 0,
    steps: int | None = None,
    make: Callable[[int], VectorTeamEnv] | None = None,
    patience_s: float = math.inf,
) -> list[CheckResult]:
    """Play at random and check the contract. ``env`` is reset and played; it is not closed.

    Args:
        env: The environment.
        seed: Seed of games and policy.
        steps: Steps of each of the checks; default: the episode limit and a bit, at most 600.
        make: ``make(num_envs)`` builds the same environment with another number of games. Without it the
            check that a game does not depend on how many are played beside it cannot be made (its ``ok`` is
            None).
        patience_s: After a broken check that took so many seconds, because the environment hangs, the later ones are not
            made, in which it would hang again.

    Returns:
        One result per check, in a fixed order: ``no_failures``, ``shapes``, ``values``, ``action_mask``,
        ``illegal_action``, ``no_self_reset``, ``determinism``, ``num_envs``, ``get_state``, ``episode_limit``. A
        check in which the environment raised an exception is broken. A later one that ends for the same reason has its
        name in ``same_as``, so that a fault need be said once only. Where the game cannot be played on this machine
        (:class:`GameUnavailableError`), the checks end with one result ``game`` that says so.
    """
    steps = min(env.spec.episode_limit + 20, _DEFAULT_STEPS) if steps is None else steps
    checks: list[tuple[str, Callable[[], str]]] = [
        (NO_FAILURES, lambda: _check_failures(env, seed, steps)),
        ("shapes", lambda: _check_shapes(env, seed, steps)),
        ("values", lambda: _check_values(env, seed, steps)),
        ("action_mask", lambda: _check_mask(env, seed, steps)),
        ("illegal_action", lambda: _check_illegal(env, seed)),
        ("no_self_reset", lambda: _check_no_self_reset(env, seed, steps)),
        ("determinism", lambda: _check_determinism(env, seed, steps)),
        ("num_envs", lambda: _check_num_envs(env, seed, steps, make)),
        ("get_state", lambda: _check_state(env, seed, steps)),
        ("episode_limit", lambda: _check_limit(env, seed)),
    ]
    results: list[CheckResult] = []
    hangs_in: str | None = None
    for name, check in checks:
        if hangs_in is not None:
            results.append(CheckResult(name, None, f"not checked, because games hang; see {hangs_in}.", hangs_in))
            continue
        begun = time.monotonic()
        try:
            results.append(CheckResult(name, True, check()))
        except _BrokenError as fault:
            results.append(CheckResult(name, False, str(fault)))
        except _UnknownError as reason:
            results.append(CheckResult(name, None, str(reason)))
        except GameUnavailableError as error:
            return [*results, CheckResult(UNAVAILABLE, None, str(error))]
        except Exception as error:
            # Whatever a foreign environment raises is a finding, not the checker's own failure.
            results.append(_of_error(name, error, results))
        if results[-1].ok is False and time.monotonic() - begun >= patience_s:
            hangs_in = name
    return results


def _of_error(name: str, error: Exception, results: Sequence[CheckResult]) -> CheckResult:
    """The result of a check in which ``error`` was raised, after ``results``."""
    games_fail = isinstance(error, GameFailedError | EnvContractError)
    is_sentence = games_fail or isinstance(error, GameContractError)
    sentence = str(error) if is_sentence else f"it raised {type(error).__name__}: {error}"
    broken = [result for result in results if result.ok is False]
    if games_fail and any(result.name == NO_FAILURES for result in broken):
        return CheckResult(name, None, f"not checked, because games fail; see {NO_FAILURES}.", NO_FAILURES)
    same = next((result.name for result in broken if result.sentence == sentence), None)
    return CheckResult(name, False, sentence, same)


def _expect(condition: bool, sentence: str) -> None:
    if not condition:
        raise _BrokenError(sentence)


# ----------------------------------------------------------------------------------------------------------
# playing


class _Watched:
    """The games of ``env`` for a rollout, with a look at all that they return before the rollout works with it.

    The limit of episodes is a check of its own: here they may go on, so that the other checks judge what they are about.

    Args:
        env: The environment.
        see: Called with what every reset returned (and None) and with what every step returned.
    """

    def __init__(self, env: VectorTeamEnv, see: _See) -> None:
        self.spec = dataclasses.replace(env.spec, episode_limit=_NO_LIMIT)
        self.num_envs = env.num_envs
        self._env = env
        self._see = see

    @property
    def last_failure(self) -> str | None:
        """Why a game failed last, where the environment says so."""
        return getattr(self._env, "last_failure", None)

    def reset(self, *, seed: Any = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        obs = self._env.reset(seed=seed) if mask is None else self._env.reset(mask=mask)
        self._see(obs, None)
        return obs

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        out = self._env.step(actions)
        self._see(out.obs, out)
        return out


def _rollout(env: VectorTeamEnv, seed: int, see: _See) -> Rollout:
    """Random play that ``see`` watches; not begun yet."""
    actor = RandomActor(env.num_envs, env.spec.n_agents, seed, salt=_POLICY_SALT)
    return Rollout(_Watched(env, see), actor, type(env).__name__)


def _play(env: VectorTeamEnv, seed: int, steps: int, see: _See) -> Rollout:
    """Begin all games with ``seed`` and play ``steps`` steps of each."""
    rollout = _rollout(env, seed, see)
    rollout.begin(seed)
    rollout.run(steps=steps * env.num_envs)
    return rollout


def _over(out: TeamStep) -> npt.NDArray[np.bool_]:
    """[B] games that must be reset: ended, or failed."""
    over: npt.NDArray[np.bool_] = out.terminated | out.truncated | out.info.get("failed", False)
    return over


def _record(env: VectorTeamEnv, seed: int, steps: int) -> list[_Arrays]:
    """Copies of all that was seen."""
    record: list[_Arrays] = []
    _play(env, seed, steps, lambda observed, out: record.append(_copies(observed, out)))
    return record


def _copies(observed: TeamObs, out: TeamStep | None) -> tuple[npt.NDArray[Any], ...]:
    parts = tuple(np.array(part) for part in observed)
    return parts if out is None else (*parts, *(np.array(part) for part in out[1:4]))


# ----------------------------------------------------------------------------------------------------------
# checks


def _check_failures(env: VectorTeamEnv, seed: int, steps: int) -> str:
    """In training a game that fails costs an episode and a line in the log; here it is a fault."""
    moments = itertools.count()

    def see(observed: TeamObs, out: TeamStep | None) -> None:
        moment = next(moments)
        failed = None if out is None else out.info.get("failed")
        if failed is not None and failed.any():
            reason = getattr(env, "last_failure", None) or "it does not say why"
            raise _BrokenError(f"game {int(np.flatnonzero(failed)[0])} failed at observation {moment}: {reason}")

    _play(env, seed, steps, see)
    return "No game failed."


def _check_shapes(env: VectorTeamEnv, seed: int, steps: int) -> str:
    spec, num_envs = env.spec, env.num_envs
    promised = ("failed", "won") if spec.has_win else ("failed",)

    def see(observed: TeamObs, out: TeamStep | None) -> None:
        fault = find_obs_fault(observed, spec, num_envs) if out is None else find_step_fault(out, spec, num_envs)
        _expect(fault is None, f"it returned {fault}.")
        missing = [name for name in promised if out is not None and name not in out.info]
        _expect(not missing, f"it returned info without {missing}; expected an array [games] of truth values for each.")

    _play(env, seed, steps, see)
    return "All arrays have the shapes and dtypes of the spec."


def _check_values(env: VectorTeamEnv, seed: int, steps: int) -> str:
    moments = itertools.count()

    def see(observed: TeamObs, out: TeamStep | None) -> None:
        moment = next(moments)
        arrays = {"obs": observed.obs, "state": observed.state}
        if out is not None:
            arrays["reward"] = out.reward
        for name, array in arrays.items():
            index = first_non_finite(array)
            if index is not None:
                raise _BrokenError(
                    f"{name} holds a number that is not finite: {_place(name, index)} is {array[index]} at observation "
                    f"{moment}; return finite numbers only."
                )

    _play(env, seed, steps, see)
    return "All observations, states and rewards are finite."


def _check_mask(env: VectorTeamEnv, seed: int, steps: int) -> str:
    def see(observed: TeamObs, out: TeamStep | None) -> None:
        index = first_without_action(observed.action_mask)
        if index is not None:
            raise _BrokenError(f"agent {index[1]} of game {index[0]} has no available action.")

    _play(env, seed, steps, see)
    return "Every agent always has an available action, and all available actions that were tried were accepted."


def _check_illegal(env: VectorTeamEnv, seed: int) -> str:
    observed = env.reset(seed=seed)
    before = _copies(observed, None)
    legal = random_legal_actions(observed.action_mask, np.zeros(observed.action_mask.shape[:2]))
    bad = legal.copy()
    bad[0, 0] = env.spec.n_actions
    forbidden = np.argwhere(~observed.action_mask)
    attempts = [("beyond the last one", bad)]
    if len(forbidden):
        game, agent, action = forbidden[0]
        masked = legal.copy()
        masked[game, agent] = action
        attempts.append(("that its mask forbids", masked))
    for what, actions in attempts:
        try:
            env.step(actions)
        except ValueError:
            pass
        else:
            raise _BrokenError(f"an action {what} was accepted; expected a ValueError.")
    after = _copies(env.step(legal).obs, None)
    if not env.repeatable:
        return "Actions that are not available are refused."
    again = env.reset(seed=seed)
    _expect(_equal(_copies(again, None), before), "a reset with the same seed gave another start.")
    _expect(_equal(_copies(env.step(legal).obs, None), after), "a refused step changed the game.")
    return "Actions that are not available are refused, and nothing is stepped."


def _check_no_self_reset(env: VectorTeamEnv, seed: int, steps: int) -> str:
    """A reset of some games leaves the others as they are."""
    before: list[
        tuple[_Arrays, npt.NDArray[np.bool_]]
    ] = []  # of the last step: what was seen, and which games were over
    resets = 0

    def see(observed: TeamObs, out: TeamStep | None) -> None:
        nonlocal resets
        if out is not None:
            before[:] = [(_copies(observed, None), _over(out))]
        elif before:
            [(arrays, over)] = before
            for old, new in zip(arrays, observed):
                _expect(np.array_equal(old[~over], new[~over]), "reset(mask=...) changed a game that it left out.")
            resets += 1

    _play(env, seed, steps, see)
    if not resets:
        raise _UnknownError(f"No game ended within {steps} steps.")
    return "reset(mask=...) touches the chosen games only."


_NOT_REPEATABLE = "The game draws numbers of its own, which no seed decides."


def _check_determinism(env: VectorTeamEnv, seed: int, steps: int) -> str:
    if not env.repeatable:
        raise _UnknownError(_NOT_REPEATABLE)
    first, second = _record(env, seed, steps), _record(env, seed, steps)
    _expect(len(first) == len(second), "two runs with one seed had episodes of different lengths.")
    for moment, (one, two) in enumerate(zip(first, second)):
        differs = _difference(one, two)
        if differs:
            raise _BrokenError(
                f"two runs with one seed differ from observation {moment} on: {differs}; draw all that is random from the "
                "seed of reset, and begin every episode with nothing left of the last one."
            )
    return "Equal seeds give equal games."


def _check_num_envs(env: VectorTeamEnv, seed: int, steps: int, make: Callable[[int], VectorTeamEnv] | None) -> str:
    if not env.repeatable:
        raise _UnknownError(_NOT_REPEATABLE)
    if make is None:
        raise _UnknownError("Not checked: this needs a way to build the environment with another number of games.")
    alone, crowd = make(1), make(3)
    try:
        ours, theirs = _record_steps(alone, seed, steps), _record_steps(crowd, seed, steps)
    finally:
        alone.close()
        crowd.close()
    for step, (one, three) in enumerate(zip(ours, theirs)):
        for now, (a, b) in enumerate(zip(one, three)):
            _refuse_dependence(a, [part[:1] for part in b], step + now)
    return "A game does not depend on how many are played beside it."


def _record_steps(env: VectorTeamEnv, seed: int, steps: int) -> list[tuple[_Arrays, _Arrays]]:
    """Copies of what was seen before and after each step."""
    record: list[tuple[_Arrays, _Arrays]] = []
    before: list[_Arrays] = []

    def see(observed: TeamObs, out: TeamStep | None) -> None:
        if out is not None:
            record.append((before[0], _copies(observed, out)))
        before[:] = [_copies(observed, None)]

    _play(env, seed, steps, see)
    return record


def _refuse_dependence(alone: _Arrays, crowd: _Arrays, step: int) -> None:
    differs = _difference(alone, crowd)
    if differs:
        raise _BrokenError(
            f"the first of 3 games is not the game that is played alone with the same seed, from step {step} on: {differs}; "
            "give every game random numbers and variables of its own."
        )


_WHOLE_STATE = "get_state must give all that decides the future (boards, counters, random generators)"


def _check_state(env: VectorTeamEnv, seed: int, steps: int) -> str:
    half = max(1, min(steps, env.spec.episode_limit) // 2)
    observed = _play(env, seed, half, _ignore).obs
    assert observed is not None, "it has begun"
    state = env.get_state()
    if state is None:
        raise _UnknownError("The environment gives no state: a restored run restarts its running episodes.")
    kept, here = copy.deepcopy(state), _copies(observed, None)

    def go_on(observed: TeamObs) -> list[_Arrays]:
        record: list[_Arrays] = []

        def see(observed: TeamObs, out: TeamStep | None) -> None:
            if out is not None:
                record.append(_copies(observed, out))

        rollout = _rollout(env, seed + 1, see)
        rollout.obs = observed
        rollout.run(steps=half * env.num_envs)
        return record

    first = go_on(observed)
    restored = env.set_state(kept)
    differs = _difference(here, _copies(restored, None))
    if differs:
        raise _BrokenError(f"set_state does not bring back the observation: {differs}; {_WHOLE_STATE}.")
    for step, (one, two) in enumerate(zip(first, go_on(restored)), start=1):
        differs = _difference(one, two)
        if differs:
            raise _BrokenError(
                f"the games go on otherwise after set_state(get_state()): at step {step} {differs}; {_WHOLE_STATE}."
            )
    return "Games go on exactly after set_state(get_state())."


def _ignore(observed: TeamObs, out: TeamStep | None) -> None:
    """What was seen plays no part."""


class _EnoughSeenError(Exception):
    """A check has seen what it needs, and play may end."""


def _check_limit(env: VectorTeamEnv, seed: int) -> str:
    limit = env.spec.episode_limit
    length = np.zeros(env.num_envs, np.int64)
    running = np.ones(env.num_envs, np.bool_)  # in their first episode; what games do afterwards no longer matters here

    def see(observed: TeamObs, out: TeamStep | None) -> None:
        if out is None:
            return
        length[running] += 1
        running[_over(out)] = False
        if not running.any():
            raise _EnoughSeenError

    try:
        _play(env, seed, limit, see)
    except _EnoughSeenError:
        return f"Episodes end within the limit of {limit} steps; these took {length.min()} to {length.max()}."
    raise _BrokenError(f"{int(running.sum())} of {env.num_envs} games went on beyond the limit of {limit} steps.")


def _equal(one: _Arrays, two: _Arrays) -> bool:
    return not _difference(one, two)


def _difference(one: _Arrays, two: _Arrays) -> str:
    """Where the first difference is and what stands there, of arrays as :func:`_copies` gives them; empty where there is
    none."""
    if len(one) != len(two):
        return "a game ended in one of them only"
    for name, a, b in zip(_PARTS, one, two):
        if np.array_equal(a, b, equal_nan=_floats(a)):
            continue
        if a.shape != b.shape:
            return f"{name} has shape {a.shape} once and {b.shape} the other time"
        differ = (a != b) & ~((a != a) & (b != b))  # NaN is no difference to NaN
        index = np.argwhere(differ)[0]
        return f"{_place(name, index)} is {a[tuple(index)]} once and {b[tuple(index)]} the other time"
    return ""


def _place(name: str, index: Sequence[int] | npt.NDArray[np.intp]) -> str:
    """In words, where ``index`` is in an array [B, ...] of that name."""
    game, *rest = (int(i) for i in index)
    agent = f" of agent {rest.pop(0)}" if name in ("obs", "action_mask") else ""
    number = "".join(f"[{i}]" for i in rest)
    return f"{name}{number}{agent} of game {game}"


def _floats(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind == "f"
