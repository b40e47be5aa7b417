"""A module of RLlib's own algorithms as plasticity looks at it: what is trained, its layers, what it gives on a batch."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_PREDS
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import QNetAPI, TargetNetworkAPI, ValueFunctionAPI
from torch import Tensor, nn

from rllib_reborn.callbacks.ranks import average_over_ranks
from rllib_reborn.callbacks.stock_settings import NET
from rllib_reborn.plasticity.discovery import discover_neurons
from rllib_reborn.plasticity.interventions import Intervention
from rllib_reborn.plasticity.interventions.apply import ModelOutputs, ModelView
from rllib_reborn.plasticity.neuron_layers import LayerChoice, NeuronLayer, Surgery, editable
from rllib_reborn.plasticity.statistics import LayerStatistics, measure


class StockModel:
    """A module of a stock Learner as the plasticity runtime asks of it."""

    def __init__(self, module_id: str, module: Any) -> None:
        if module.is_stateful():
            raise ValueError(
                f"module {module_id!r} is recurrent: its batches are padded, and padding would be scored. Use a module "
                "without state, or one of our algorithms."
            )
        self.module_id = module_id
        self.module = module
        self.pairs = list(module.get_target_network_pairs()) if isinstance(module, TargetNetworkAPI) else []
        self.online = online_view(module, [target for _, target in self.pairs])
        #: The batch of the last gradient step; None outside of updates, since it can be large.
        self.batch: Mapping[str, Any] | None = None
        self._layers: list[NeuronLayer] | None = None

    def networks(self) -> dict[str, nn.Module]:
        return {NET: self.online}

    def neuron_layers(self, choice: LayerChoice) -> list[NeuronLayer]:
        """The layers that ``choice`` means here; they are found on the first batch that is at hand. Whether neurons may be
        split is left to the kinds: most of them split nothing, and ReBorn refuses by itself."""
        if self._layers is None:
            batch = self._scored_batch()
            with looking(self.module):
                self._layers = discover_neurons(self.online, lambda: run_module(self.module, batch), name=NET)
        chosen = self._layers if choice == "full" else editable(self._layers)
        if not chosen:
            reasons = "; ".join(f"{layer.key}: {layer.reason}" for layer in self._layers)
            raise ValueError(
                f"module {self.module_id!r} has no layer whose neurons can be edited ({reasons}). Give its networks "
                "hidden layers with one reader (DQN: dueling=False or head_fcnet_hiddens), or set layers='full' to score "
                "them all."
            )
        return chosen

    def treated_layers(self, intervention: Intervention) -> list[NeuronLayer]:
        if not intervention.treats_layers and self._layers is not None and not editable(self._layers):
            return []  # it treats whole parameters, which need no layer of neurons
        layers = self.neuron_layers(intervention.layers)
        if not intervention.splits_neurons or intervention.allow_inexact or intervention.layers != "official_code":
            return layers
        exact = [layer for layer in layers if layer.surgery is Surgery.EXACT]
        return exact or layers  # where no layer is exact, the intervention's own refusal says so

    def measure(self, layers: Sequence[NeuronLayer]) -> dict[str, LayerStatistics]:
        """Statistics of layers on the last batches of all ranks."""
        batch = self._scored_batch()
        with looking(self.module):
            return average_over_ranks(measure(layers, lambda: run_module(self.module, batch)))

    def view(self, intervention: Intervention, optimizers: Sequence[torch.optim.Optimizer]) -> ModelView:
        """The module as it looks to ``intervention``."""
        layers = self.treated_layers(intervention)
        batch = self._scored_batch()
        targets, target_layers = self._target_view(layers) if intervention.target_networks != "none" else ({}, [])
        return ModelView(
            nets=self.networks(),
            layers=layers,
            measure=self.measure,
            evaluate=_Evaluation(self.module, batch),
            target_nets=targets,
            target_layers=target_layers,
            optimizer=_together(optimizers),
        )

    def _scored_batch(self) -> Mapping[str, Any]:
        if self.batch is None:
            raise ValueError(
                f"module {self.module_id!r} was not trained in this update, so there is no batch to score it on; train "
                "it in every update."
            )
        return self.batch

    def _target_view(self, layers: Sequence[NeuronLayer]) -> tuple[dict[str, nn.Module], list[NeuronLayer]]:
        """The target networks as a network of the online one's shape, and ``layers`` in it. Parts that have no target
        (SAC's policy) are copies that are never read, so that the same edits fit."""
        if not self.pairs:
            return {}, []
        view = copy.deepcopy(self.online)
        paths = {module: path for path, module in self.online.named_modules()}
        for main, target in self.pairs:
            view.set_submodule(paths[main], target)
        names = {parameter: name for name, parameter in self.online.named_parameters()}
        there: dict[str, nn.Parameter] = dict(view.named_parameters())

        def twin(parameter: nn.Parameter | None) -> nn.Parameter | None:
            return None if parameter is None else there[names[parameter]]

        return {NET: view}, [
            dataclasses.replace(
                layer,
                input_weight=twin(layer.input_weight),
                input_bias=twin(layer.input_bias),
                output_weight=twin(layer.output_weight),
                output_bias=twin(layer.output_bias),
            )
            for layer in layers
        ]


def online_view(module: nn.Module, targets: Sequence[nn.Module]) -> nn.Module:
    """What of ``module`` is trained, as a module that holds the same children and parameters under the same names.

    Args:
        module: Any.
        targets: Its target networks; children that consist of their parameters alone are left out.

    Raises:
        ValueError: A target network lies inside of a child with other parameters.
    """
    followers = {parameter for target in targets for parameter in target.parameters()}
    view = nn.Module()
    for name, parameter in module.named_parameters(recurse=False):
        view.register_parameter(name, parameter)
    for name, child in module.named_children():
        parameters = set(child.parameters())
        if not parameters or not parameters <= followers:
            view.add_module(name, child)
    if any(parameter in followers for parameter in view.parameters()):
        raise ValueError(
            f"{type(module).__name__} keeps target networks inside of other modules, so they cannot be separated from "
            "what is trained; make them attributes of the module itself."
        )
    return view


def run_module(module: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Run all that is trained, as the loss does: ``forward_train``, and the value function where it is a call of its
    own.

    Returns:
        What the module gives, but not the embeddings: only the value function reads these, and it was run.
    """
    out = dict(module.forward_train(batch))
    embeddings = out.pop(Columns.EMBEDDINGS, None)
    if isinstance(module, ValueFunctionAPI):
        out["values"] = module.compute_values(batch, embeddings=embeddings)
    return out


@contextlib.contextmanager
def looking(module: nn.Module) -> Iterator[None]:
    """Without gradients, in evaluation mode, and with torch's random state put back (SAC draws actions): looking at a
    module changes nothing."""
    flags = {part: part.training for part in module.modules()}
    devices = {p.device for p in module.parameters() if p.device.type == "cuda"}
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[device.index or 0 for device in devices]):
            yield
    finally:
        for part, training in flags.items():
            part.training = training


class _Evaluation:
    """What a module gives on a batch: its policy's inputs, Q-values and state values, each divided by its mean size
    when first asked, so that the largest does not hide the others."""

    def __init__(self, module: Any, batch: Mapping[str, Any]) -> None:
        self._module = module
        self._batch = batch
        self._sizes: list[Tensor] = []

    def __call__(self) -> ModelOutputs:
        module, batch = self._module, self._batch
        with looking(module):
            out = module.forward_inference(batch)
            outputs: list[Tensor] = []
            actions = out.get(Columns.ACTIONS)
            if Columns.ACTION_DIST_INPUTS in out:
                outputs.append(out[Columns.ACTION_DIST_INPUTS])
                actions = module.get_inference_action_dist_cls().from_logits(outputs[0]).to_deterministic().sample()
            if isinstance(module, QNetAPI):
                q = module.compute_q_values(batch)
                outputs.append(q[QF_PREDS] if isinstance(q, Mapping) else q)
            if isinstance(module, ValueFunctionAPI):
                outputs.append(module.compute_values(batch))
        if not self._sizes:
            self._sizes = [values.abs().mean().clamp(min=1e-12) for values in outputs]
        values = torch.cat([(v / size).flatten() for v, size in zip(outputs, self._sizes, strict=True)])
        # Continuous actions all change a little; the share of those that did carries no information.
        greedy = actions if isinstance(module.action_space, gym.spaces.Discrete) else None
        return ModelOutputs(values=values, actions=greedy)


def _together(optimizers: Sequence[torch.optim.Optimizer]) -> Any:
    """What several optimizers (SAC has one for each network) remember, by parameter."""
    return SimpleNamespace(state={p: slots for optimizer in optimizers for p, slots in optimizer.state.items()})
