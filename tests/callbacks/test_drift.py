"""Drift over updates: exact against a second learner without the application, and training goes on as if nobody looked."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from rllib_reborn.algorithms.value_factorization.learner_updates import learner_batches
from rllib_reborn.callbacks import LearnerCallback
from rllib_reborn.callbacks.scheduler import PlasticityScheduler
from rllib_reborn.callbacks.stock_settings import stock_intervention
from rllib_reborn.callbacks.team_view import tensors
from rllib_reborn.plasticity.interventions import Context, Intervention, Plan, make_intervention
from rllib_reborn.plasticity.invariance import q_drift
from rllib_reborn.replay import EpisodeBlock, EpisodeReplay, ReplaySample
from rllib_reborn.replay.fields import OBSERVATION_FIELDS, field_layout
from tests.algorithms.test_learner import make_learner, module_of

REBORN = {
    "kind": "reborn",
    "every": 12,
    "unit": "updates",
    "alpha": 0.5,
    "beta": 1.5,
    "scoring_episodes": 4,
    "drift_updates": [1, 3, 10],
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nothing(Intervention):
    """Edits nothing."""

    needs_statistics: ClassVar[bool] = False
    treats_layers: ClassVar[bool] = False

    def plan(self, context: Context) -> Plan:
        return Plan()


NOTHING = {"kind": f"{__name__}:Nothing", "every": 12, "unit": "updates", "drift_updates": [1, 3, 10]}


class Noisy(LearnerCallback):
    """A loss that draws from PyTorch's global random stream."""

    def on_learner_loss(self, *, learner: Any, module_id: str, module: Any) -> Any:
        return sum((p * torch.randn(p.shape)).sum() for p in module.mixer.parameters())


def replay_of(config: Any) -> EpisodeReplay:
    """20 episodes of random numbers."""
    spec = config.team_spec
    layout = field_layout(spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.obs_dtype, spec.state_dtype)
    rng = np.random.default_rng(0)
    replay = EpisodeReplay(32, layout, spec.episode_limit, seed=1)
    for length in rng.integers(1, 6, 20).tolist():
        episode = {}
        for name, (shape, dtype) in layout.items():
            rows = length + (name in OBSERVATION_FIELDS)
            if dtype == np.bool_:
                episode[name] = np.ones((rows, *shape), bool)
            elif dtype == np.int8:
                episode[name] = rng.integers(0, spec.n_actions, (rows, *shape)).astype(dtype)
            else:
                episode[name] = rng.standard_normal((rows, *shape)).astype(dtype)
        episode["terminated"] = np.arange(length) == length - 1
        replay.add(EpisodeBlock.of([episode]))
    return replay


class Trained:
    """A learner on a fixed replay, with what the algorithm sends to it; update k learns from the same batch in all."""

    def __init__(self, *interventions: dict[str, Any], broken_at: int | None = None, **training: Any) -> None:
        settings = {"target_update": {"every": 4, "unit": "updates"}} | training
        self.learner = make_learner(interventions=list(interventions), **settings)
        self.replay = replay_of(self.learner.config)
        self.scheduler = PlasticityScheduler(self.learner.config.parse_interventions(), None, 3)
        self.broken_at = broken_at
        self.results: list[Any] = []
        self.events: list[dict[str, Any]] = []
        self.holdouts: dict[int, Any] = {}

    def train(self, updates: int) -> Trained:
        for _ in range(updates):
            number = self.learner.num_updates + 1
            sample = self.replay.sample(8, rng=np.random.default_rng(number))
            if number == self.broken_at:
                sample = broken(sample)
            clock = {"updates": number, "env_steps": 10 * number, "episodes": number, "iterations": number}
            timesteps = {"num_env_steps_sampled_lifetime": 10 * number, "num_episodes_lifetime": number}
            request = self.scheduler.request(clock, self.replay)
            if request is not None and request.holdout_batch is not None:
                self.holdouts[number] = request.holdout_batch
            torch.manual_seed(number)
            scalars = self.learner.update(
                batch=learner_batches(sample, 1)[0], timesteps=timesteps, request=request, scalars_only=True
            )
            self.results.append(scalars | plain(self.learner.take_metrics()))
            self.drawn = torch.rand(())
            if request is not None:
                self.events += self.learner.take_events()
        return self

    def drifts(self) -> dict[int, dict[str, Any]]:
        return {event["updates"]: event for event in self.events if event["event"] == "drift"}

    def q_tot(self, holdout: Any) -> torch.Tensor:
        torch.set_flush_denormal(True)  # as in an update
        try:
            found: torch.Tensor = module_of(self.learner).observe(tensors(holdout, torch.device("cpu")))["q_tot"]
        finally:
            torch.set_flush_denormal(False)
        return found.clone()

    def state(self) -> dict[str, Any]:
        module, optimizer = module_of(self.learner), self.learner.get_optimizer("default_policy")
        return {
            "weights": {name: tensor.clone() for name, tensor in module.state_dict().items()},
            "averages": copy.deepcopy(optimizer.state_dict()["state"]),
            "counts": copy.deepcopy(self.learner.update_counts()),
        }


