"""Measure and treat dormant neurons of any torch network: here an MLP that has to learn one random labelling after
another.

Prints the share of dormant neurons while the task changes; then what ReBorn does to the network (scores before and
after, how much its function changed), and what ReDo would have done to the same network (a dry run).

    python examples/plasticity_on_any_module.py
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import nn

from rllib_reborn.plasticity.discovery import discover_neurons
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.plasticity.interventions.apply import InterventionReport, ModelOutputs, ModelView, apply_intervention
from rllib_reborn.plasticity.neuron_layers import by_key
from rllib_reborn.plasticity.scores import dormancy, feature_ranks
from rllib_reborn.plasticity.statistics import measure


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the example; returns what it printed as numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=8, help="labellings, one after the other (default 8)")
    parser.add_argument("--steps", type=int, default=400, help="gradient steps for each (default 400)")
    parser.add_argument("--alpha", type=float, default=0.1, help="dormant: score at most this (default 0.1)")
    parser.add_argument("--beta", type=float, default=3.0, help="over-active: score at least this (default 3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="2 tasks of 100 steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.tasks, options.steps = 2, 100

    torch.manual_seed(options.seed)
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    inputs = torch.randn(512, 32)

    # Which neurons there are is read off one run of the network.
    layers = discover_neurons(net, inputs[:8], name="net")
    for layer in layers:
        print(f"found {layer.key}: {layer.width} neurons, {layer.activation}, surgery {layer.surgery.value}")

    fractions = []
    for task in range(options.tasks):
        labels = torch.randint(10, (512,))
        for _ in range(options.steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(inputs), labels)
            loss.backward()
            optimizer.step()
        statistics = measure(layers, lambda: net(inputs))
        found = dormancy(statistics, by_key(layers), alpha=options.alpha, beta=options.beta)["net"]
        features = statistics[layers[-1].key].features
        assert features is not None
        rank = feature_ranks(features)["effective_rank"]
        fractions.append(found.dormant_fraction)
        print(
            f"task {task + 1}: loss {loss.item():.3f}, dormant {found.dormant_fraction:.1%}, "
            f"over-active {found.overactive_fraction:.1%}, effective rank {rank:.1f}"
        )

    def evaluate() -> ModelOutputs:
        with torch.no_grad():
            values = net(inputs)
        return ModelOutputs(values=values, actions=values.argmax(dim=-1))

    model_view = ModelView(
        nets={"net": net},
        layers=layers,
        measure=lambda wanted: measure(wanted, lambda: net(inputs)),
        evaluate=evaluate,
        optimizer=optimizer,
    )
    settings = {"scope": "all", "alpha": options.alpha}
    generator = torch.Generator().manual_seed(options.seed)
    redo = apply_intervention(
        make_intervention({"kind": "redo", **settings, "dry_run": True}), model_view, generator=generator
    )
    tell("ReDo (dry run, nothing was written)", redo)
    reborn = apply_intervention(
        make_intervention({"kind": "reborn", **settings, "beta": options.beta, "optimizer": "donor"}),
        model_view,
        generator=generator,
    )
    tell("ReBorn", reborn)
    return {"fractions": fractions, "redo": redo.to_dict(), "reborn": reborn.to_dict()}


def tell(name: str, report: InterventionReport) -> None:
    """Print a report."""
    print(
        f"{name}: {report.neurons} neurons got new weights; dormant {report.dormant_before['net']:.1%} -> "
        f"{report.dormant_after['net']:.1%}; outputs changed by {report.function_drift:.2%}, "
        f"{report.greedy_actions_changed:.1%} of the predictions; {1e3 * report.seconds:.1f} ms"
    )
    for change in report.changes:
        print(
            f"  {change.layer}: {change.dormant} dormant, {change.overactive} over-active; touched {list(change.neurons)}"
        )


if __name__ == "__main__":
    main()
