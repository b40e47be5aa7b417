"""A trained team that acts: greedy allowed actions for one team or for many games at once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rllib_reborn.nets.agents import AgentNet, AgentTeam
from rllib_reborn.nets.dense import Linear
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.policy import files
from rllib_reborn.policy.errors import PolicyError
from rllib_reborn.policy.spec import PolicySpec
from rllib_reborn.short_repr import short_repr

#: So much is built at once, and then compared name by name; more only where the weights have as much.
_FEW_ARRAYS, _FEW_NUMBERS = 200, 10_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class PolicyState:
    """What a team remembers from step to step; never changed in place. Without the B for one team.

    Attributes:
        hidden: [B, n, h] float32, the networks' hidden state; h is 0 for feed-forward agents.
        last_actions: [B, n] int64; -1 where an episode has just begun.
    """

    hidden: Tensor
    last_actions: Tensor

    def reset(self, mask: Any) -> PolicyState:
        """The state with the games of ``mask`` at the start of an episode.

        Args:
            mask: [B] bool: games whose next observation is the first of an episode.

        Raises:
            ValueError: The state is of one team (begin its episode with ``state=None``), or the mask is not as above.
        """
        if self.last_actions.dim() != 2:
            raise ValueError(
                "this is the state of one team, not of a batch of games; begin its episode with state=None."
            )
        begins = _tensor("mask", mask, self.hidden.device)
        if begins.dtype != torch.bool or begins.shape != self.hidden.shape[:1]:
            raise ValueError(
                f"mask has shape {tuple(begins.shape)} and dtype {begins.dtype}; expected {tuple(self.hidden.shape[:1])} "
                "(games), bool."
            )
        return PolicyState(
            hidden=self.hidden.masked_fill(begins[:, None, None], 0.0),
            last_actions=self.last_actions.masked_fill(begins[:, None], -1),
        )

    def with_actions(self, actions: Any) -> PolicyState:
        """The state after the team did ``actions`` and not those of :meth:`Policy.act` (a safety layer overruled it).

        Args:
            actions: [B, n] whole numbers.

        Raises:
            ValueError: The shape is another one, or these are no whole numbers.
        """
        done = _tensor("actions", actions, self.hidden.device)
        if done.shape != self.last_actions.shape or done.is_floating_point() or done.dtype == torch.bool:
            raise ValueError(
                f"actions have shape {tuple(done.shape)} and dtype {done.dtype}; expected {tuple(self.last_actions.shape)}, "
                "whole numbers."
            )
        return dataclasses.replace(self, last_actions=done.long())


class Policy:
    """The agents of a trained team, acting greedily; plain torch.

    ``n`` agents in the order of ``spec.agent_ids``, ``d`` numbers in an observation, ``A`` actions; ``B`` games side by
    side, or one team without the ``B``. Arrays may be numpy's, tensors or lists.

    Example:
        >>> policy = Policy.load("my_policy")  # doctest: +SKIP
        >>> actions, state = policy.act(obs, action_mask)  # doctest: +SKIP
        >>> actions, state = policy.act(obs, action_mask, state)  # doctest: +SKIP

    Args:
        spec: Sizes and settings.
        weights: float32 arrays by their names in an :class:`~rllib_reborn.nets.agents.AgentTeam`; copied. Hidden Linear
            layers may be wider than ``spec.hidden_dim`` (KNIFE adds neurons).
        device: Where to compute.
        trust_encoder: Whether an encoder that is not shipped (``spec.has_own_encoder``) may be imported by its name and
            made.

    Raises:
        PolicyError: Arrays and settings do not belong together, or a weight is not finite.
    """

    def __init__(
        self,
        spec: PolicySpec,
        weights: Mapping[str, npt.NDArray[Any]],
        *,
        device: str | torch.device = "cpu",
        trust_encoder: bool = False,
    ) -> None:
        self.spec = spec
        self.device = torch.device(device)
        self._inputs = spec.inputs
        if spec.has_own_encoder and not trust_encoder:
            raise PolicyError(
                f"its encoder is {spec.encoder!r}, code that a module of this Python holds and loading would run; say "
                "trust_encoder=True where you trust both whom the policy is from and that module."
            )
        self._team = _team_of(spec, weights).to(self.device)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, device: str | torch.device = "cpu", trust_encoder: bool = False
    ) -> Policy:
        """The policy that :meth:`save` or ``rllib-reborn export`` wrote to the folder ``path``.

        Args:
            path: The folder.
            device: Where to compute.
            trust_encoder: Import the encoder that the policy names, where that is not one of ours.

        Raises:
            PolicyError: A file is missing, damaged, of an unknown format or of something else; or the policy's encoder is
                not ours and not trusted, or cannot be imported; one sentence.
        """
        folder = Path(path)
        spec, weights = files.read(folder)
        try:
            return cls(spec, weights, device=device, trust_encoder=trust_encoder)
        except PolicyError as error:
            raise PolicyError(f"{folder} holds no usable policy: {error}") from None

    def save(self, path: str | os.PathLike[str], *, beside: Mapping[str, bytes] | None = None) -> None:
        """Write ``policy.json`` and ``weights.npz`` into the new folder ``path``, all or nothing.

        Args:
            path: The folder.
            beside: Further files by name, such as ``{"policy.onnx": onnx_bytes(policy)}``. :meth:`load` does not read them.

        Raises:
            PolicyError: ``path`` is a file, or a folder with something in it; or a name of ``beside`` is no plain name of
                a file, or one of the two.
        """
        files.write(Path(path), self.spec, self.weights(), beside or {})

    @property
    def networks(self) -> AgentTeam:
        """The agents' networks; not to be changed."""
        return self._team

    def weights(self) -> files.Weights:
        """Copies of all weights by name."""
        return {name: _as_array(value) for name, value in self._team.state_dict().items()}

    def act(
        self, obs: Any, action_mask: Any, state: PolicyState | None = None
    ) -> tuple[npt.NDArray[np.int64], PolicyState]:
        """The best allowed action of each agent.

        Args:
            obs: [B, n, d] or [n, d], finite numbers.
            action_mask: [B, n, A] or [n, A], bool or 0/1; at least one allowed action for each agent.
            state: What the call before gave; None at the start of an episode (in a batch: of all episodes, see
                :meth:`PolicyState.reset` for some).

        Returns:
            Actions [B, n] or [n] int64, and the state for the next call, which takes it that these actions are done.

        Raises:
            ValueError: An argument is not as above; the message names it and what was expected.
        """
        batched, observations = self._observed(obs)
        mask = self._allowed(action_mask, batched, len(observations))
        q, hidden = self._step(observations, self._remembered(state, batched, len(observations)))
        actions = q.masked_fill(~mask, -torch.inf).argmax(-1)
        if not batched:
            actions, hidden = actions[0], hidden[0]
        return _as_array(actions), PolicyState(hidden=hidden, last_actions=actions)

    def values(self, obs: Any, state: PolicyState | None = None) -> npt.NDArray[np.float32]:
        """Value of every action, forbidden ones too, as :meth:`act` compares them; arguments as there.

        Returns:
            [B, n, A] or [n, A].
        """
        batched, observations = self._observed(obs)
        q, _ = self._step(observations, self._remembered(state, batched, len(observations)))
        return _as_array(q if batched else q[0])

    def _step(self, obs: Tensor, state: PolicyState) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self._team.step(self._inputs(obs, state.last_actions), state.hidden)

    def _observed(self, value: Any) -> tuple[bool, Tensor]:
        """Whether ``value`` has a B, and the observations as [B, n, d] float32."""
        n, d = self.spec.n_agents, self.spec.obs_dim
        obs = _tensor("obs", value, self.device)
        if obs.dim() not in (2, 3) or obs.shape[-2:] != (n, d) or not len(obs):
            raise ValueError(
                f"obs has shape {tuple(obs.shape)}; expected ({n}, {d}) (agents, numbers of an observation), or "
                f"(B, {n}, {d}) for B >= 1 games."
            )
        if obs.is_complex():
            raise ValueError(f"obs has dtype {obs.dtype}; expected real numbers.")
        obs = obs.float()
        batched = obs.dim() == 3
        obs = obs if batched else obs.unsqueeze(0)
        finite = obs.isfinite()
        if not finite.all():
            game, agent, at = (~finite).nonzero()[0].tolist()
            where = f" in game {game}" if batched else ""
            raise ValueError(
                f"obs of agent {self.spec.agent_ids[agent]!r}{where} has {obs[game, agent, at].item()} at {at}; expected "
                "finite numbers."
            )
        return batched, obs

    def _allowed(self, value: Any, batched: bool, games: int) -> Tensor:
        """The mask as [B, n, A] bool."""
        mask = _tensor("action_mask", value, self.device)
        expected = (games,) * batched + (self.spec.n_agents, self.spec.n_actions)
        if mask.shape != expected:
            raise ValueError(
                f"action_mask has shape {tuple(mask.shape)}; expected {expected}, as many as there are obs."
            )
        if mask.dtype != torch.bool:
            if not ((mask == 0) | (mask == 1)).all():
                raise ValueError(
                    "action_mask holds other values than 0 and 1; expected 1 (or True) for allowed actions."
                )
            mask = mask.bool()
        mask = mask if batched else mask.unsqueeze(0)
        choice = mask.any(-1)
        if not choice.all():
            game, agent = (~choice).nonzero()[0].tolist()
            where = f" in game {game}" if batched else ""
            raise ValueError(
                f"action_mask allows agent {self.spec.agent_ids[agent]!r}{where} no action; expected at least one, e.g. the "
                "no-op of an agent that is out."
            )
        return mask

    def _remembered(self, state: PolicyState | None, batched: bool, games: int) -> PolicyState:
        """The state with a B."""
        n, width = self.spec.n_agents, self._team.state_dim
        if state is None:
            return PolicyState(
                hidden=torch.zeros(games, n, width, device=self.device),
                last_actions=torch.full((games, n), -1, device=self.device),
            )
        if not isinstance(state, PolicyState):
            raise ValueError(
                f"state is a {type(state).__name__}; expected what the call of act() before gave, or None at the start of "
                "an episode."
            )
        expected = (games, n, width) if batched else (n, width)
        if state.hidden.shape != expected or state.last_actions.shape != expected[:-1]:
            raise ValueError(
                f"state has hidden of shape {tuple(state.hidden.shape)} and last_actions of shape "
                f"{tuple(state.last_actions.shape)}; expected {expected} and {expected[:-1]}, as many as there are obs; "
                "None starts an episode."
            )
        low, high = state.last_actions.aminmax()
        if low < -1 or high >= self.spec.n_actions:
            raise ValueError(
                f"state has last_actions from {int(low)} to {int(high)}; expected 0 to {self.spec.n_actions - 1}, or -1 "
                "where there is none yet."
            )
        if batched:
            return state
        return PolicyState(hidden=state.hidden.unsqueeze(0), last_actions=state.last_actions.unsqueeze(0))


