"""Does an environment keep the contract of :class:`VectorTeamEnv`? Random play that looks for broken
promises."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs, TeamStep, VectorTeamEnv
from rllib_reborn.envs.team_game import GameUnavailableError

#: Name of the one result that says that the game cannot be played on this machine; its ``ok`` is None.
UNAVAILABLE = "game"

_POLICY_SALT = 2
#: Most steps that a check plays when it is not told: enough for several episodes of most games, in seconds.
_DEFAULT_STEPS = 600


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """Outcome of one check.

    Attributes:
        name: Short name of the check.
        ok: True: kept; False: broken; None: could not be checked here.
        sentence: What was seen, for people.
    """

    name: str
    ok: bool | None
    sentence: str


#: What :func:`_copies` gives.
_Arrays = Sequence[npt.NDArray[Any]]
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
) -> list[CheckResult]:
    """Play at random and check the contract. ``env`` is reset and played; it is not closed.

    Args:
        env: The environment.
        seed: Seed of games and policy.
        steps: Steps of each of the checks; default: the episode limit and a bit, at most 600.
        make: ``make(num_envs)`` builds the same environment with another number of games. Without it the
            check that a game does not depend on how many are played beside it cannot be made (its ``ok`` is
            None).

    Returns:
        One result per check, in a fixed order: ``no_failures``, ``shapes``, ``values``, ``action_mask``,
        ``illegal_action``, ``no_self_reset``, ``determinism``, ``num_envs``, ``get_state``, ``episode_limit``. A
        check in which the environment raised an exception is broken. Where the game cannot be played on this machine
        (:class:`GameUnavailableError`), the checks end with one result ``game`` that says so.
    """
    steps = min(env.spec.episode_limit + 20, _DEFAULT_STEPS) if steps is None else steps
    checks: list[tuple[str, Callable[[], str]]] = [
        ("no_failures", lambda: _check_failures(env, seed, steps)),
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
    results = []
    for name, check in checks:
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
            results.append(CheckResult(name, False, f"it raised {type(error).__name__}: {error}"))
    return results


def _expect(condition: bool, sentence: str) -> None:
    if not condition:
        raise _BrokenError(sentence)


# ----------------------------------------------------------------------------------------------------------
# playing


def _policy(env: VectorTeamEnv, seed: int) -> Callable[[TeamObs], npt.NDArray[np.intp]]:
    streams = RandomStreams(env.num_envs, seed, salt=_POLICY_SALT)
    return lambda seen: random_legal_actions(seen.action_mask, streams.uniform(env.spec.n_agents))


def _play(env: VectorTeamEnv, seed: int, steps: int) -> Iterator[tuple[TeamObs, TeamStep | None]]:
    """What is seen after every reset (with None) and step; finished games are reset."""
    seen = env.reset(seed=seed)
    yield seen, None
    act = _policy(env, seed)
    for _ in range(steps):
        out = env.step(act(seen))
        yield out.obs, out
        seen = out.obs
        over = _over(out)
        if over.any():
            seen = env.reset(mask=over)
            yield seen, None


def _over(out: TeamStep) -> npt.NDArray[np.bool_]:
    """[B] games that must be reset: ended, or failed."""
    over: npt.NDArray[np.bool_] = out.terminated | out.truncated | out.info.get("failed", False)
    return over


def _record(env: VectorTeamEnv, seed: int, steps: int) -> list[tuple[npt.NDArray[Any], ...]]:
    """Copies of all that was seen."""
    return [_copies(seen, out) for seen, out in _play(env, seed, steps)]


def _copies(seen: TeamObs, out: TeamStep | None) -> tuple[npt.NDArray[Any], ...]:
    parts = tuple(np.array(part) for part in seen)
    return parts if out is None else (*parts, *(np.array(part) for part in out[1:4]))


# ----------------------------------------------------------------------------------------------------------
# checks


def _check_failures(env: VectorTeamEnv, seed: int, steps: int) -> str:
    """In training a game that fails costs an episode and a line in the log; here it is a fault."""
    for moment, (_, out) in enumerate(_play(env, seed, steps)):
        failed = None if out is None else out.info.get("failed")
        if failed is not None and failed.any():
            reason = getattr(env, "last_failure", None) or "it does not say why"
            raise _BrokenError(f"game {int(np.flatnonzero(failed)[0])} failed at observation {moment}: {reason}")
    return "No game failed."


def _check_shapes(env: VectorTeamEnv, seed: int, steps: int) -> str:
    spec, B = env.spec, env.num_envs
    want = {
        "obs": ((B, spec.n_agents, spec.obs_dim), spec.obs_dtype),
        "state": ((B, spec.state_dim), spec.state_dtype),
        "action_mask": ((B, spec.n_agents, spec.n_actions), "bool"),
        "reward": ((B,), "float32"),
        "terminated": ((B,), "bool"),
        "truncated": ((B,), "bool"),
        "failed": ((B,), "bool"),
        "won": ((B,), "bool"),
    }
    for seen, out in _play(env, seed, steps):
        have = seen._asdict()
        if out is not None:
            have |= {"reward": out.reward, "terminated": out.terminated, "truncated": out.truncated}
            have |= {"failed": out.info.get("failed")}
            if spec.has_win:
                have |= {"won": out.info.get("won")}
        for name, array in have.items():
            shape, dtype = want[name]
            _expect(isinstance(array, np.ndarray), f"{name} is {type(array).__name__}; expected an array.")
            _expect(array.shape == shape, f"{name} has shape {array.shape}; the spec says {shape}.")
            _expect(array.dtype == np.dtype(dtype), f"{name} has dtype {array.dtype}; expected {dtype}.")
    return "All arrays have the shapes and dtypes of the spec."


def _check_values(env: VectorTeamEnv, seed: int, steps: int) -> str:
    for moment, (seen, out) in enumerate(_play(env, seed, steps)):
        arrays = {"obs": seen.obs, "state": seen.state}
        if out is not None:
            arrays["reward"] = out.reward
        for name, array in arrays.items():
            wrong = np.argwhere(~np.isfinite(array))
            if len(wrong):
                raise _BrokenError(
                    f"{name} holds a number that is not finite: {_place(name, wrong[0])} is {array[tuple(wrong[0])]} at "
                    f"observation {moment}; return finite numbers only."
                )
    return "All observations, states and rewards are finite."


def _check_mask(env: VectorTeamEnv, seed: int, steps: int) -> str:
    for seen, _ in _play(env, seed, steps):
        without = ~seen.action_mask.any(axis=2)
        if without.any():
            game, agent = (int(x) for x in np.argwhere(without)[0])
            raise _BrokenError(f"agent {agent} of game {game} has no available action.")
    return "Every agent always has an available action, and all available actions that were tried were accepted."


def _check_illegal(env: VectorTeamEnv, seed: int) -> str:
    seen = env.reset(seed=seed)
    before = _copies(seen, None)
    legal = random_legal_actions(seen.action_mask, np.zeros(seen.action_mask.shape[:2]))
    bad = legal.copy()
    bad[0, 0] = env.spec.n_actions
    forbidden = np.argwhere(~seen.action_mask)
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
    act = _policy(env, seed)
    seen = env.reset(seed=seed)
    resets = 0
    for _ in range(steps):
        out = env.step(act(seen))
        over = _over(out)
        before = _copies(out.obs, None)
        seen = out.obs
        if over.any():
            seen = env.reset(mask=over)
            for old, new in zip(before, seen):
                _expect(np.array_equal(old[~over], new[~over]), "reset(mask=...) changed a game that it left out.")
            resets += 1
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
        acts = _policy(alone, seed), _policy(crowd, seed)
        seen_1, seen_3 = alone.reset(seed=seed), crowd.reset(seed=seed)
        for step in range(steps):
            actions = [act(seen) for act, seen in zip(acts, (seen_1, seen_3))]
            _refuse_dependence(_copies(seen_1, None), [part[:1] for part in seen_3], step)
            out_1, out_3 = alone.step(actions[0]), crowd.step(actions[1])
            ours, theirs = _copies(out_1.obs, out_1), _copies(out_3.obs, out_3)
            _refuse_dependence(ours, [part[:1] for part in theirs], step + 1)
            seen_1, seen_3 = out_1.obs, out_3.obs
            over_1, over_3 = _over(out_1), _over(out_3)
            if over_1.any():
                seen_1 = alone.reset(mask=over_1)
            if over_3.any():
                seen_3 = crowd.reset(mask=over_3)
    finally:
        alone.close()
        crowd.close()
    return "A game does not depend on how many are played beside it."


def _refuse_dependence(alone: _Arrays, crowd: _Arrays, step: int) -> None:
    differs = _difference(alone, crowd)
    if differs:
        raise _BrokenError(
            f"the first of 3 games is not the game that is played alone with the same seed, from step {step} on: {differs}; "
            "give every game random numbers and variables of its own."
        )


_WHOLE_STATE = "get_state must give all that decides the future (boards, counters, random generators)"


def _check_state(env: VectorTeamEnv, seed: int, steps: int) -> str:
    act = _policy(env, seed)
    seen = env.reset(seed=seed)
    half = max(1, min(steps, env.spec.episode_limit) // 2)
    for _ in range(half):
        out = env.step(act(seen))
        over = _over(out)
        seen = env.reset(mask=over) if over.any() else out.obs
    state = env.get_state()
    if state is None:
        raise _UnknownError("The environment gives no state: a restored run starts its running episodes anew.")
    kept, here = copy.deepcopy(state), _copies(seen, None)

    def go_on(seen: TeamObs) -> list[tuple[npt.NDArray[Any], ...]]:
        act, record = _policy(env, seed + 1), []
        for _ in range(half):
            out = env.step(act(seen))
            record.append(_copies(out.obs, out))
            over = _over(out)
            seen = env.reset(mask=over) if over.any() else out.obs
        return record

    first = go_on(seen)
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


def _check_limit(env: VectorTeamEnv, seed: int) -> str:
    limit = env.spec.episode_limit
    act = _policy(env, seed)
    seen = env.reset(seed=seed)
    length = np.zeros(env.num_envs, np.int64)
    running = np.ones(env.num_envs, np.bool_)
    for _ in range(limit):
        out = env.step(act(seen))
        seen = out.obs
        length[running] += 1
        running &= ~_over(out)
        if not running.any():
            took = f"{length.min()} to {length.max()}"
            return f"Episodes end within the limit of {limit} steps; these took {took}."
        # Games that are over are started anew; what they do no longer matters here.
        over = _over(out)
        if over.any():
            seen = env.reset(mask=over)
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
