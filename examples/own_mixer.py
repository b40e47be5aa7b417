"""A mixer of your own, as an algorithm: one file outside of the package is all that it takes.

``Q_tot = sum_i w_i(s) q_i + b(s)`` with weights above 0 that one hidden layer makes of the state: between VDN's sum and
QMIX's network. Copy this file into a package of yours and name the config wherever an algorithm may stand:

    rllib-reborn train --env predator_prey/small --algorithm my_pkg.own_mixer:WeightedSumConfig training.mixer.hidden_dim=32
    python examples/own_mixer.py
"""

from __future__ import annotations

import argparse
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rllib_reborn.algorithms import ValueFactorization, ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.settings import StateSettings
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers import Mixer


class WeightedSumMixer(Mixer):
    """``q`` [rows, n] and ``state`` [rows, s] to Q_tot [rows]."""

    def __init__(self, n_agents: int, state_dim: int, *, hidden_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(state_dim, hidden_dim)
        self.relu = nn.ReLU()
        self.out = nn.Linear(hidden_dim, n_agents + 1)

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        made = self.out(self.relu(self.hidden(state)))
        value: Tensor = (functional.softplus(made[:, :-1]) * q).sum(1) + made[:, -1]
        return value

    def hidden_layers(self) -> list[HiddenLayer]:
        """What dormancy checks measure and interventions treat: source, activation, the one reader."""
        return [HiddenLayer("hidden", self.hidden, self.relu, self.out)]


class WeightedSumSettings(StateSettings):
    """``training(mixer=...)``: what is read of the state (:class:`StateSettings`), and the width of the hidden layer."""

    hidden_dim: Annotated[int, Field(ge=1, le=4096)] = 64


class WeightedSumConfig(ValueFactorizationConfig):
    """Everything else is as in all algorithms."""

    algorithm_name = "WeightedSum"
    mixer_class = WeightedSumMixer
    mixer_settings_class = WeightedSumSettings


class WeightedSum(ValueFactorization):
    """The algorithm of that config."""

    config_class = WeightedSumConfig


def main(arguments: list[str] | None = None) -> float:
    """Trains on a matrix game whose best joint action a sum of values finds, and returns the greedy return."""
    from rllib_reborn.algorithms import algorithm_config_class
    from rllib_reborn.studies.trained_policy import team_from_algo

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="train for seconds only")
    given = parser.parse_args(arguments)
    # By name, as YAML and the command line do; a script is a module of its file's name.
    config_class = algorithm_config_class(f"{__spec__.name if __spec__ else 'own_mixer'}:WeightedSumConfig")
    config = config_class().environment("matrix/monotonic").env_runners(num_envs_per_env_runner=8)
    config.training(mixer={"hidden_dim": 32}, lr=2e-3, epsilon={"anneal_env_steps": 1000}).debugging(seed=0)
    algo = config.build_algo()
    while algo.train()["num_env_steps_sampled_lifetime"] < (500 if given.quick else 4_000):
        pass
    greedy = float(team_from_algo(algo).evaluate(32, seed=1).returns.mean())
    algo.stop()
    print(f"greedy {greedy:.2f}")
    return greedy


if __name__ == "__main__":
    main()
