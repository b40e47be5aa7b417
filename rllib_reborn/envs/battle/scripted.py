"""Teams that follow a script, for calibration and tests: what the scenarios take without learning.

They see the whole field, and act within SMAC's action masks as agents do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.battle.battle_env import BattleTeamEnv
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.smac.layout import ACTION_NOOP, ACTION_NORTH, ACTION_STOP, layout_of
from rllib_reborn.envs.smac.unit_types import KIND

Actions = npt.NDArray[np.intp]
#: ``policy(env) -> actions`` [B, n].
Policy = Callable[[BattleTeamEnv], Actions]

#: Unit steps of the actions north, south, east, west.
_STEPS = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]], np.float32)
_POLICY_SALT = 0x5C01
#: A kiting unit steps back while its weapon needs longer than this (in loops) and an enemy is this close (in cells).
_KITE_COOLDOWN, _KITE_DISTANCE = 4.0, 5.0
#: How long a team that falls back does so.
_FALL_BACK_STEPS = 6
#: Added to the distance and life of what is attacked last; what is never attacked has this much.
_LAST, _NEVER = np.float32(1e4), np.float32(1e9)


class _Sight(NamedTuple):
    """What the scripts decide by."""

    allies_x: npt.NDArray[np.float32]  #: [B, n], likewise y
    allies_y: npt.NDArray[np.float32]
    enemies_x: npt.NDArray[np.float32]  #: [B, m]
    enemies_y: npt.NDArray[np.float32]
    distance: npt.NDArray[np.float32]  #: [B, n, m]; far to Medivacs, huge to the dead
    life: npt.NDArray[np.float32]  #: [B, m] health and shield; much for Medivacs, huge for the dead
    may_attack: npt.NDArray[np.bool_]  #: [B, n, m]; False for Medivacs
    may_move: npt.NDArray[np.bool_]  #: [B, n, 4]
    medivac: npt.NDArray[np.bool_]  #: [B, n]
    idle: Actions  #: [B, n] stop, or no-op for the dead
    first_target: int


def _look(env: BattleTeamEnv) -> _Sight:
    n, m = env.scenario.n_agents, env.scenario.n_enemies
    units, mask = env.field.units, env.referee.seen.action_mask
    first = layout_of(env.scenario, env.options).first_target
    alive = units.health > 0
    dx = units.x[:, None, n:] - units.x[:, :n, None]
    dy = units.y[:, None, n:] - units.y[:, :n, None]
    medivac = units.kind == KIND["medivac"]
    # Medivacs do no harm: they come last.
    last = _LAST * medivac[:, n:]
    medivac = medivac[:, :n]
    return _Sight(
        units.x[:, :n],
        units.y[:, :n],
        units.x[:, n:],
        units.y[:, n:],
        np.where(alive[:, None, n:], np.hypot(dx, dy) + last[:, None], _NEVER),
        np.where(alive[:, n:], units.health[:, n:] + units.shield[:, n:] + last, _NEVER),
        mask[:, :, first : first + m] & ~medivac[..., None],
        mask[:, :, ACTION_NORTH : ACTION_NORTH + 4],
        medivac,
        np.where(mask[:, :, ACTION_NOOP], ACTION_NOOP, ACTION_STOP).astype(np.intp),
        first,
    )


def random_policy(env: BattleTeamEnv, seed: int = 0) -> Policy:
    """Uniformly random available actions."""
    streams = RandomStreams(env.num_envs, seed, salt=_POLICY_SALT)
    return lambda env: random_legal_actions(env.referee.seen.action_mask, streams.uniform(env.spec.n_agents))


def nearest(env: BattleTeamEnv) -> Actions:
    """Everybody attacks the enemy nearest to it, or goes there."""
    seen = _look(env)
    return _attack_or_go(env, seen, seen.distance.argmin(axis=2))


def focus_fire(env: BattleTeamEnv) -> Actions:
    """All who can attack the weakest of the enemies within somebody's reach; the others go for the nearest one."""
    seen = _look(env)
    in_reach = seen.may_attack.any(axis=1)
    weakest = np.where(in_reach, seen.life, _NEVER).argmin(axis=1)
    reaches = np.take_along_axis(seen.may_attack, weakest[:, None, None], axis=2)[..., 0]
    return _attack_or_go(env, seen, np.where(reaches, weakest[:, None], seen.distance.argmin(axis=2)))


def kite(env: BattleTeamEnv) -> Actions:
    """Like :func:`focus_fire`, but who waits for its weapon steps back from an enemy that is close."""
    seen, n = _look(env), env.scenario.n_agents
    actions = focus_fire(env)
    closest = seen.distance.argmin(axis=2)
    distance = seen.distance.min(axis=2)
    flees = (env.field.units.cooldown[:, :n] > _KITE_COOLDOWN) & (distance < _KITE_DISTANCE) & ~seen.medivac
    away_x = seen.allies_x - np.take_along_axis(seen.enemies_x, closest, axis=1)
    away_y = seen.allies_y - np.take_along_axis(seen.enemies_y, closest, axis=1)
    return np.where(flees, _go(seen, away_x, away_y), actions)


