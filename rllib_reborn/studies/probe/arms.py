"""What is compared: a net as it was saved, treated, with parts of it re-initialised or frozen, and a fresh one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import nn

from rllib_reborn.callbacks.plasticity_runtime import seeded_generator
from rllib_reborn.callbacks.team_view import team_view
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.plasticity.interventions.apply import apply_intervention
from rllib_reborn.plasticity.interventions.base import Intervention
from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.studies.probe.offline_learner import NetState, OfflineLearner


class ArmRefused(ValueError):  # noqa: N818  (it is no error of ours)
    """This arm makes no sense for these networks; the message says why."""


@dataclasses.dataclass(frozen=True)
class ProbeArm:
    """One way to begin.

    Attributes:
        meaning: What it is, for the help and the docs.
        fresh: Networks that get fresh weights, and of which the optimizer forgets everything: ``none``, ``mixer``,
            ``agents``, ``all``.
        forgets: The optimizer forgets everything, whatever the weights.
        intervention: Applied once, with its own policy for the optimizer's state; None: nothing is.
        frozen: Whether the ``agents`` stay as they are; ``zero``: with values of 0, so that Q_tot is a function of the state
            alone.
    """

    meaning: str
    fresh: Literal["none", "mixer", "agents", "all"] = "none"
    forgets: bool = False
    intervention: Mapping[str, Any] | None = None
    frozen: Literal["no", "agents", "zero"] = "no"


#: Thresholds as in ``configs/intervention``; a test compares.
_REBORN = MappingProxyType({"kind": "reborn", "rule": "paper", "alpha": 0.1, "beta": 3.0, "scope": "mixer"})

#: Name -> arm, in the order of the table. The others are compared with ``as_is`` and ``fresh``. A further policy for the
#: optimizer's state is a further line.
ARMS: Mapping[str, ProbeArm] = MappingProxyType(
    {
        "as_is": ProbeArm("the net and its optimizer's state as they were saved"),
        "optimizer_reset": ProbeArm("the same net, its optimizer's state empty", forgets=True),
        "reborn": ProbeArm("ReBorn, the paper's rule, on the mixer; optimizer: keep", intervention=_REBORN),
        "reborn_donor": ProbeArm("the same; optimizer: donor", intervention={**_REBORN, "optimizer": "donor"}),
        "reborn_layer_mean": ProbeArm(
            "the same; optimizer: layer_mean", intervention={**_REBORN, "optimizer": "layer_mean"}
        ),
        "reborn_official_code": ProbeArm(
            "ReBorn, the official code's rule, on the mixer; optimizer: keep",
            intervention={**_REBORN, "rule": "official_code"},
        ),
        "redo": ProbeArm("ReDo on agents and mixer; optimizer: zero", intervention={"kind": "redo", "alpha": 0.1}),
        "mixer_reset": ProbeArm("the mixer re-initialised, its part of the optimizer's state empty", fresh="mixer"),
        "agents_reset": ProbeArm(
            "the agents' networks re-initialised, their part of the optimizer's state empty", fresh="agents"
        ),
        "shrink_perturb": ProbeArm(
            "shrink and perturb on agents and mixer; optimizer: keep", intervention={"kind": "shrink_perturb"}
        ),
        "fire": ProbeArm("FIRE on agents and mixer; optimizer: keep", intervention={"kind": "fire"}),
        "agents_frozen": ProbeArm(
            "only the mixer learns, the agents' networks stay as they were saved", frozen="agents"
        ),
        "state_only": ProbeArm(
            "only the mixer learns, all agents' values are 0: what the state alone explains", frozen="zero"
        ),
        "fresh": ProbeArm("networks as they are when a run begins, the optimizer's state empty", fresh="all"),
    }
)


@dataclasses.dataclass(frozen=True)
class Begun:
    """What was done to begin.

    Attributes:
        neurons: Neurons that an intervention gave new weights; None: no intervention.
    """

    neurons: int | None = None


def begin(learner: OfflineLearner, arm: ProbeArm, saved: NetState, scoring_block: EpisodeBlock, seed: int) -> Begun:
    """Put ``learner`` into the state that ``arm`` begins with.

    Args:
        learner: Of the networks of ``saved``.
        arm: What to begin with.
        saved: As the checkpoint has it.
        scoring_block: Episodes by which an intervention chooses neurons.
        seed: Of fresh weights and of the intervention's draws.

    Raises:
        ArmRefused: There is no mixer to re-initialise, or nothing would learn.
        SurgeryRefused: The intervention refuses these networks.
    """
    has_mixer = any(True for _ in learner.module.mixer.parameters())
    if not has_mixer and (arm.fresh == "mixer" or arm.frozen != "no"):
        raise ArmRefused("this algorithm's mixer has no weights")
    learner.put(_starting_state(learner, arm, saved, seed), seed=seed)
    if arm.frozen != "no":
        _freeze_agents(learner.module, zero=arm.frozen == "zero")
    if arm.intervention is None:
        return Begun()
    intervention = _fitting(make_intervention(arm.intervention), learner.module)
    view = team_view(learner.module, intervention.layers, scoring_block.columns(), None, learner.optimizer)
    report = apply_intervention(intervention, view, generator=seeded_generator(seed, 0, 0))
    return Begun(report.neurons)


def _starting_state(learner: OfflineLearner, arm: ProbeArm, saved: NetState, seed: int) -> NetState:
    if arm.fresh == "none":
        return dataclasses.replace(saved, optimizer={}) if arm.forgets else saved
    fresh = learner.fresh_weights(seed)
    if arm.fresh == "all":
        return NetState(fresh, {})
    of_part = (f"{arm.fresh}.", f"target_{arm.fresh}.")
    weights = {name: (fresh if name.startswith(of_part) else saved.weights)[name] for name in saved.weights}
    return NetState(weights, {n: kept for n, kept in saved.optimizer.items() if not n.startswith(of_part)})


def _freeze_agents(module: nn.Module, *, zero: bool) -> None:
    """The agents' networks learn nothing any more; ``zero``: and say 0 for every action."""
    for parameter in module.get_submodule("agents").parameters():
        parameter.requires_grad_(False)
        if zero:
            with torch.no_grad():
                parameter.zero_()


def _fitting(intervention: Intervention, module: Any) -> Intervention:
    """Where the mixer has no neurons, what treats it treats the agents, as the shipped configs do."""
    if intervention.scope == "mixer" and not declared_layers("mixer", module.mixer, "full"):
        return dataclasses.replace(intervention, scope="agent")
    return intervention