def _tensor(name: str, value: Any, device: torch.device) -> Tensor:
    """``value`` as a tensor; an array is copied (torch warns of those that cannot be written to)."""
    if not isinstance(value, Tensor):
        try:
            value = torch.from_numpy(np.array(value))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} is no array of numbers ({error}).") from None
    tensor: Tensor = value.to(device)
    return tensor


def _as_array(value: Tensor) -> npt.NDArray[Any]:
    """A copy, so that who writes to it changes neither weights nor states."""
    return value.cpu().numpy().copy()


def _team_of(spec: PolicySpec, weights: Mapping[str, npt.NDArray[Any]]) -> AgentTeam:
    """The networks of ``spec`` with copies of ``weights``; raises PolicyError unless they belong together."""
    for name, array in weights.items():
        if not array.size:
            raise PolicyError(f"weight {name!r} is empty.")
        if array.dtype != np.float32:
            raise PolicyError(f"weight {name!r} has dtype {array.dtype}; expected float32.")
        if not np.isfinite(array).all():
            raise PolicyError(f"weight {name!r} is not finite; its training diverged.")
    numbers, arrays = spec.least_numbers
    there = sum(array.size for array in weights.values())
    if arrays > max(len(weights), _FEW_ARRAYS) or numbers > max(there, _FEW_NUMBERS):
        raise PolicyError(
            f"weights are {len(weights)} arrays of {there:,} numbers; these settings need {arrays:,} of {numbers:,} or more."
        )
    # Shapes only: no memory, and no draws from torch's random stream, for weights that are about to be replaced.
    with torch.device("meta"):
        try:
            team = spec.make_team()
        except (TypeError, ValueError, RuntimeError) as error:
            raise PolicyError(
                f"agent_settings {short_repr(spec.agent_settings)} make no {spec.agent} agent: {error}"
            ) from None
        shapes = {name: array.shape for name, array in weights.items()}
        for number, net in enumerate(team.nets):
            _widen(cast(AgentNet, net), team.hidden_layers_by_net()[number], shapes, f"nets.{number}.")
    expected = {name: tuple(value.shape) for name, value in team.state_dict().items()}
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            raise PolicyError(f"weight {name!r} is missing.")
        if name not in expected:
            raise PolicyError(f"weight {name!r} is unknown to these settings.")
        if weights[name].shape != expected[name]:
            raise PolicyError(f"weight {name!r} has shape {weights[name].shape}; expected {expected[name]}.")
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    team.load_state_dict(tensors, assign=True)
    return team.requires_grad_(False)


def _widen(net: AgentNet, declared: Sequence[HiddenLayer], shapes: Mapping[str, tuple[int, ...]], prefix: str) -> None:
    """Give hidden layers between two Linears the width that they have in ``shapes``; what a GRU reads keeps its own."""
    path_of: dict[nn.Module | None, str] = {
        module: path for path, module in net.named_modules() if isinstance(module, nn.Linear)
    }
    layers = [layer for layer in declared if not layer.score_only]
    pairs = [(path_of.get(layer.source), path_of.get(layer.reader)) for layer in layers]
    for path, reader in pairs:
        shape = shapes.get(f"{prefix}{path}.weight", ())
        if path is None or reader is None or len(shape) != 2:
            continue
        source, then = cast(nn.Linear, net.get_submodule(path)), cast(nn.Linear, net.get_submodule(reader))
        if shape[0] != source.out_features:
            outputs = then.in_features // source.out_features  # of each neuron: two with CReLU
            net.set_submodule(path, Linear(source.in_features, shape[0]))
            net.set_submodule(reader, Linear(outputs * shape[0], then.out_features))