def fall_back(env: BattleTeamEnv) -> Actions:
    """Away from the enemies for a few steps, by turns along x and y; then wait until somebody has an enemy in reach, and
    only then fight like :func:`nearest`."""
    seen = _look(env)
    steps = env.steps[:, None]
    along_x, early = steps % 2 == 1, steps < _FALL_BACK_STEPS
    living = (seen.life < _NEVER)[:, None]
    count = np.maximum(living.sum(axis=2), 1)
    away_x = seen.allies_x - (seen.enemies_x[:, None] * living).sum(axis=2) / count
    away_y = seen.allies_y - (seen.enemies_y[:, None] * living).sum(axis=2) / count
    fighting = np.expand_dims(seen.may_attack.any(axis=(1, 2)), 1)
    later = np.where(fighting, nearest(env), seen.idle)
    return np.where(early, _go(seen, away_x * along_x, away_y * ~along_x), later)


def _attack_or_go(env: BattleTeamEnv, seen: _Sight, target: Actions) -> Actions:
    """Attack ``target`` [B, n] where that is allowed, else walk towards it."""
    may = np.take_along_axis(seen.may_attack, target[..., None], axis=2)[..., 0]
    towards_x = np.take_along_axis(seen.enemies_x, target, axis=1) - seen.allies_x
    towards_y = np.take_along_axis(seen.enemies_y, target, axis=1) - seen.allies_y
    actions = np.where(may, seen.first_target + target, _go(seen, towards_x, towards_y))
    return np.where(seen.medivac, _heal(env, seen), actions) if seen.medivac.any() else actions


def _go(seen: _Sight, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> Actions:
    """The allowed move that leads farthest in direction ``x, y`` [B, n]; idle if none does."""
    gain = x[..., None] * _STEPS[:, 0] + y[..., None] * _STEPS[:, 1]
    gain = np.where(seen.may_move, gain, -_NEVER)
    best = gain.argmax(axis=2)
    leads = np.take_along_axis(gain, best[..., None], axis=2)[..., 0] > 0
    return np.where(leads, ACTION_NORTH + best, seen.idle)


def _heal(env: BattleTeamEnv, seen: _Sight) -> Actions:
    """[B, n] what Medivacs do: heal who needs it most and is in reach, else follow who is nearest to them."""
    n, units = env.scenario.n_agents, env.field.units
    mask = env.referee.seen.action_mask[:, :, seen.first_target : seen.first_target + n]
    loss = (units.health_max - units.health)[:, :n]
    need = np.where(mask, loss[:, None], -1)
    patient = need.argmax(axis=2)
    heals = need.max(axis=2) > 0
    fights = (units.health[:, :n] > 0) & ~seen.medivac
    dx, dy = seen.allies_x[:, None] - seen.allies_x[..., None], seen.allies_y[:, None] - seen.allies_y[..., None]
    leader = np.where(fights[:, None], np.hypot(dx, dy), _NEVER).argmin(axis=2)
    follow_x = np.take_along_axis(dx, leader[..., None], axis=2)[..., 0]
    follow_y = np.take_along_axis(dy, leader[..., None], axis=2)[..., 0]
    close = np.hypot(follow_x, follow_y) < 2
    follows = np.where(close, seen.idle, _go(seen, follow_x, follow_y))
    return np.where(heals, seen.first_target + patient, follows)


#: Name -> policy, or for ``random`` what makes one.
POLICIES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"random": random_policy, "nearest": nearest, "focus_fire": focus_fire, "kite": kite, "fall_back": fall_back}
)


class Outcome(NamedTuple):
    """How episodes went."""

    won: npt.NDArray[np.bool_]  #: [episodes]
    returns: npt.NDArray[np.float64]  #: [episodes]
    lengths: npt.NDArray[np.int64]  #: [episodes]
    truncated: npt.NDArray[np.bool_]  #: [episodes]


def play(env: BattleTeamEnv, policy: str, seed: int = 0) -> Outcome:
    """One episode in each of the env's battles, all with one scripted team.

    Args:
        env: The battles; reset with ``seed``.
        policy: A name of :data:`POLICIES`.
        seed: Seed of the battles, and of a random team.
    """
    act: Policy = random_policy(env, seed) if policy == "random" else POLICIES[policy]
    B = env.num_envs
    running = np.ones(B, np.bool_)
    outcome = Outcome(np.zeros(B, np.bool_), np.zeros(B), np.zeros(B, np.int64), np.zeros(B, np.bool_))
    env.reset(seed=seed)
    while running.any():
        out = env.step(act(env))
        outcome.returns[running] += out.reward[running]
        outcome.lengths[running] += 1
        ended = running & (out.terminated | out.truncated)
        outcome.won[ended] = out.info["won"][ended]
        outcome.truncated[ended] = out.truncated[ended]
        running &= ~ended
    return outcome
