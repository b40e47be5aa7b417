"""The core of the probe: targets, batches, errors and areas, on small nets without Ray."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.replay.fields import Episode
from rllib_reborn.studies.probe.fitting import (
    FitPlan,
    area_under,
    draw_batches,
    fit,
    points,
    split_episodes,
)
from rllib_reborn.studies.probe.measures import area_under_roc
from rllib_reborn.studies.probe.targets import RandomReward, discounted_returns, rows_before


def episodes(count: int, seed: int = 0, length: int = 8) -> list[Episode]:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        steps = length - number % 3
        made.append(
            {
                "obs": rng.standard_normal((steps + 1, 2, 3)).astype(np.float32),
                "state": rng.standard_normal((steps + 1, 4)).astype(np.float32),
                "action_mask": np.ones((steps + 1, 2, 3), np.bool_),
                "actions": rng.integers(0, 3, (steps, 2)).astype(np.int8),
                "reward": rng.standard_normal(steps).astype(np.float32),
                "terminated": np.zeros(steps, np.bool_),
            }
        )
    return made


class SmallNet:
    """A value of the state by a net of 32 ReLUs, trained by Adam."""

    def __init__(self, seed: int = 0, lr: float = 1e-2) -> None:
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=lr)

    def _out(self, block: EpisodeBlock) -> torch.Tensor:
        return self.net(torch.from_numpy(block.fields["state"][rows_before(block)])).squeeze(1)

    def values(self, block: EpisodeBlock) -> np.ndarray:
        with torch.no_grad():
            return self._out(block).double().numpy()

    def learn(self, block: EpisodeBlock) -> None:
        self.optimizer.zero_grad()
        (self._out(block) - torch.from_numpy(block.fields["reward"])).square().mean().backward()
        self.optimizer.step()


def plan(seed: int = 0, *, relative: bool = True, updates: int = 60) -> FitPlan:
    all_of_them = episodes(24)
    training_at, holdout_at = split_episodes(len(all_of_them), seed)
    training = tuple(all_of_them[i] for i in training_at)
    holdout = EpisodeBlock.of([all_of_them[i] for i in holdout_at])

    def target(block: EpisodeBlock) -> np.ndarray:
        return 3.0 + block.fields["state"][rows_before(block)][:, 0].astype(np.float64)

    return FitPlan(
        training=training,
        holdout=holdout,
        training_targets=target(EpisodeBlock.of(list(training))),
        holdout_targets=target(holdout),
        relative=relative,
        batches=draw_batches(len(training), 8, updates, seed),
        at=points(updates),
        seed=seed,
    )


def test_an_area_by_hand() -> None:
    """Errors 1, 0.5, 0 after 0, 10 and 30 updates: (0.75 * 10 + 0.25 * 20) / 30."""
    assert area_under((0, 10, 30), (1.0, 0.5, 0.0)) == pytest.approx(12.5 / 30)
    assert area_under((0, 10), (7.0, float("inf"))) == 1.0  # no worse than nothing learnt
    with pytest.raises(ValueError, match="at least 2"):
        area_under((0,), (1.0,))


def test_the_error_is_that_of_the_constant_prediction_at_first_and_falls() -> None:
    curve = fit(SmallNet(), plan())
    assert curve.at[0] == 0
    assert curve.at[-1] == 60
    # Relative to what the net gives at the start nothing is learnt: the error of 0 against targets around 3.
    chosen = plan()
    by_hand = (chosen.holdout_targets**2).mean() / (
        (chosen.holdout_targets - chosen.training_targets.mean()) ** 2
    ).mean()
    assert curve.errors[0] == pytest.approx(by_hand)
    assert curve.errors[-1] < 0.5 < curve.errors[0]
    assert 0 < curve.area < 1


def test_relative_targets_leave_nothing_to_forget() -> None:
    """A net whose values are far off learns a change as fast as another; the same targets as values take it longer."""
    shifted, as_values = SmallNet(), SmallNet()
    for net in (shifted, as_values):
        with torch.no_grad():
            net.net[2].bias += 100.0
    ordinary = fit(SmallNet(), plan())
    assert fit(shifted, plan()).area == pytest.approx(ordinary.area, abs=1e-3)
    assert fit(as_values, plan(relative=False)).area == 1.0
    assert fit(SmallNet(), plan(relative=False)).area < 0.9


def test_twice_the_same_is_equal_to_the_bit_and_another_seed_is_not() -> None:
    assert fit(SmallNet(), plan()).errors == fit(SmallNet(), plan()).errors
    assert fit(SmallNet(), plan(seed=1)).errors != fit(SmallNet(), plan()).errors


def test_values_that_are_not_finite_are_nothing_learnt() -> None:
    net = SmallNet(lr=1e-2)
    with torch.no_grad():
        net.net[0].weight.fill_(float("nan"))
    curve = fit(net, plan(updates=4))
    assert set(curve.errors) == {float("inf")}
    assert curve.area == 1.0


def test_the_split_and_the_batches() -> None:
    training, holdout = split_episodes(40, 3)
    assert len(holdout) == 10
    assert sorted([*training, *holdout]) == list(range(40))
    assert not np.array_equal(holdout, split_episodes(40, 4)[1])
    batches = draw_batches(5, 8, 7, 0)
    assert batches.shape == (7, 5)
    assert all(sorted(batch) == list(range(5)) for batch in batches.tolist())
    with pytest.raises(ValueError, match="at least 2"):
        split_episodes(1, 0)


def test_a_random_reward_is_standardised_and_depends_on_actions_and_state() -> None:
    known, other = EpisodeBlock.of(episodes(60)), EpisodeBlock.of(episodes(60, seed=9))
    reward = RandomReward(known, 0)
    of_known = reward(known)
    assert of_known.mean() == pytest.approx(0, abs=1e-9)
    assert 0.8 < of_known.std() < 1.2
    assert 0.5 < reward(other).std() < 1.5
    assert np.array_equal(of_known, RandomReward(known, 0)(known))
    assert abs(np.corrcoef(of_known, RandomReward(known, 1)(known))[0, 1]) < 0.5
    for field in ("actions", "state", "obs"):
        fields = {name: array.copy() for name, array in known.fields.items()}
        fields[field][0] = (fields[field][0] + 1) % 3
        changed = reward(EpisodeBlock(known.lengths, fields)) != of_known
        assert changed[0]
        assert not changed[1:].any()


def test_what_never_varies_is_no_reward() -> None:
    alike = episodes(1)[0]
    alike = {name: np.repeat(array[:1], len(array), axis=0) for name, array in alike.items()}
    with pytest.raises(ValueError, match="all alike"):
        RandomReward(EpisodeBlock.of([alike, alike]), 0)


def test_returns_by_hand() -> None:
    pair = episodes(2)
    pair[0]["reward"][:] = 0.0
    pair[0]["reward"][-1] = 8.0
    returns = discounted_returns(EpisodeBlock.of(pair), 0.5)
    assert returns[:8].tolist() == [8 / 2**k for k in range(7, -1, -1)]
    assert returns[-1] == pair[1]["reward"][-1]


def test_the_area_under_the_roc_by_hand() -> None:
    assert area_under_roc([2.0, 1.0], [1.0, 0.0]) == 0.875  # pairs: 1, 1, a tie, 1
    assert area_under_roc([0.0], [1.0]) == 0.0
    with pytest.raises(ValueError, match="at least one"):
        area_under_roc([], [1.0])
