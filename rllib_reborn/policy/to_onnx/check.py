"""Whether an ONNX file computes what the policy computes, by onnxruntime, step after step with what it remembers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rllib_reborn.nets.encoded_agents import EncodedAgentTeam, input_encoder
from rllib_reborn.nets.risk_agent import RiskAgentNet, applied
from rllib_reborn.policy.errors import PolicyError
from rllib_reborn.policy.policy import Policy, PolicyState
from rllib_reborn.policy.spec import PolicySpec
from rllib_reborn.policy.to_onnx.model import ACTIONS, HIDDEN, LAST, MASK, NEXT_HIDDEN, OBS, VALUES
from rllib_reborn.policy.to_onnx.packages import package

#: Relative to the largest number compared, absolute where that is below 1.
TOLERANCE = 1e-5
#: Relative; what is allowed is at least so many times the most that a network makes of it in so many draws. One draw is not
#: enough: of the same numbers one changed a hidden state by 9e-7 and others by up to 4e-5.
_LAST_DIGIT, _TIMES, _DRAWS = 2.0**-23, 10, 8
#: Games side by side, and steps, of the made-up episodes.
_GAMES, _STEPS = (1, 2, 7), 6

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Observed:
    """What B games gave in T steps, one after the other, from the start of an episode on.

    Attributes:
        obs: [T, B, n, d].
        action_mask: [T, B, n, A] bool; each agent has an allowed action.
        begins: [T, B] bool: games that begin an episode with this step; all of the first step do.
    """

    obs: Array
    action_mask: npt.NDArray[np.bool_]
    begins: npt.NDArray[np.bool_]


def check_onnx(policy: Policy, data: bytes, played: Sequence[Observed] = ()) -> int:
    """Compare the ONNX file ``data`` with ``policy`` on made-up episodes and on those ``played``.

    Each step is computed from what the policy remembers, so that roundings do not add up over steps. Values and hidden
    states must be equal to :data:`TOLERANCE` of the largest number compared, or of 1 where that is smaller. Where a network
    makes more than that of another last digit of what goes in (large numbers, large weights), ten times what it makes of it
    is allowed. Actions must be equal where the policy's two best values are further apart than that.

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


def made_up(spec: PolicySpec) -> Iterator[Observed]:
    """Random numbers of about the size that the networks were trained on; the same ones for the same sizes."""
    rng = np.random.default_rng(0)
    for games in _GAMES:
        shape = (_STEPS, games, spec.n_agents)
        obs: Array
        if spec.obs_scale == 1:
            obs = rng.standard_normal((*shape, spec.obs_dim))
        else:  # as they are stored, such as bytes
            obs = rng.integers(0, max(1, round(1 / spec.obs_scale)) + 1, (*shape, spec.obs_dim))
        mask = rng.random((*shape, spec.n_actions)) < 0.7
        np.put_along_axis(mask, rng.integers(0, spec.n_actions, (*shape, 1)), True, axis=-1)
        begins = rng.random(shape[:2]) < 0.2
        begins[0] = True
        yield Observed(obs.astype(np.float32), mask, begins)


def _session(data: bytes) -> Any:
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many of its own
        raise PolicyError(f"onnxruntime cannot read the ONNX file that was made: {error}") from error


def _compare(policy: Policy, session: Any, episodes: Observed) -> None:
    wants = {given.name for given in session.get_inputs()}
    names = [made.name for made in session.get_outputs()]
    rng = np.random.default_rng(1)
    state = _start(policy, episodes.begins.shape[1])
    for step, (obs, mask, begins) in enumerate(zip(episodes.obs, episodes.action_mask, episodes.begins, strict=True)):
        state = state.reset(begins)
        where = f"step {step} of {len(obs)} games"
        obs = obs.astype(np.float32)
        undecided = level_is_open(policy, obs, state)
        expected = policy.values(obs, state)
        last, memory = state.last_actions.cpu().numpy(), state.hidden.cpu().numpy()
        actions, following = policy.act(obs, mask, state)
        inputs = {OBS: obs, MASK: mask, LAST: last, HIDDEN: memory}
        try:
            found = dict(zip(names, session.run(None, {name: inputs[name] for name in wants}), strict=True))
        except Exception as error:
            raise PolicyError(f"onnxruntime cannot compute the ONNX file for {len(obs)} games: {error}") from error
        rounded = _RoundedOtherwise(policy, obs, state, rng)
        decided = np.where(undecided, expected, found[VALUES])
        close = _require_close("values", decided, expected, partial(rounded.values, expected, undecided), where)
        if NEXT_HIDDEN in found:
            remembered = following.hidden.cpu().numpy()
            _require_close("hidden states", found[NEXT_HIDDEN], remembered, partial(rounded.hidden, remembered), where)
        allowed = np.where(mask, expected, -np.inf)
        best, chosen = (np.take_along_axis(allowed, of[..., None], -1)[..., 0] for of in (actions, found[ACTIONS]))
        wrong = (found[ACTIONS] != actions) & ~(best - chosen <= 2 * close) & ~undecided[..., 0]
        if wrong.any():
            game, agent = np.argwhere(wrong)[0].tolist()
            raise PolicyError(
                f"the ONNX file does {found[ACTIONS][game, agent]} where the policy does {actions[game, agent]} (agent "
                f"{policy.spec.agent_ids[agent]!r}, {where}); nothing was written, please report it."
            )
        state = following


