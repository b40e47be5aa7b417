"""Whether an ONNX file computes what the policy computes, by onnxruntime, step after step with what each remembers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch

from rllib_reborn.nets.encoded_agents import EncodedAgentTeam, input_encoder
from rllib_reborn.nets.risk_agent import RiskAgentNet, applied
from rllib_reborn.policy.errors import PolicyError
from rllib_reborn.policy.spec import PolicySpec
from rllib_reborn.policy.to_onnx.model import ACTIONS, HIDDEN, LAST, MASK, NEXT_HIDDEN, OBS, VALUES
from rllib_reborn.policy.to_onnx.packages import package

if TYPE_CHECKING:
    from rllib_reborn.policy.policy import Policy, PolicyState

#: Of the largest number compared, or of 1 where that is smaller.
TOLERANCE = 1e-5
#: Games side by side, and steps, of the made-up episodes.
_GAMES, _STEPS = (1, 2, 7), 8

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Episodes:
    """What B games gave in T steps, one after the other, from the start of an episode on.

    Attributes:
        obs: [T, B, n, d].
        action_mask: [T, B, n, A] bool; each agent has an allowed action.
        begins: [T, B] bool: games that begin an episode with this step; all of the first step do.
    """

    obs: Array
    action_mask: npt.NDArray[np.bool_]
    begins: npt.NDArray[np.bool_]


def check_onnx(policy: Policy, data: bytes, played: Sequence[Episodes] = ()) -> int:
    """Compare the ONNX file ``data`` with ``policy`` on made-up episodes and on those ``played``.

    Both remember for themselves, and are given the policy's actions as the last ones. Values and hidden states must be equal
    to :data:`TOLERANCE`; actions where the policy's two best are further apart than that.

    Returns:
        Steps compared: games times steps.

    Raises:
        PolicyError: They are different, or onnxruntime cannot compute it.
    """
    session = _session(data)
    compared = 0
    for episodes in (*made_up(policy.spec), *played):
        _compare(policy, session, episodes)
        compared += episodes.begins.size
    return compared


def made_up(spec: PolicySpec) -> Iterator[Episodes]:
    """Random numbers of about the size that the networks were trained on; the same ones for the same sizes."""
    rng = np.random.default_rng(0)
    for games in _GAMES:
        shape = (_STEPS, games, spec.n_agents)
        if spec.obs_scale == 1:
            obs = rng.standard_normal((*shape, spec.obs_dim))
        else:  # as they are stored, such as bytes
            obs = rng.integers(0, max(1, round(1 / spec.obs_scale)) + 1, (*shape, spec.obs_dim))
        mask = rng.random((*shape, spec.n_actions)) < 0.7
        np.put_along_axis(mask, rng.integers(0, spec.n_actions, (*shape, 1)), True, axis=-1)
        begins = rng.random(shape[:2]) < 0.2
        begins[0] = True
        yield Episodes(obs.astype(np.float32), mask, begins)


def _session(data: bytes) -> Any:
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many of its own
        raise PolicyError(f"onnxruntime cannot read the ONNX file that was made: {error}") from error


def _compare(policy: Policy, session: Any, episodes: Episodes) -> None:
    wants = {given.name for given in session.get_inputs()}
    games = episodes.begins.shape[1]
    state: PolicyState | None = None
    hidden: Array | None = None
    for step, (obs, mask, begins) in enumerate(zip(episodes.obs, episodes.action_mask, episodes.begins, strict=True)):
        if state is not None and begins.any():
            state = state.reset(begins)
            hidden = np.where(begins[:, None, None], np.float32(0), cast(Array, hidden))
        expected = policy.values(obs, state)
        undecided = level_is_open(policy, obs, state)
        last = np.full((games, policy.spec.n_agents), -1) if state is None else state.last_actions.cpu().numpy()
        actions, state = policy.act(obs, mask, state)
        if hidden is None:
            hidden = np.zeros(tuple(state.hidden.shape), np.float32)
        inputs = {OBS: obs.astype(np.float32), MASK: mask, LAST: last.astype(np.int64), HIDDEN: hidden}
        try:
            found = dict(
                zip(
                    (out.name for out in session.get_outputs()),
                    session.run(None, {name: value for name, value in inputs.items() if name in wants}),
                    strict=True,
                )
            )
        except Exception as error:
            raise PolicyError(f"onnxruntime cannot compute the ONNX file for {games} games: {error}") from error
        hidden = found.get(NEXT_HIDDEN, hidden)
        where = f"step {step} of {games} games"
        close = _require_close("values", np.where(undecided, expected, found[VALUES]), expected, where)
        remembered = state.hidden.cpu().numpy()
        _require_close("hidden states", cast(Array, hidden), remembered, where)
        allowed = np.where(mask, expected, -np.inf)
        best, chosen = (np.take_along_axis(allowed, of[..., None], -1)[..., 0] for of in (actions, found[ACTIONS]))
        wrong = (found[ACTIONS] != actions) & ~(best - chosen <= 2 * close) & ~undecided[..., 0]
        if wrong.any():
            game, agent = np.argwhere(wrong)[0].tolist()
            raise PolicyError(
                f"the ONNX file does {found[ACTIONS][game, agent]} where the policy does {actions[game, agent]} (agent "
                f"{policy.spec.agent_ids[agent]!r}, {where}); nothing was written, please report it."
            )


def _require_close(what: str, found: Array, expected: Array, where: str) -> float:
    """The difference that is allowed."""
    close = TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0)))
    different = float(np.abs(found - expected).max(initial=0)) if found.shape == expected.shape else np.inf
    if not different <= close:
        raise PolicyError(
            f"the {what} of the ONNX file and of the policy are different by {different:.2g}, more than {close:.2g} ({where}); "
            "nothing was written. An encoder of your own that decides by numbers is traced for one of its ways only: export "
            "without --onnx."
        )
    return close


def level_is_open(policy: Policy, obs: Array, state: PolicyState | None) -> npt.NDArray[np.bool_]:
    """[B, n, 1] whether two risk levels are equally likely but for rounding, so that either may be chosen; never without
    levels that are predicted (RMIX)."""
    team, spec = policy.networks, policy.spec
    games = len(obs)
    open_ = np.zeros((games, spec.n_agents, 1), bool)
    for number, agents in enumerate(team.members):
        net = team.nets[number]
        if not isinstance(net, RiskAgentNet) or net.predictor is None or net.predictor.levels == 1:
            continue
        device = policy.device
        hidden = torch.zeros(games, spec.n_agents, team.state_dim) if state is None else state.hidden
        last = torch.full((games, spec.n_agents), -1) if state is None else state.last_actions
        with torch.no_grad():
            x = spec.inputs(torch.from_numpy(obs).float().to(device), last.to(device))[:, agents].flatten(0, 1)
            if isinstance(team, EncodedAgentTeam):
                x = input_encoder(net)(x)
            features, _ = net.step_features(x, hidden.to(device)[:, agents].flatten(0, 1))
            logits = net.predictor.logits(*features.split(net.hidden_dim, dim=1), applied(net.head))
            first, second = logits.topk(2, dim=1).values.unbind(1)
        scale = logits.abs().amax(1).clamp(min=1)
        open_[:, agents, 0] = (first - second <= 2 * TOLERANCE * scale).view(games, -1).cpu().numpy()
    return open_