def broken(sample: ReplaySample) -> ReplaySample:
    """With a reward that is not finite."""
    episodes = list(sample.block.episodes())
    episodes[0]["reward"] = np.full_like(episodes[0]["reward"], np.inf)
    return ReplaySample(EpisodeBlock.of(episodes), sample.indices)


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, whatever it is made of."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return bool(a == b)


def plain(result: Any) -> Any:
    """What an update logged, without its drift and times."""
    logged = {key: value for key, value in result["default_policy"].items() if key != "intervention"}
    numbers = {key: float(value.peek() if hasattr(value, "peek") else value) for key, value in logged.items()}
    return {key: number for key, number in numbers.items() if number == number}


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_nothing_edited_is_no_drift_at_all(optimizer: str) -> None:
    one = Trained(NOTHING, optimizer={"kind": optimizer}).train(22)
    assert {updates: event["q_drift"] for updates, event in one.drifts().items()} == {1: 0.0, 3: 0.0, 10: 0.0}
    assert [event["q_drift"] for event in one.events if event["event"] == "intervention"] == [0.0]
    own = [event["q_drift_untreated"] for event in one.drifts().values()]
    assert all(value > 0 for value in own)
    assert [event["clock"]["updates"] for event in one.drifts().values()] == [13, 15, 22]


def test_a_shadow_draws_what_the_learner_draws() -> None:
    one = Trained(NOTHING, callbacks=Noisy).train(22)
    assert {updates: event["q_drift"] for updates, event in one.drifts().items()} == {1: 0.0, 3: 0.0, 10: 0.0}


@pytest.mark.parametrize(
    ("others", "training"),
    [
        ([], {}),
        ([], {"optimizer": {"kind": "adam"}, "callbacks": Noisy}),
        # Holds pruned neurons after every update, in the shadow too; a loss that the shadow has too.
        ([{"kind": "prune", "every": 5, "stop": 5, "unit": "updates", "alpha": 0.5}, {"kind": "l2_init"}], {}),
    ],
    ids=["rmsprop", "adam, noise", "prune, l2_init"],
)
@pytest.mark.parametrize("broken_at", [None, 14])
def test_against_a_learner_that_was_not_treated(
    others: list[dict[str, Any]], training: dict[str, Any], broken_at: int | None
) -> None:
    """Also a target copy at 16 and 20, and an update that is skipped on both sides."""
    treated = Trained(*others, REBORN, broken_at=broken_at, **training)
    free = Trained(*others, broken_at=broken_at, **training)
    treated.train(12)
    free.train(12)
    holdout = treated.holdouts[12]
    before = free.q_tot(holdout)
    (applied,) = [event for event in treated.events if event["event"] == "intervention" and event["kind"] == "reborn"]
    assert applied["neurons"] > 0
    assert applied["q_drift"] == q_drift(before, treated.q_tot(holdout))
    for updates in (1, 3, 10):
        treated.train(12 + updates - treated.learner.num_updates)
        free.train(12 + updates - free.learner.num_updates)
        found, untreated = treated.drifts()[updates], free.q_tot(holdout)
        assert found["q_drift"] == q_drift(untreated, treated.q_tot(holdout)) > 0
        assert found["q_drift_untreated"] == q_drift(untreated, before)
        assert found["not_measured"] is None
        assert found["applied_at"]["updates"] == 12
    assert int(treated.learner.update_counts()["_nonfinite_steps"]) == (broken_at is not None)