def _start(policy: Policy, games: int) -> PolicyState:
    """At the start of an episode."""
    n, h = policy.spec.n_agents, policy.networks.state_dim
    return PolicyState(
        hidden=torch.zeros(games, n, h, device=policy.device),
        last_actions=torch.full((games, n), -1, device=policy.device),
    )


class _RoundedOtherwise:
    """What becomes of values and hidden states where the last digit of each number that goes in is another one.

    It is computed when it is asked for."""

    def __init__(self, policy: Policy, obs: Array, state: PolicyState, rng: np.random.Generator) -> None:
        self._policy, self._obs, self._state, self._rng = policy, obs, state, rng

    def values(self, expected: Array, undecided: npt.NDArray[np.bool_]) -> float:
        """The most by which a value changes."""
        return max(float(np.abs(np.where(undecided, 0, found - expected)).max(initial=0)) for found, _ in self._draws)

    def hidden(self, expected: Array) -> float:
        """The most by which a hidden state changes."""
        return max(float(np.abs(found - expected).max(initial=0)) for _, found in self._draws)

    @functools.cached_property
    def _draws(self) -> list[tuple[Array, Array]]:
        return [self._draw() for _ in range(_DRAWS)]

    def _draw(self) -> tuple[Array, Array]:
        policy, state, rng = self._policy, self._state, self._rng
        obs, hidden = (
            (part * (1 + rng.choice([-_LAST_DIGIT, _LAST_DIGIT], part.shape))).astype(np.float32)
            for part in (self._obs, state.hidden.cpu().numpy())
        )
        other = dataclasses.replace(state, hidden=torch.from_numpy(hidden).to(policy.device))
        mask = np.ones((*obs.shape[:2], policy.spec.n_actions), bool)
        return policy.values(obs, other), policy.act(obs, mask, other)[1].hidden.cpu().numpy()


def _require_close(what: str, found: Array, expected: Array, rounding: Callable[[], float], where: str) -> float:
    """The difference that is allowed: what other roundings make is asked for where it is more than the tolerance."""
    close = TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0)))
    different = float(np.abs(found - expected).max(initial=0)) if found.shape == expected.shape else np.inf
    if close < different < np.inf:
        close = max(close, _TIMES * rounding())
    if not different <= close:
        raise PolicyError(
            f"the {what} of the ONNX file and of the policy are different by {different:.2g}, more than {close:.2g} "
            f"({where}); nothing was written. An encoder of your own that decides by numbers is traced for one of its ways "
            "only: export without --onnx."
        )
    return close


def level_is_open(policy: Policy, obs: Array, state: PolicyState) -> npt.NDArray[np.bool_]:
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
        with torch.no_grad():
            x = spec.inputs(torch.from_numpy(obs).float().to(device), state.last_actions)[:, agents].flatten(0, 1)
            if isinstance(team, EncodedAgentTeam):
                x = input_encoder(net)(x)
            features, _ = net.step_features(x, state.hidden[:, agents].flatten(0, 1))
            own, past = features.split(net.hidden_dim, dim=1)
            logits = net.predictor.logits(own, past, applied(net.head))
            first, second = logits.topk(2, dim=1).values.unbind(1)
        scale = logits.abs().amax(1).clamp(min=1)
        open_[:, agents, 0] = (first - second <= 2 * TOLERANCE * scale).view(games, -1).cpu().numpy()
    return open_
