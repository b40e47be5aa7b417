"""A team's networks as plasticity looks at them: which layers, on which batch, which outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rllib_reborn.callbacks.ranks import on_all_ranks
from rllib_reborn.callbacks.request import Batch
from rllib_reborn.plasticity.interventions import Intervention
from rllib_reborn.plasticity.interventions.apply import ModelOutputs, ModelView
from rllib_reborn.plasticity.neuron_layers import LayerChoice, NeuronLayer
from rllib_reborn.plasticity.statistics import LayerStatistics, measure


class TeamModel:
    """A :class:`TeamRLModule` (without a DDP wrapper) as the plasticity runtime asks of it."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def networks(self) -> Mapping[str, nn.Module]:
        networks: Mapping[str, nn.Module] = self._module.networks()
        return networks

    def neuron_layers(self, choice: LayerChoice) -> list[NeuronLayer]:
        layers: list[NeuronLayer] = self._module.neuron_layers(choice)
        return layers

    def treated_layers(self, intervention: Intervention) -> list[NeuronLayer]:
        return self.neuron_layers(intervention.layers)


def team_view(
    module: Any,
    choice: LayerChoice,
    scoring_batch: Batch | None,
    holdout_batch: Batch | None,
    optimizer: torch.optim.Optimizer | None,
) -> ModelView:
    """A :class:`TeamRLModule` with its targets and optimizer as an intervention sees it.

    Args:
        module: The module, without a DDP wrapper.
        choice: Layers that are scored and treated.
        scoring_batch: Batch for the scores; None: nothing is scored.
        holdout_batch: Batch for function drift; None: it is not measured.
        optimizer: The module's optimizer, or None.
    """
    device = next(module.parameters()).device
    scoring_tensors = None if scoring_batch is None else tensors(scoring_batch, device)
    holdout_tensors = None if holdout_batch is None else tensors(holdout_batch, device)

    def statistics(layers: Sequence[NeuronLayer]) -> dict[str, LayerStatistics]:
        assert scoring_tensors is not None
        return measure_team(module, layers, scoring_tensors)

    def outcome() -> ModelOutputs:
        assert holdout_tensors is not None
        outputs = module.observe(holdout_tensors)
        return ModelOutputs(values=outputs["q_tot"], actions=outputs["greedy"])

    return ModelView(
        nets=module.networks(),
        layers=module.neuron_layers(choice),
        measure=None if scoring_batch is None else statistics,
        evaluate=None if holdout_batch is None else outcome,
        target_nets=module.target_networks(),
        target_layers=module.neuron_layers(choice, target=True),
        optimizer=optimizer,
    )


def measure_team(module: Any, layers: Sequence[NeuronLayer], batch: dict[str, Tensor]) -> dict[str, LayerStatistics]:
    """Statistics of a team's layers on a batch of episodes: online networks only, padding left out, and of each agent only
    the steps at which it has a choice (a dead one has its no-op alone). Equal on all ranks to the bit."""
    return on_all_ranks(measure(layers, lambda: module.observe(batch), row_masks=module.row_masks(batch)))


def tensors(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """``batch`` on ``device``."""
    return {name: torch.as_tensor(array, device=device) for name, array in batch.items()}
