"""An intervention of your own: what is done to the networks, and when, in one file outside of the package.

Weight matrices whose largest singular value has grown beyond ``limit`` are scaled back to it. Copy this file into a package
of yours and name the class wherever a kind may stand:

    rllib-reborn train predator_prey/small/qmix 'interventions=[{kind: "my_pkg.own_intervention:ClipNorm", every: 50000}]'
    python examples/own_intervention.py
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, ClassVar

import torch

from rllib_reborn import QMIXConfig
from rllib_reborn.plasticity.interventions import Context, Intervention, LayerChange, ParameterEdit, Plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipNorm(Intervention):
    """Settings are fields; ``every``, ``unit``, ``scope``, ``optimizer``, ``dry_run`` and others are there already.

    Attributes:
        limit: Largest singular value that a weight matrix may have, > 0.
    """

    needs_statistics: ClassVar[bool] = False  #: it asks for no activations
    treats_layers: ClassVar[bool] = False  #: nor for layers of neurons

    limit: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.limit > 0:
            raise ValueError(f"limit is {self.limit!r}; expected a number > 0.")

    def plan(self, context: Context) -> Plan:
        """What to write, as data; nothing is written here."""
        edits, changes = [], []
        for net, network in context.nets.items():
            for name, parameter in network.named_parameters():
                if parameter.dim() != 2:
                    continue
                weight = parameter.detach()
                largest = float(torch.linalg.matrix_norm(weight, 2))
                if largest > self.limit:
                    # new = factor * old + added
                    edits.append(ParameterEdit(net, name, self.limit / largest, torch.zeros_like(weight)))
                    neurons = tuple(range(len(weight)))
                    changes.append(LayerChange(layer=f"{net}/{name}", width=len(weight), neurons=neurons))
        return Plan(tuple(edits), tuple(changes))


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Trains QMIX with it and returns what it did."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="train for seconds only")
    given = parser.parse_args(arguments)
    # A script is a module of its file's name.
    kind = f"{__spec__.name if __spec__ else 'own_intervention'}:ClipNorm"
    config = QMIXConfig().environment("matrix/two_step").env_runners(num_envs_per_env_runner=8)
    config.training(interventions=[{"kind": kind, "every": 200, "scope": "all", "limit": 1.5}], lr=2e-3)
    algo = config.debugging(seed=0).build_algo()
    events, steps = [], 0
    while steps < (500 if given.quick else 4_000):
        result = algo.train()
        steps = result["num_env_steps_sampled_lifetime"]
        events += result["plasticity"]
    algo.stop()
    for event in events[:3]:
        print(f"at {event['clock']['env_steps']} env steps: {event['neurons']} rows of weights scaled")
    print(f"{len(events)} applications")
    return events


if __name__ == "__main__":
    main()
