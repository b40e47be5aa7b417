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
from rllib_reborn.envs.rollout import Rollout, Transition
from rllib_reborn.envs.smac.layout import ACTION_NOOP, ACTION_NORTH, ACTION_STOP, layout_of
from rllib_reborn.envs.smac.unit_types import KIND
from rllib_reborn.envs.team_env import TeamObs

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
    units, mask = env.field.units, env.rules.team_obs.action_mask
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
    return lambda env: random_legal_actions(env.rules.team_obs.action_mask, streams.uniform(env.spec.n_agents))


def nearest(env: BattleTeamEnv) -> Actions:
    """Everybody attacks the enemy nearest to it, or goes there."""
    sight = _look(env)
    return _attack_or_go(env, sight, sight.distance.argmin(axis=2))


def focus_fire(env: BattleTeamEnv) -> Actions:
    """All who can attack the weakest of the enemies within somebody's reach; the others go for the nearest one."""
    sight = _look(env)
    in_reach = sight.may_attack.any(axis=1)
    weakest = np.where(in_reach, sight.life, _NEVER).argmin(axis=1)
    reaches = np.take_along_axis(sight.may_attack, weakest[:, None, None], axis=2)[..., 0]
    return _attack_or_go(env, sight, np.where(reaches, weakest[:, None], sight.distance.argmin(axis=2)))


def kite(env: BattleTeamEnv) -> Actions:
    """Like :func:`focus_fire`, but who waits for its weapon steps back from an enemy that is close."""
    sight, n = _look(env), env.scenario.n_agents
    actions = focus_fire(env)
    closest = sight.distance.argmin(axis=2)
    distance = sight.distance.min(axis=2)
    flees = (env.field.units.cooldown[:, :n] > _KITE_COOLDOWN) & (distance < _KITE_DISTANCE) & ~sight.medivac
    away_x = sight.allies_x - np.take_along_axis(sight.enemies_x, closest, axis=1)
    away_y = sight.allies_y - np.take_along_axis(sight.enemies_y, closest, axis=1)
    return np.where(flees, _go(sight, away_x, away_y), actions)


def fall_back(env: BattleTeamEnv) -> Actions:
    """Away from the enemies for a few steps, by turns along x and y; then wait until somebody has an enemy in reach, and
    only then fight like :func:`nearest`."""
    sight = _look(env)
    steps = env.steps[:, None]
    along_x, early = steps % 2 == 1, steps < _FALL_BACK_STEPS
    living = (sight.life < _NEVER)[:, None]
    count = np.maximum(living.sum(axis=2), 1)
    away_x = sight.allies_x - (sight.enemies_x[:, None] * living).sum(axis=2) / count
    away_y = sight.allies_y - (sight.enemies_y[:, None] * living).sum(axis=2) / count
    fighting = np.expand_dims(sight.may_attack.any(axis=(1, 2)), 1)
    later = np.where(fighting, nearest(env), sight.idle)
    return np.where(early, _go(sight, away_x * along_x, away_y * ~along_x), later)


def _attack_or_go(env: BattleTeamEnv, sight: _Sight, target: Actions) -> Actions:
    """Attack ``target`` [B, n] where that is allowed, else walk towards it."""
    may = np.take_along_axis(sight.may_attack, target[..., None], axis=2)[..., 0]
    towards_x = np.take_along_axis(sight.enemies_x, target, axis=1) - sight.allies_x
    towards_y = np.take_along_axis(sight.enemies_y, target, axis=1) - sight.allies_y
    actions = np.where(may, sight.first_target + target, _go(sight, towards_x, towards_y))
    return np.where(sight.medivac, _heal(env, sight), actions) if sight.medivac.any() else actions


def _go(sight: _Sight, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> Actions:
    """The allowed move that leads farthest in direction ``x, y`` [B, n]; idle if none does."""
    gain = x[..., None] * _STEPS[:, 0] + y[..., None] * _STEPS[:, 1]
    gain = np.where(sight.may_move, gain, -_NEVER)
    best = gain.argmax(axis=2)
    leads = np.take_along_axis(gain, best[..., None], axis=2)[..., 0] > 0
    return np.where(leads, ACTION_NORTH + best, sight.idle)


def _heal(env: BattleTeamEnv, sight: _Sight) -> Actions:
    """[B, n] what Medivacs do: heal who needs it most and is in reach, else follow who is nearest to them."""
    n, units = env.scenario.n_agents, env.field.units
    mask = env.rules.team_obs.action_mask[:, :, sight.first_target : sight.first_target + n]
    loss = (units.health_max - units.health)[:, :n]
    need = np.where(mask, loss[:, None], -1)
    patient = need.argmax(axis=2)
    heals = need.max(axis=2) > 0
    fights = (units.health[:, :n] > 0) & ~sight.medivac
    dx, dy = sight.allies_x[:, None] - sight.allies_x[..., None], sight.allies_y[:, None] - sight.allies_y[..., None]
    leader = np.where(fights[:, None], np.hypot(dx, dy), _NEVER).argmin(axis=2)
    follow_x = np.take_along_axis(dx, leader[..., None], axis=2)[..., 0]
    follow_y = np.take_along_axis(dy, leader[..., None], axis=2)[..., 0]
    close = np.hypot(follow_x, follow_y) < 2
    follows = np.where(close, sight.idle, _go(sight, follow_x, follow_y))
    return np.where(heals, sight.first_target + patient, follows)


#: Name -> policy, or for ``random`` what makes one.
POLICIES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"random": random_policy, "nearest": nearest, "focus_fire": focus_fire, "kite": kite, "fall_back": fall_back}
)


class ScriptedOutcome(NamedTuple):
    """How episodes went."""

    won: npt.NDArray[np.bool_]  #: [episodes]
    returns: npt.NDArray[np.float64]  #: [episodes]
    lengths: npt.NDArray[np.int64]  #: [episodes]
    truncated: npt.NDArray[np.bool_]  #: [episodes]


def play(env: BattleTeamEnv, policy: str, seed: int = 0) -> ScriptedOutcome:
    """One episode in each of the env's battles, all with one scripted team.

    Args:
        env: The battles; reset with ``seed``.
        policy: A name of :data:`POLICIES`.
        seed: Seed of the battles, and of a random team.
    """
    B = env.num_envs
    outcome = ScriptedOutcome(np.zeros(B, np.bool_), np.zeros(B), np.zeros(B, np.int64), np.zeros(B, np.bool_))

    def on_step(transition: Transition) -> None:
        counted, step = transition.counted, transition.step
        outcome.won[counted] = step.info["won"][counted]
        outcome.returns[counted] = transition.returns[counted]
        outcome.lengths[counted] = transition.lengths[counted]
        outcome.truncated[counted] = step.truncated[counted]

    rollout = Rollout(env, _ScriptedActor(env, policy, seed), f"battle/{env.scenario.name}", on_step=on_step)
    rollout.begin(seed)
    rollout.run(quotas=np.ones(B, np.int64))
    return outcome


class _ScriptedActor:
    """A scripted team in all battles at once; it reads the field itself, not what its agents observe."""

    def __init__(self, env: BattleTeamEnv, policy: str, seed: int) -> None:
        self._env = env
        self._policy: Policy = random_policy(env, seed) if policy == "random" else POLICIES[policy]

    def begin(self, mask: npt.NDArray[np.bool_] | None, seed: int | None) -> None:
        """Scripts remember nothing of an episode, and a random team goes on with its streams."""

    def act(self, obs: TeamObs) -> Actions:
        return self._policy(self._env)
