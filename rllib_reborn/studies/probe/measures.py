"""What is measured of a net beside how fast it learns: separability of an action, dormant neurons, ranks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rllib_reborn.algorithms.value_factorization.learner_updates import layout_of
from rllib_reborn.callbacks.team_view import measure_team
from rllib_reborn.envs.known_actions import UNKNOWN, KnownAction
from rllib_reborn.plasticity.neuron_layers import nets_of
from rllib_reborn.plasticity.scores import feature_ranks, layer_dormancy, pool
from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.studies.probe.offline_learner import OfflineLearner

Array = npt.NDArray[np.float64]

#: Episodes whose values are taken at once.
_CHUNK = 16


@dataclasses.dataclass(frozen=True)
class NetMeasures:
    """Of one net; shares in 0..1, of the layers that the official code marks.

    Attributes:
        dormant, overactive: By network, pooled over its layers: shares of dormant and over-active neurons.
        dormant_neurons: By layer: how many are dormant.
        stable_rank, effective_rank: By layer, of its activations, see :mod:`rllib_reborn.plasticity.scores`.
    """

    dormant: dict[str, float]
    overactive: dict[str, float]
    dormant_neurons: dict[str, int]
    stable_rank: dict[str, float]
    effective_rank: dict[str, float]


def measure_net(learner: OfflineLearner, block: EpisodeBlock) -> NetMeasures:
    """Activations of the online networks on ``block``, as the dormancy check of a run takes them.

    Raises:
        ValueError: Activations are not finite.
    """
    layers = learner.module.neuron_layers("official_code")
    statistics = measure_team(learner.module, layers, learner.tensors(block))
    found = {key: layer_dormancy(key, of_layer) for key, of_layer in statistics.items()}
    ranks = {key: feature_ranks(s.features) for key, s in statistics.items() if s.features is not None}
    pooled = {net: pool(found[layer.key] for layer in layers if layer.net == net) for net in nets_of(layers)}
    return NetMeasures(
        dormant={net: of_net.dormant_fraction for net, of_net in pooled.items()},
        overactive={net: of_net.overactive_fraction for net, of_net in pooled.items()},
        dormant_neurons={key: int(of_layer.dormant.sum()) for key, of_layer in found.items()},
        stable_rank={key: of_layer["stable_rank"] for key, of_layer in ranks.items()},
        effective_rank={key: of_layer["effective_rank"] for key, of_layer in ranks.items()},
    )


@dataclasses.dataclass(frozen=True)
class Separability:
    """Whether an agent's values tell where an action pays.

    Attributes:
        auc: See :func:`area_under_roc`, of ``Q(action) - mean of Q(other available actions)``.
        paying, failing: Situations (agents at env steps) of either kind.
    """

    auc: float
    paying: int
    failing: int


def separability(learner: OfflineLearner, block: EpisodeBlock, known: KnownAction | None) -> Separability | None:
    """How well the agents' values separate the situations in which the known action pays; None where there is no such
    action, or ``block`` has situations of one kind only.

    The hidden states are unrolled from the start of each episode. Final observations count too.
    """
    if known is None:
        return None
    scores: list[Array] = []
    judged: list[npt.NDArray[np.int8]] = []
    episodes = list(block.episodes())
    for first in range(0, len(episodes), _CHUNK):
        part = EpisodeBlock.of(episodes[first : first + _CHUNK])
        judgement = known.judge(part.fields["obs"], part.fields["action_mask"])
        available = judgement != UNKNOWN
        scores.append(_advantages(learner, part, known.action)[available])
        judged.append(judgement[available])
    score, pays = np.concatenate(scores), np.concatenate(judged) == 1
    if pays.all() or not pays.any() or not np.isfinite(score).all():
        return None
    return Separability(area_under_roc(score[pays], score[~pays]), int(pays.sum()), int((~pays).sum()))


def _advantages(learner: OfflineLearner, block: EpisodeBlock, action: int) -> Array:
    """[rows, n] ``Q(action) - mean of Q(other available actions)``; the mean is 0 where there is no other."""
    batch: dict[str, Any] = learner.tensors(block)
    with torch.no_grad():
        packed = learner.module.packed_episodes(batch)
        q = learner.module.agents.unroll(packed.x, packed.layout.obs_sizes)
    values = np.empty(q.shape)
    values[layout_of(batch).obs_rows.cpu().numpy()] = q.double().cpu().numpy()
    others = block.fields["action_mask"].copy()
    others[..., action] = False
    mean = np.where(others, values, 0.0).sum(-1) / np.maximum(others.sum(-1), 1)
    return np.asarray(values[..., action] - mean)


def area_under_roc(positive: npt.ArrayLike, negative: npt.ArrayLike) -> float:
    """Probability that a random positive score is above a random negative one, ties counting half (Mann-Whitney).

    Args:
        positive, negative: Finite scores, at least one of each.

    Raises:
        ValueError: One of them is empty.

    >>> area_under_roc([2.0, 1.0], [1.0, 0.0])
    0.875
    """
    high, low = np.asarray(positive, np.float64), np.sort(np.asarray(negative, np.float64))
    if not high.size or not low.size:
        raise ValueError(
            f"there are {high.size} positive and {low.size} negative scores; expected at least one of each."
        )
    below = np.searchsorted(low, high, side="left")
    not_above = np.searchsorted(low, high, side="right")
    return float((below + not_above).sum() / 2 / (high.size * low.size))
