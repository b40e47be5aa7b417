"""Settings of interventions and dormancy checks for RLlib's own algorithms: what these cannot give is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rllib_reborn.plasticity.dormancy_check import DormancyCheck, make_dormancy_check
from rllib_reborn.plasticity.interventions import Intervention, make_intervention
from rllib_reborn.plasticity.scope import ALL

#: Keys of ``learner_config_dict``.
INTERVENTIONS = "interventions"
DORMANCY = "dormancy"

#: What a stock module is called as a network.
NET = "module"


def stock_intervention(data: Mapping[str, Any]) -> Intervention:
    """The intervention that ``data`` describes, ``scope`` being ``all`` unless it is given.

    Raises:
        ValueError: A setting is wrong, or asks for what a stock algorithm cannot give.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"an intervention is {data!r}; expected a dict with 'kind' and settings.")
    made = make_intervention({"scope": ALL, **data})
    if made.scope not in (ALL, NET):
        raise ValueError(
            f"{made.kind}: scope is {made.scope!r}; a stock module has no mixer and no agents, leave scope out or say 'all'."
        )
    if made.replay_ratio is not None:
        raise ValueError(
            f"{made.kind}: its replay ratio belongs to the algorithm, which is not ours here; use reset or shrink_perturb, "
            "and training(training_intensity=...)."
        )
    if made.needs_gradient_activity or (made.needs_update_activity and not made.adds_parameters):
        raise ValueError(
            f"{made.kind}: gradients of a stock algorithm are not watched here; choose neurons by their activation: "
            "score='activation'."
        )
    if made.counts_firing:
        raise ValueError(
            f"{made.kind}: when neurons fire is not counted in a stock algorithm. Use redo, or one of our algorithms."
        )
    if made.adds_parameters:
        raise ValueError(
            f"{made.kind}: it builds parameters of its own into the networks, before optimizers and targets exist; a stock "
            "module cannot be changed so. Use another kind, or one of our algorithms."
        )
    if made.drift_updates:
        raise ValueError(
            f"{made.kind}: drift_updates is {list(made.drift_updates)}; a stock Learner measures drift right after an "
            "application alone. Leave it out, or use one of our algorithms."
        )
    _refuse_batch(made, made.kind, ("scoring_source", "scoring_episodes"))
    return made


def stock_dormancy_check(data: Mapping[str, Any]) -> DormancyCheck:
    """The check that ``data`` describes.

    Raises:
        ValueError: As :func:`stock_intervention`.
    """
    made = make_dormancy_check(data)
    _refuse_batch(made, DORMANCY, ("source", "episodes"))
    return made


def _refuse_batch(settings: Any, name: str, fields: tuple[str, ...]) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for field in fields:
        if getattr(settings, field) != defaults[field]:
            raise ValueError(
                f"{name}: {field} is {getattr(settings, field)!r}; a stock Learner scores on its last training batch, "
                "leave it out."
            )
