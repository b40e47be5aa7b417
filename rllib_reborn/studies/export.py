"""From a checkpoint to a portable policy on disk, with its model card and, where wanted, as ONNX."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.registry import is_stepped_as_arrays
from rllib_reborn.envs.rollout import Actor, Rollout
from rllib_reborn.envs.team_env import TeamObs
from rllib_reborn.policy import Policy, files, onnx_bytes
from rllib_reborn.policy.to_onnx.check import Observed
from rllib_reborn.policy.to_onnx.packages import require_packages
from rllib_reborn.studies.model_card import model_card
from rllib_reborn.studies.trained_policy import TrainedPolicy, load_team
from rllib_reborn.studies.training_facts import TrainingFacts, facts_of

ONNX_NAME = "policy.onnx"
CARD_NAME = "README.md"
#: Games and steps of each that an ONNX file is compared on, beside made-up ones.
_GAMES, _STEPS = 3, 40
_SALT = 0xF3
#: Share of random actions in them, so that they are not all from one greedy path.
_EPSILON = 0.2


def export_policy(checkpoint: str | Path, path: str | Path, *, onnx: bool = False) -> Policy:
    """Write the team of a checkpoint folder as a portable policy with its model card to the new folder ``path``; only give
    checkpoints that you trust: RLlib unpickles them.

    Args:
        checkpoint: The folder.
        path: New, or an empty folder.
        onnx: Whether to write ``policy.onnx`` too, see :func:`~rllib_reborn.policy.onnx_bytes`.

    Raises:
        FileNotFoundError, CheckpointError: See :func:`load_team`.
        PolicyError: ``path`` holds something already, or see :func:`policy_from_module` and
            :func:`~rllib_reborn.policy.onnx_bytes`.
    """
    files.check_free(Path(path))  # before the seconds that loading takes
    if onnx:
        require_packages()
    return export_team(load_team(checkpoint), path, facts=facts_of(Path(checkpoint)), onnx=onnx)


def export_team(
    team: TrainedPolicy, path: str | Path, *, facts: TrainingFacts | None = None, onnx: bool = False
) -> Policy:
    """The same of a team in this process, such as :func:`~rllib_reborn.studies.trained_policy.team_from_algo` gives.

    Args:
        team: The team.
        path: New, or an empty folder.
        facts: What the model card says of its training; default: that nothing is known of it.
        onnx: As above.
    """
    policy = team.portable()
    beside = {ONNX_NAME: onnx_bytes(policy, played(team))} if onnx else {}
    hashes = {files.WEIGHTS_NAME: files.weights_sha256(policy.weights())}
    hashes |= {name: hashlib.sha256(data).hexdigest() for name, data in beside.items()}
    facts = facts or TrainingFacts(reason="it was exported from a running program, not from a checkpoint")
    beside[CARD_NAME] = model_card(policy.spec, facts, files=hashes, onnx=onnx).encode()
    policy.save(path, beside=beside)
    return policy


def played(team: TrainedPolicy) -> tuple[Observed, ...]:
    """What a team meets in its environment, to compare its ONNX file on; nothing where this package does not step the games
    as arrays: to look at others a simulator may have to start, or cannot here."""
    if not is_stepped_as_arrays(team.env_name):
        return ()
    env = team.make_env(_GAMES)
    recorder = _Recorder(team.make_actor(_GAMES, 0, _SALT, _EPSILON), _GAMES)
    try:
        rollout = Rollout(env, recorder, team.env_name)
        rollout.begin(0)
        rollout.run(steps=_GAMES * _STEPS)
    finally:
        env.close()
    return (recorder.episodes(),)


class _Recorder:
    """An actor whose observations, masks and beginnings of episodes are kept."""

    def __init__(self, actor: Actor, games: int) -> None:
        self._actor = actor
        self._begins = np.zeros(games, np.bool_)
        self._steps: list[tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]] = []

    def begin(self, mask: npt.NDArray[np.bool_] | None, seed: int | None) -> None:
        """See :class:`Actor`."""
        self._begins |= True if mask is None else mask
        self._actor.begin(mask, seed)

    def act(self, obs: TeamObs) -> npt.NDArray[np.integer[Any]]:
        """See :class:`Actor`."""
        self._steps.append((obs.obs.copy(), obs.action_mask.copy(), self._begins.copy()))
        self._begins[:] = False
        return self._actor.act(obs)

    def episodes(self) -> Observed:
        """All of them."""
        obs, mask, begins = (np.stack(parts) for parts in zip(*self._steps, strict=True))
        return Observed(obs, mask, begins)
