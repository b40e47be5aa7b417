"""Dormancy checks and ReBorn in RLlib's own DQN, by one line: a Learner class with the plasticity mixin.

Trains DQN on CartPole for a few iterations and prints what the checks found and what ReBorn did. CartPole needs no help
against dormant neurons; this shows how to switch it on, and the learning rate is high so that there is something to see.

    python examples/reborn_on_stock_dqn.py
"""

from __future__ import annotations

import argparse
import logging
import os
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner

from rllib_reborn.callbacks.stock import PlasticityLearnerMixin


class ReBornDQNLearner(PlasticityLearnerMixin, DQNTorchLearner):
    """The one line."""


def build(options: argparse.Namespace) -> Any:
    """DQN with the Learner above; what is measured and done is data."""
    config = (
        DQNConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0)
        .rl_module(
            # ReLU: splitting a neuron keeps its function. RLlib's default is tanh.
            model_config={
                "fcnet_hiddens": [64, 64],
                "fcnet_activation": "relu",
                "head_fcnet_hiddens": [64],
                "head_fcnet_activation": "relu",
            }
        )
        .training(
            lr=5e-3,
            dueling=False,  # with two heads the encoder's last layer has two readers and is scored only
            train_batch_size_per_learner=64,
            num_steps_sampled_before_learning_starts=200,
        )
        .learners(
            learner_class=ReBornDQNLearner,
            learner_config_dict={
                "dormancy": {"every": options.every // 2, "unit": "updates"},
                "interventions": [
                    {
                        "kind": "reborn",
                        "every": options.every,
                        "unit": "updates",
                        "alpha": options.alpha,
                        "beta": options.beta,
                        "optimizer": "donor",  # a neuron made from another one also gets that one's averages
                    }
                ],
            },
        )
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=options.steps)
        .debugging(seed=options.seed, log_level="ERROR")
    )
    return config.build_algo()


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Run the example; returns the events of all iterations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=4, help="default 4")
    parser.add_argument("--steps", type=int, default=500, help="env steps of each (default 500)")
    parser.add_argument("--every", type=int, default=500, help="gradient updates between two ReBorns (default 500)")
    parser.add_argument("--alpha", type=float, default=0.1, help="dormant: score at most this (default 0.1)")
    parser.add_argument("--beta", type=float, default=3.0, help="over-active: score at least this (default 3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="2 iterations of 200 steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.iterations, options.steps, options.every = 2, 200, 50
    logging.getLogger("ray").setLevel(logging.ERROR)
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(num_cpus=1, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    logged: list[dict[str, Any]] = []
    algorithm = build(options)
    try:
        for iteration in range(options.iterations):
            result = algorithm.train()
            answers = algorithm.learner_group.foreach_learner(lambda learner: learner.take_events())
            events = next(iter(answers)).get()
            logged += events
            print(
                f"iteration {iteration + 1}: return {result['env_runners'].get('episode_return_mean', float('nan')):.1f}"
            )
            for event in events:
                tell(event)
    finally:
        algorithm.stop()
        if started_here:
            ray.shutdown()
    return logged


def tell(event: dict[str, Any]) -> None:
    """Print a check or an application."""
    updates = event["clock"]["updates"]
    if event["event"] == "dormancy":
        metrics = event["metrics"]
        print(
            f"  update {updates}: dormant {metrics['dormancy/module/dormant_fraction']:.1%}, "
            f"over-active {metrics['dormancy/module/overactive_fraction']:.1%}"
        )
        return
    print(
        f"  update {updates}: {event['kind']} gave {event['neurons']} neurons new weights; dormant "
        f"{event['dormant_before']['module']:.1%} -> {event['dormant_after']['module']:.1%}, Q-values changed by "
        f"{event['function_drift']:.2%}, {event['greedy_actions_changed']:.1%} of the greedy actions"
    )
    for change in event["changes"]:
        if change["neurons"]:
            print(f"    {change['layer']}: {change['dormant']} dormant, {change['overactive']} over-active")


if __name__ == "__main__":
    main()
