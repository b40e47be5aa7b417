"""What an environment may return: checks that the env runner, the vectoriser and the checker share.

The functions that begin with ``find_`` return the first fault as the rest of a sentence after "returned", such as
``obs of shape (4, 1) and dtype float32; expected (4, 2) and float32``, or None. :func:`check_obs` and :func:`check_step`
raise it as an :class:`EnvContractError` that names the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep

_SHOWN_CHARACTERS = 60


class EnvContractError(RuntimeError):
    """The environment returned something that its contract forbids (NaN, a wrong shape, an endless episode), or fails so
    often that no episode of it is ever finished."""


def check_obs(obs: TeamObs, spec: TeamSpec, num_envs: int, env_name: str) -> None:
    """Check types, shapes, dtypes, finiteness and masks of what ``reset`` returned for ``num_envs`` games.

    Raises:
        EnvContractError: One of them is not as ``spec`` says; the message names ``env_name``, the array and its value.
    """
    _raise(find_obs_fault(obs, spec, num_envs) or _find_value_fault(obs), env_name)


def check_step(step: TeamStep, spec: TeamSpec, num_envs: int, env_name: str) -> None:
    """Check what ``step`` returned, as :func:`check_obs`; ``info["won"]`` must be there when an episode ends and
    ``spec.has_win`` is set.

    Raises:
        EnvContractError: As :func:`check_obs`.
    """
    _raise(
        find_step_fault(step, spec, num_envs)
        or _find_value_fault(step.obs)
        or find_non_finite("reward", step.reward)
        or _find_missing_win(step, spec),
        env_name,
    )


def find_obs_fault(obs: Any, spec: TeamSpec, num_envs: int) -> str | None:
    """Whether ``obs`` is a :class:`TeamObs` whose arrays have the shapes and dtypes of ``spec``."""
    if not isinstance(obs, TeamObs):
        return _wrong_type("its observations", obs, "a TeamObs(obs, state, action_mask)")
    return (
        find_array_fault("obs", obs.obs, (num_envs, spec.n_agents, spec.obs_dim), spec.obs_dtype)
        or find_array_fault("state", obs.state, (num_envs, spec.state_dim), spec.state_dtype)
        or find_array_fault("action_mask", obs.action_mask, (num_envs, spec.n_agents, spec.n_actions), "bool")
    )


def find_step_fault(step: Any, spec: TeamSpec, num_envs: int) -> str | None:
    """Whether ``step`` is a :class:`TeamStep` whose arrays (also in ``info``) have the shapes and dtypes of ``spec``."""
    if not isinstance(step, TeamStep):
        return _wrong_type("its step", step, "a TeamStep(obs, reward, terminated, truncated, info)")
    shape = (num_envs,)
    fault = (
        find_obs_fault(step.obs, spec, num_envs)
        or find_array_fault("reward", step.reward, shape, "float32")
        or find_array_fault("terminated", step.terminated, shape, "bool")
        or find_array_fault("truncated", step.truncated, shape, "bool")
    )
    if fault is not None:
        return fault
    if not isinstance(step.info, Mapping):
        return _wrong_type("info", step.info, "a dict of arrays, {} where there is nothing to tell")
    for name in ("failed", "won") if spec.has_win else ("failed",):
        if name in step.info:
            fault = find_array_fault(f"info[{name!r}]", step.info[name], shape, "bool")
            if fault is not None:
                return fault
    return None


def find_array_fault(
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    casting: Literal["no", "same_kind", "unsafe"] = "no",
) -> str | None:
    """Whether ``value`` is an array of this shape, and of this dtype or one that numpy casts to it by ``casting``."""
    wanted = np.dtype(dtype)
    if not isinstance(value, np.ndarray):
        return _wrong_type(name, value, f"a numpy array of shape {shape} and dtype {wanted}")
    if value.shape != shape or not (value.dtype == wanted or np.can_cast(value.dtype, wanted, casting)):
        return f"{name} of shape {value.shape} and dtype {value.dtype}; expected {shape} and {wanted}"
    return None


def find_non_finite(name: str, array: npt.NDArray[Any]) -> str | None:
    """Whether all numbers of ``array`` are finite."""
    index = first_non_finite(array)
    return None if index is None else f"{name} with the value {array[index]}; expected finite numbers"


def first_non_finite(array: npt.NDArray[Any]) -> tuple[int, ...] | None:
    """Index of the first number of ``array`` that is not finite; None where all are."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return None
    return tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])


def first_without_action(action_mask: npt.NDArray[np.bool_]) -> tuple[int, ...] | None:
    """Index of the first row of ``action_mask`` [..., A] that allows no action: (game, agent), or (agent,) of a single
    game; None where there is none."""
    allowed = action_mask.any(axis=-1)
    return None if allowed.all() else tuple(int(i) for i in np.argwhere(~allowed)[0])


def _find_value_fault(obs: TeamObs) -> str | None:
    fault = find_non_finite("obs", obs.obs) or find_non_finite("state", obs.state)
    if fault is not None:
        return fault
    index = first_without_action(obs.action_mask)
    if index is None:
        return None
    return (
        f"an action_mask that allows agent {index[1]} of game {index[0]} no action; expected at least one for every agent "
        "at every step (a no-op for a dead one)"
    )


def _find_missing_win(step: TeamStep, spec: TeamSpec) -> str | None:
    if not spec.has_win or "won" in step.info or not (step.terminated | step.truncated).any():
        return None
    return (
        f"info at the end of an episode with the keys {list(step.info)}; expected 'won' among them, since TeamSpec.has_win "
        "is set. Give it, or leave has_win out"
    )


def _wrong_type(name: str, value: Any, expected: str) -> str:
    shown = " ".join(repr(value).split())
    shown = shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 3]}..."
    return f"{name} as {type(value).__name__} ({shown}); expected {expected}"


def _raise(fault: str | None, env_name: str) -> None:
    if fault is not None:
        raise EnvContractError(f"{env_name!r} returned {fault}. Run `rllib-reborn envs` on it.")
