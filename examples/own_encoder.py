"""An encoder of observations of your own: a module of torch in front of the agents' network, in one file outside of the
package.

Each observation is normalised by its own mean and deviation, then read by one hidden layer. Copy this file into a package of
yours and name the class in ``model.encoder``:

    rllib-reborn train predator_prey/small/qmix training.model.encoder=my_pkg.own_encoder:Normalised
    python examples/own_encoder.py

For pictures and for observations of several parts see the shipped ``cnn`` and ``per_field`` (docs/extending.md).
"""

from __future__ import annotations

import argparse

from torch import Tensor, nn

from rllib_reborn import QMIXConfig
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.obs_parts import ObsLayout


class Normalised(nn.Module):
    """Layer normalisation, Linear, ReLU, Linear.

    Args:
        layout: What the observations are: how many numbers, of which parts, and what they are multiplied by.
        width: Features that come out. An attribute of this name is all that is asked of the class, beside ``forward``.
        hidden_dim: Neurons of the hidden layer.
    """

    def __init__(self, layout: ObsLayout, *, width: int = 32, hidden_dim: int = 64) -> None:
        super().__init__()
        self.layout = layout
        self.width = width
        self.norm = nn.LayerNorm(layout.dim)
        self.hidden = nn.Linear(layout.dim, hidden_dim)
        self.relu = nn.ReLU()
        self.out = nn.Linear(hidden_dim, width)

    def forward(self, obs: Tensor) -> Tensor:
        """``obs`` [rows, d] in the dtype that it is stored in, such as bytes -> [rows, width] float32."""
        features: Tensor = self.out(self.relu(self.hidden(self.norm(self.layout.numbers(obs)))))
        return features

    def hidden_layers(self) -> list[HiddenLayer]:
        """Optional: what dormancy checks measure and interventions treat; without it these neurons are not measured."""
        return [HiddenLayer("hidden", self.hidden, self.relu, self.out)]


def main(arguments: list[str] | None = None) -> float:
    """Trains QMIX with it and returns the greedy return."""
    from rllib_reborn.studies.trained_policy import team_from_algo

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="train for seconds only")
    given = parser.parse_args(arguments)
    # A script is a module of its file's name.
    encoder = f"{__spec__.name if __spec__ else 'own_encoder'}:Normalised"
    config = QMIXConfig().environment("matrix/two_step").env_runners(num_envs_per_env_runner=8)
    config.training(model={"encoder": encoder, "encoder_settings": {"width": 16}}, lr=2e-3)
    algo = config.debugging(seed=0).build_algo()
    while algo.train()["num_env_steps_sampled_lifetime"] < (500 if given.quick else 4_000):
        pass
    greedy = float(team_from_algo(algo).evaluate(32, seed=1).returns.mean())
    algo.stop()
    print(f"greedy {greedy:.2f}")
    return greedy


if __name__ == "__main__":
    main()
