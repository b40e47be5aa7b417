"""Encoders as a user writes them, and things that are none."""

import torch
from torch import Tensor, nn

from rllib_reborn.nets.hidden_layers import HiddenLayer


class Doubled(nn.Module):
    """Twice the observation, then a Linear of ``width``; neurons not declared."""

    def __init__(self, layout, width: int = 5, factor: float = 2.0) -> None:
        super().__init__()
        self.layout = layout
        self.factor = factor
        self.width = width
        self.places = torch.arange(layout.dim)  # neither parameter nor buffer
        self.register_buffer("shift", torch.zeros(layout.dim))
        self.out = nn.Linear(layout.dim, width)

    def forward(self, obs: Tensor) -> Tensor:
        numbers = self.layout.numbers(obs) + self.shift
        return self.out(numbers[:, self.places] * self.factor)


class Declared(nn.Module):
    """Linear-ReLU-Linear whose neurons are declared."""

    def __init__(self, layout, *, width: int, hidden: int = 6) -> None:
        super().__init__()
        self.layout = layout
        self.width = width
        self.first, self.relu, self.second = nn.Linear(layout.dim, hidden), nn.ReLU(), nn.Linear(hidden, width)

    def forward(self, obs: Tensor) -> Tensor:
        return self.second(self.relu(self.first(self.layout.numbers(obs))))

    def hidden_layers(self) -> list[HiddenLayer]:
        return [HiddenLayer("first", self.first, self.relu, self.second)]


class NoWidth(Doubled):
    def __init__(self, layout) -> None:
        super().__init__(layout)
        self.width = 0


class WrongWidth(Doubled):
    def __init__(self, layout) -> None:
        super().__init__(layout)
        self.width = 4


class Breaks(Doubled):
    def __init__(self, layout) -> None:
        raise RuntimeError("no such file")


class NotFinite(Doubled):
    def forward(self, obs: Tensor) -> Tensor:
        return super().forward(obs) / 0


class Fails(Doubled):
    def forward(self, obs: Tensor) -> Tensor:
        raise KeyError("nothing")


class NoModule:
    """Something else."""


class Branches(Doubled):
    """Another function for large observations, decided in Python."""

    def forward(self, obs: Tensor) -> Tensor:
        return super().forward(obs if bool(obs.sum() > 3) else -obs)


class ByRows(Doubled):
    """Another function for few rows."""

    def forward(self, obs: Tensor) -> Tensor:
        return super().forward(obs) * (1 if len(obs) < 5 else 2)
