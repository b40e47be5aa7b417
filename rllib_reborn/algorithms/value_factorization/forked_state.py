"""A checkpoint that another config can go on from: what fits is taken over, and the rest starts anew.

Only files are read and written, so that a fork is checked before anything is started and needs no second algorithm.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.core import (
    COMPONENT_ENV_RUNNER,
    COMPONENT_LEARNER,
    COMPONENT_LEARNER_GROUP,
    COMPONENT_METRICS_LOGGER,
    COMPONENT_OPTIMIZER,
    COMPONENT_RL_MODULE,
    DEFAULT_MODULE_ID,
)
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_reborn.algorithms.value_factorization.checkpoint_components import REMOTE_GAMES, REPLAY
from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.counters import TrainingCounters
from rllib_reborn.algorithms.value_factorization.learner_setup import make_optimizer
from rllib_reborn.callbacks.carried_state import carried_check, carried_interventions, carried_places
from rllib_reborn.envs.task_sequence import is_sequence
from rllib_reborn.plasticity.schedule import CLOCK_UNITS
from rllib_reborn.runtime.spaces import replay_layout, team_spaces

#: What a fork can leave out.
PARTS = ("replay", "optimizer", "counters")

_OWN = "value_factorization"
_LEARNER = Path(COMPONENT_LEARNER_GROUP, COMPONENT_LEARNER)
_TEAM = _LEARNER / COMPONENT_RL_MODULE / DEFAULT_MODULE_ID
_STATE = {Path(): "algorithm_state.pkl", _TEAM: "module_state.pkl"}


class ForkError(ValueError):
    """A saved state does not fit another config; the message is one sentence for the user."""


@dataclasses.dataclass(frozen=True)
class Fork:
    """From one checkpoint to another config.

    Attributes:
        checkpoint: Folder of the source.
        source: Config that wrote it; None: unknown, so that nothing is taken for equal.
        config: The config that goes on; its learning rate is a number, as those of experiments are.
        fresh: Those of :data:`PARTS` that start anew.
    """

    checkpoint: Path
    source: ValueFactorizationConfig | None
    config: ValueFactorizationConfig
    fresh: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for part in sorted(self.fresh):
            if part not in PARTS:
                raise ForkError(f"fresh is {part!r}; expected {', '.join(PARTS)}.")

    # ------------------------------------------------------------------ what goes on

    @property
    def same_games(self) -> bool:
        """Whether running games and random streams go on: same environment, same seed."""
        source, config = self.source, self.config
        return source is not None and (source.env, source.env_config, source.seed) == (
            config.env,
            config.env_config,
            config.seed,
        )

    @property
    def has_replay(self) -> bool:
        """Whether the source's checkpoint holds its replay."""
        return (self.checkpoint / REPLAY / "replay.json").is_file()

    def parts(self) -> dict[str, str]:
        """What becomes of each part, for the user: ``taken over`` or ``anew``, and why."""
        found = {"networks": "taken over"}
        for part in ("optimizer", "replay", "counters"):
            found[part] = "anew (--fresh)" if part in self.fresh else "taken over"
        if "replay" not in self.fresh and not self.has_replay:
            found["replay"] = "anew (the checkpoint holds none): the warm-up begins again"
        found["games"] = "taken over, with the random streams" if self.same_games else self._why_new_games()
        old = self.source.parse_interventions() if self.source is not None else []
        new = self.config.parse_interventions()
        for position, place in enumerate(carried_places(old, new)):
            goes_on = place is not None and "counters" not in self.fresh
            found[f"interventions.{position} ({new[position].kind})"] = "goes on" if goes_on else "anew"
        return found

    def _why_new_games(self) -> str:
        source, config = self.source, self.config
        if source is None:
            return "anew: what the source's environment was is not known"
        if source.seed != config.seed:
            return f"anew, with the random streams of seed {config.seed} (the source's was {source.seed})"
        return "anew: the environment is another one"

    # ------------------------------------------------------------------ does it fit?

    def check(self) -> None:
        """Compare shapes and kinds before anything is started.

        Raises:
            ForkError: Networks, replay or optimizer do not fit.
        """
        self._check_networks()
        if "replay" not in self.fresh and self.has_replay:
            self._check_replay()
        if "optimizer" not in self.fresh:
            self._check_optimizer()

    def _check_networks(self) -> None:
        saved = {name: np.shape(value) for name, value in self._read(_TEAM).items()}
        spec = self.config.get_rl_module_spec(env=None, spaces=_spaces(self.config), inference_only=False)
        here = {name: tuple(value.shape) for name, value in spec.build().state_dict().items()}
        for name in sorted(saved.keys() | here.keys()):
            there, wanted = saved.get(name), here.get(name)
            if there != wanted:
                raise ForkError(
                    f"the networks in {self.checkpoint} do not fit: {name} is {_shape(there)} there and {_shape(wanted)} "
                    "here; give the algorithm, model, mixer and an environment of the same sizes."
                )

    def _check_replay(self) -> None:
        layout = replay_layout(self.config.team_spec)
        for name, (shape, dtype) in layout.items():
            path = self.checkpoint / REPLAY / f"{name}.npy"
            if not path.is_file():
                continue  # no episode yet
            with path.open("rb") as file:
                np.lib.format.read_magic(file)
                (_, *saved), _, saved_dtype = np.lib.format.read_array_header_1_0(file)
            if (tuple(saved), saved_dtype) != (shape, dtype):
                raise ForkError(
                    f"the replay in {self.checkpoint} does not fit: {name} is {saved_dtype}{saved} there and "
                    f"{dtype}{list(shape)} here; leave it out with --fresh replay."
                )
        lengths = json.loads((self.checkpoint / REPLAY / "replay.json").read_text(encoding="utf-8"))["lengths"]
        limit = self.config.team_spec.episode_limit
        if lengths and max(lengths) > limit:
            raise ForkError(
                f"the replay in {self.checkpoint} does not fit: it holds an episode of {max(lengths)} env steps, and here "
                f"the limit is {limit}; leave it out with --fresh replay."
            )

    def _check_optimizer(self) -> None:
        for saved in self._read(_LEARNER).get(COMPONENT_OPTIMIZER, {}).values():
            group = saved["state"]["param_groups"][0]
            wanted = _group(self.config)
            if group.keys() - {"params"} != wanted.keys():
                kind = self.config.team_optimizer["kind"]
                raise ForkError(
                    f"the optimizer's state in {self.checkpoint} is of another kind than {kind!r}, the one here; leave it "
                    "out with --fresh optimizer."
                )

    # ------------------------------------------------------------------ writing

    def write(self, target: Path) -> None:
        """Write the checkpoint that ``config`` goes on from into ``target``, which must not exist."""
        left_out = {"manifest.json"} | ({REPLAY} if "replay" in self.fresh else set())
        shutil.copytree(self.checkpoint, target, ignore=lambda folder, names: left_out & {*names}, copy_function=_copy)
        for place, change in (
            (Path(), self._change_algorithm),
            (_LEARNER, self._change_learner),
            (Path(COMPONENT_ENV_RUNNER), self._change_runner),
            (Path(REMOTE_GAMES), self._change_remote_games),
        ):
            path = _state_file(target, place)
            if path.is_file():
                state = _unpickled(path)
                change(state)
                path.write_bytes(pickle.dumps(state))
        if not self.same_games and (target / REPLAY).is_dir():
            _reseed(target / REPLAY / "replay.json", self.config.seed)

    def _change_algorithm(self, state: dict[str, Any]) -> None:
        ours = state[_OWN]
        ours["plasticity_scheduler"]["followed_until"] = 0  # the source follows its own applications
        last_task = self._last_task(ours["counters"])
        if "counters" in self.fresh:
            for name in (COMPONENT_METRICS_LOGGER, "training_iteration"):
                state.pop(name, None)
            kept = {} if "replay" in self.fresh else {"episodes_since_empty": ours["counters"]["episodes_since_empty"]}
            ours["counters"] = TrainingCounters().get_state() | kept
            ours |= {"plasticity_events": [], "evaluation": None}
            ours["plasticity_scheduler"]["asked_at"] = dict.fromkeys(CLOCK_UNITS, 0)
        if last_task is not None and is_sequence(self.config.env):
            ours["counters"]["task_name"] = last_task  # what the replay's episodes are of
        if "replay" in self.fresh:
            ours["replay_saved"] = False
        if not self.same_games and self.config.seed is not None:
            ours["plasticity_scheduler"]["seed"] = self.config.seed

    def _last_task(self, counters: Mapping[str, Any]) -> str | None:
        """Name of the environment that the source trained last; None: unknown."""
        if self.source is None or is_sequence(self.source.env):
            return counters.get("task_name")
        return str(self.source.env)

    def _change_learner(self, state: dict[str, Any]) -> None:
        if "optimizer" in self.fresh:
            state.pop(COMPONENT_OPTIMIZER, None)
        for saved in state.get(COMPONENT_OPTIMIZER, {}).values():
            for group in saved["state"]["param_groups"]:
                group |= _group(self.config)
        ours = state[_OWN]
        callbacks = self._callback_states(ours["callbacks"])
        if "counters" in self.fresh:
            state.pop(COMPONENT_METRICS_LOGGER, None)
            ours |= {name: 0 for name, value in ours.items() if isinstance(value, int)}
        ours["callbacks"] = callbacks

    def _callback_states(self, saved: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """In the order of the learner's callbacks: the dormancy check, the interventions."""
        source, config, left = self.source, self.config, list(saved)
        old_check = source.parse_dormancy() if source is not None else None
        old = source.parse_interventions() if source is not None else []
        check_state = left.pop(0) if old_check is not None and left else None
        state = left.pop(0) if old and left else None
        if "counters" in self.fresh:
            check_state = state = None
        found = []
        check, interventions = config.parse_dormancy(), config.parse_interventions()
        if check is not None:
            found.append(carried_check(check_state, old_check, check))
        if interventions:
            found.append(carried_interventions(state, old, interventions))
        return found

    def _change_runner(self, state: dict[str, Any]) -> None:
        if not self.same_games:
            state["games"] = None
        if "counters" in self.fresh:
            state[NUM_ENV_STEPS_SAMPLED_LIFETIME] = 0

    def _change_remote_games(self, state: dict[str, Any]) -> None:
        if not self.same_games:
            state["games"] = {}

    def _read(self, place: Path) -> dict[str, Any]:
        return _unpickled(_state_file(self.checkpoint, place))


def _state_file(checkpoint: Path, place: Path) -> Path:
    return checkpoint / place / _STATE.get(place, "state.pkl")


def _unpickled(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = pickle.loads(path.read_bytes())
    except FileNotFoundError:
        raise ForkError(f"{path} is missing, so nothing can be forked from it; give a run of 'train'.") from None
    return state


def _copy(source: str, target: str) -> None:
    """A copy; of the replay's arrays (gigabytes, never changed) a hard link where there can be one."""
    if source.endswith(".npy"):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def _reseed(path: Path, seed: int | None) -> None:
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["rng"] = np.random.default_rng(seed).bit_generator.state
    path.write_text(json.dumps(facts), encoding="utf-8")


def _group(config: ValueFactorizationConfig) -> dict[str, Any]:
    """The settings of an optimizer's parameters, as a config has them."""
    (group,) = make_optimizer(config, [torch.zeros(1, requires_grad=True)]).state_dict()["param_groups"]
    return {name: value for name, value in group.items() if name != "params"} | {"lr": config.lr}


def _spaces(config: ValueFactorizationConfig) -> dict[str, Any]:
    return {DEFAULT_MODULE_ID: team_spaces(config.team_spec)}


def _shape(shape: Collection[int] | None) -> str:
    return "not there" if shape is None else str(list(shape))
