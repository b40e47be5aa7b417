"""A bridge to oxwhirl's own packages: ``smac`` and ``smacv2`` as their authors wrote them, for who wants to compare.

They are on GitHub only; PyPI's ``smac`` is an optimiser of the same name. Install them with ``pip install --no-deps``, since
what they ask for would break Ray (docs/starcraft.md). Only their public methods are used: ``reset``, ``step``, ``get_obs``,
``get_state``, ``get_avail_actions``, ``get_env_info``, ``save_replay``, ``close``.

Known defects that are handled: a ``reset`` before the first episode has ended starts a second process of the game (a new
environment is made instead); a crash is reported as the end of an episode (it is dropped instead); the two families cannot
share a process (the second is refused). Known ones that stay: nothing but the game itself can be seeded.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.generators import FixedTeams, WeightedTeams
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.smac_rules import team_spec
from rllib_reborn.envs.starcraft.errors import GameCrashedError, InstallationError
from rllib_reborn.envs.starcraft.packages import FIX_PROTOCOL, stale_protocol
from rllib_reborn.envs.starcraft.pysc2_launcher import INSTALL, run_config
from rllib_reborn.envs.starcraft.settings import GameSettings
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame

logger = logging.getLogger(__name__)

REPOSITORIES: Mapping[str, str] = {
    "smac": "https://github.com/oxwhirl/smac",
    "smacv2": "https://github.com/oxwhirl/smacv2",
}
#: Options of ours that the packages do not know, with the only value that they can have there.
_OURS: Mapping[str, Any] = {"compat": None, "attack": None, "health": None, "enemy_mask": None}

_family: str | None = None
_family_lock = threading.Lock()


class OxwhirlGame(TeamGame):
    """One game of an installed ``smac`` or ``smacv2`` package.

    Args:
        scenario: Who fights whom.
        options: What agents see and are paid for, in the packages' own words.
        settings: Of these ``game_version``, ``difficulty``, ``seed``, ``replay_dir`` and ``save_replay_every`` are passed
            on; the packages look after their processes themselves.

    Raises:
        ValueError: An option is not one that the packages have.
    """

    repeatable = False

    def __init__(self, scenario: Scenario, options: SmacOptions, settings: GameSettings) -> None:
        if options.compat not in (None, scenario.family):
            raise ValueError(
                f"compat is {options.compat!r}, but backend 'oxwhirl' is the original of {scenario.family!r} itself; leave "
                "compat out."
            )
        for name, only in _OURS.items():
            if name != "compat" and getattr(options, name) != only:
                raise ValueError(f"{name} is not passed on to oxwhirl's package; leave it out with backend 'oxwhirl'.")
        if options.reward_scale == "smacv2":
            raise ValueError("reward_scale 'smacv2' is what oxwhirl's package does; say true with backend 'oxwhirl'.")
        self._scenario, self._options, self._settings = scenario, options, settings
        self.spec = team_spec(scenario, _as_original(scenario, options))
        self._env: Any = None
        self._version: str | None = None
        self._clean = True  # False while a first episode runs
        self._episodes_ended = 0

    def reset(self, seed: int) -> GameObs:
        if self._env is not None and not self._clean:
            self.close()
        if self._env is None:
            self._env = self._build(seed if self._settings.seed is None else self._settings.seed)
            self._clean = False
        self._env.reset()
        if self._version is None:
            # The one thing that no public method tells.
            self._version = str(self._env._controller.ping().game_version)
        return self._game_obs()

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> GameStep:
        reward, over, info = self._env.step(np.asarray(actions).tolist())
        if over and not info:
            raise GameCrashedError("the game crashed (the package reports an empty end of the episode)")
        cut_off = bool(info.get("episode_limit", False))
        if over:
            self._clean = True
            self._episodes_ended += 1
            if self._settings.replay_dir is not None and self._episodes_ended % self._settings.save_replay_every == 0:
                self._env.save_replay()
        return GameStep(
            self._game_obs(), float(reward), bool(over) and not cut_off, cut_off, bool(info.get("battle_won", False))
        )

    def provenance(self) -> Mapping[str, str]:
        return {} if self._version is None else {"game_version": self._version}

    def close(self) -> None:
        env, self._env = self._env, None
        self._clean = True
        if env is not None:
            env.close()

    def _game_obs(self) -> GameObs:
        env = self._env
        return GameObs(
            np.asarray(env.get_obs(), np.float32),
            np.asarray(env.get_state(), np.float32),
            np.asarray(env.get_avail_actions(), np.bool_),
        )

    def _build(self, seed: int) -> Any:
        family = self._scenario.family
        _claim_process(family)
        module = import_package(family)
        run_config(self._settings.game_version)  # says what is wrong with pysc2 or the game before they do
        if family == "smac":
            maker, more = module.StarCraft2Env, {"map_name": self._scenario.map_file}
            known = inspect.signature(maker).parameters
        else:
            wrapper = importlib.import_module("smacv2.env.starcraft2.wrapper")
            maker, more = wrapper.StarCraftCapabilityEnvWrapper, _capabilities(self._scenario)
            known = inspect.signature(module.StarCraft2Env).parameters
        env = maker(**_keywords(self._options, known), **self._of_settings(seed), **more)
        sizes = env.get_env_info()
        ours = {
            "n_agents": self.spec.n_agents,
            "n_actions": self.spec.n_actions,
            "obs_shape": self.spec.obs_dim,
            "state_shape": self.spec.state_dim,
            "episode_limit": self.spec.episode_limit,
        }
        wrong = {name: (sizes[name], mine) for name, mine in ours.items() if sizes[name] != mine}
        if self._options.obs_timestep_number:
            wrong.pop("obs_shape", None)  # the package counts one number too few
        if wrong:
            raise InstallationError(
                f"the installed {family} has other sizes than the published one (theirs, ours): {wrong}",
                f"install {REPOSITORIES[family]} as it is",
            )
        return env

    def _of_settings(self, seed: int) -> dict[str, Any]:
        settings = self._settings
        return {
            "difficulty": settings.difficulty,
            "game_version": settings.game_version,
            "seed": seed,
            "continuing_episode": True,  # so that the limit can be told from an end
            "replay_dir": str(Path(settings.replay_dir).expanduser().absolute()) if settings.replay_dir else "",
        }


def import_package(family: str) -> Any:
    """The module ``<family>.env.starcraft2.starcraft2`` of oxwhirl's package.

    Raises:
        InstallationError: It is not installed, or another package has its name.
    """
    found = importlib.util.find_spec(family)
    remedy = f"pip install --no-deps git+{REPOSITORIES[family]}"
    if found is None:
        raise InstallationError(
            f"backend 'oxwhirl' needs the package {family}, which is not installed", f"run: {remedy}"
        )
    folders = [Path(folder) for folder in found.submodule_search_locations or ()]
    if not any((folder / "env" / "starcraft2").is_dir() for folder in folders):
        raise InstallationError(
            f"the installed package {family!r} is not the StarCraft Multi-Agent Challenge (PyPI's is SMAC3, an optimiser)",
            f"run: pip uninstall {family} && {remedy}",
        )
    try:
        return importlib.import_module(f"{family}.env.starcraft2.starcraft2")
    except ModuleNotFoundError as error:
        raise InstallationError(f"{family} needs {error.name!r}, which is not installed", INSTALL) from error
    except TypeError as error:
        raise InstallationError(f"{family} cannot be imported: {stale_protocol()}", f"run: {FIX_PROTOCOL}") from error


def _claim_process(family: str) -> None:
    """Raise where the other family is already in this process.

    Raises:
        InstallationError: It is.
    """
    global _family
    with _family_lock:
        if _family not in (None, family):
            raise InstallationError(
                f"oxwhirl's {_family} already runs in this process, and {family} cannot join it: both register maps of the "
                "same names with pysc2 (DuplicateMapError)",
                "play them in processes of their own (workers: processes)",
            )
        _family = family


def _as_original(scenario: Scenario, options: SmacOptions) -> SmacOptions:
    scale = "smacv2" if scenario.family == "smacv2" and options.reward_scale else options.reward_scale
    return dataclasses.replace(options, compat=scenario.family, reward_scale=scale)


def _keywords(options: SmacOptions, known: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the package takes them.

    Raises:
        ValueError: It does not have one whose value differs from the default.
    """
    given = {}
    for name, value in vars(options).items():
        if name in _OURS:
            continue
        if name in known:
            given[name] = value
        elif value != getattr(SmacOptions(), name):
            raise ValueError(f"oxwhirl's package has no option {name!r}; leave it out with backend 'oxwhirl'.")
    return given


def _capabilities(scenario: Scenario) -> dict[str, Any]:
    """SMACv2's ``map_name`` and ``capability_config``."""
    generated = scenario.generated
    assert generated is not None
    teams, places = generated.teams, generated.positions
    team_gen: dict[str, Any] = {"dist_type": teams.dist_type, "observe": generated.observe_types}
    if isinstance(teams, FixedTeams):
        team_gen |= {"items": [list(team) for team in teams.teams], "test_mode": False}
    else:
        team_gen |= {"unit_types": list(teams.unit_types), "exception_unit_types": list(teams.exceptions)}
    if isinstance(teams, WeightedTeams):
        team_gen["weights"] = list(teams.weights)
    start_positions = {} if places is None else {"dist_type": places.dist_type, **dataclasses.asdict(places)}
    return {
        "map_name": f"10gen_{scenario.name.partition('_')[0]}",
        "capability_config": {
            "n_units": scenario.n_agents,
            "n_enemies": scenario.n_enemies,
            "team_gen": team_gen,
            **({"start_positions": start_positions} if start_positions else {}),
        },
    }