def test_training_is_the_same_to_the_bit() -> None:
    looked = Trained(REBORN, callbacks=Noisy).train(30)
    alone = Trained(REBORN | {"drift_updates": []}, callbacks=Noisy).train(30)
    assert len(looked.drifts()) == 3
    assert not alone.drifts()
    assert same(looked.state(), alone.state())
    assert torch.equal(looked.drawn, alone.drawn)
    assert looked.results == alone.results
    assert {"total_loss", "num_updates"} <= looked.results[-1].keys()


def test_a_further_application_ends_it_and_says_so() -> None:
    every_five = REBORN | {"every": 5, "stop": 10}
    one = Trained(every_five, NOTHING | {"every": 1000}).train(20)
    found = [
        (event["applied_at"]["updates"], event["updates"], event["not_measured"])
        for event in one.events
        if event["event"] == "drift"
    ]
    assert found == [
        (5, 1, None),
        (5, 3, None),
        (5, 10, "reborn was applied before that"),
        (10, 1, None),
        (10, 3, None),
        (10, 10, None),
    ]
    # Two at one update: only the last of them can be told from what was before.
    both = Trained(NOTHING, REBORN).train(22)
    found = [(event["position"], event["q_drift"]) for event in both.events if event["event"] == "drift"]
    assert found[:3] == [(0, None)] * 3
    assert [position for position, _ in found[3:]] == [1] * 3


def test_a_dry_run_has_no_shadow_and_ends_none() -> None:
    one = Trained(REBORN | {"stop": 12}, REBORN | {"every": 14, "dry_run": True}).train(23)
    assert [(e["position"], e["updates"], e["not_measured"]) for e in one.events if e["event"] == "drift"] == [
        (0, 1, None),
        (0, 3, None),
        (0, 10, None),
    ]


def test_a_checkpoint_carries_the_shadow() -> None:
    prune = {"kind": "prune", "every": 5, "stop": 5, "unit": "updates", "alpha": 0.5}
    settings = {"optimizer": {"kind": "adam"}}
    through = Trained(prune, REBORN, **settings).train(14)
    saved, scheduled = copy.deepcopy(through.learner.get_state()), through.scheduler.get_state()
    through.train(10)
    resumed = Trained(prune, REBORN, **settings)
    resumed.learner.set_state(saved)
    resumed.scheduler.set_state(scheduled)
    resumed.train(10)
    assert resumed.drifts() == {updates: event for updates, event in through.drifts().items() if updates > 1}
    assert same(resumed.state(), through.state())
    # A state without one forgets the one that is followed.
    early = copy.deepcopy(Trained(prune, REBORN, **settings).train(3).learner.get_state())
    assert "drift" not in early["value_factorization"]["callbacks"][0]
    resumed = Trained(prune, REBORN, **settings).train(14)
    resumed.learner.set_state(early)
    resumed.events.clear()
    resumed.train(3)
    assert not resumed.drifts()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "reborn", "drift_updates": 3}, "drift_updates is 3; expected a list"),
        ({"kind": "reborn", "drift_updates": [0]}, "drift_updates is 0; expected a whole number >= 1"),
        ({"kind": "l2_init", "drift_updates": [1]}, "l2_init is never applied"),
    ],
)
def test_wrong_settings(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_intervention(data)


def test_settings_are_sorted_and_stock_algorithms_refuse_them() -> None:
    assert make_intervention({"kind": "reborn", "drift_updates": [10, 1, 10]}).drift_updates == (1, 10)
    with pytest.raises(ValueError, match="a stock Learner measures drift right after"):
        stock_intervention({"kind": "reborn", "drift_updates": [1]})
