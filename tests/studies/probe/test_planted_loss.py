"""Hand-made nets with planted loss are told from fresh ones, treated from untreated ones; healthy ones are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rllib_reborn import QMIXConfig
from rllib_reborn.plasticity.interventions import make_intervention, to_dict
from rllib_reborn.replay import EpisodeBlock
from rllib_reborn.replay.fields import FIELDS, Episode
from rllib_reborn.studies.invariance import play_episodes
from rllib_reborn.studies.probe import ProbeResult, ProbeSettings, ProbeStudy
from rllib_reborn.studies.probe.arms import ARMS, begin
from rllib_reborn.studies.probe.comparison import verdict
from rllib_reborn.studies.probe.offline_learner import NetState, OfflineLearner, offline_learner
from rllib_reborn.studies.trained_policy import TrainedPolicy
from tests.algorithms.helpers import quick

Plant = Callable[[torch.nn.Module], None]
ENV = "predator_prey/small"
OPTIONS = {"height": 5, "width": 5, "n_predators": 2, "n_stags": 2, "obs_radius": 2, "episode_limit": 12}
REPETITIONS = {"seeds": 5, "updates": 60, "episodes": 120}


@pytest.fixture(scope="module")
def learner() -> OfflineLearner:
    small = {"model": {"hidden_dim": 16}, "mixer": {"embed_dim": 8, "hypernet_dim": 16}, "lr": 5e-3}
    config = quick(QMIXConfig, ENV, **small, optimizer={"kind": "adam"}).environment(ENV, env_config=OPTIONS)
    return offline_learner(config, seed=77)


@pytest.fixture(scope="module")
def team(learner: OfflineLearner) -> TrainedPolicy:
    return TrainedPolicy(learner.module, ENV, OPTIONS)


@pytest.fixture(scope="module")
def episodes(team: TrainedPolicy) -> list[Episode]:
    columns = play_episodes(team, REPETITIONS["episodes"], seed=5, epsilon=1.0)
    return list(EpisodeBlock(columns["lengths"], {name: columns[name] for name in FIELDS}).episodes())


@pytest.fixture(scope="module")
def healthy(learner: OfflineLearner, team: TrainedPolicy, episodes: list[Episode]) -> ProbeResult:
    return found(learner, team, episodes, nothing, "as_is", "fresh")


def found(
    learner: OfflineLearner, team: TrainedPolicy, known: list[Episode], plant: Plant, *arms: str, **less: Any
) -> ProbeResult:
    """The study of a fresh net into which ``plant`` has put something."""
    learner.put(NetState(learner.fresh_weights(77), {}))
    with torch.no_grad():
        plant(learner.module)
    settings = ProbeSettings(arms=arms, **(REPETITIONS | less))
    return ProbeStudy(team, learner, known[: settings.episodes], settings).run()


def nothing(module: Any) -> None:
    """A healthy net."""


def dead(module: Any) -> None:
    """The encoder's ReLUs and those of the hypernetworks give 0 whatever they see."""
    module.agents.nets[0].encoder[0].bias.fill_(-1e3)
    for net in (module.mixer.hyper_w_1, module.mixer.hyper_w_final, module.mixer.V):
        net[0].bias.fill_(-1e3)


def saturated(module: Any) -> None:
    """The memory's update gates are stuck at 1, so that its state stays 0 and no gradient comes through; the hypernetworks'
    ReLUs are far above 0 for every state, where they bend nothing and one common number outweighs what differs."""
    memory, width = module.agents.nets[0].memory, module.agents.nets[0].memory.bias_hh_l0.shape[0] // 3
    memory.bias_hh_l0[width : 2 * width] += 100.0
    for net in (module.mixer.hyper_w_1, module.mixer.hyper_w_final, module.mixer.V):
        net[0].bias += 10.0


def rank_one(module: Any) -> None:
    """All neurons of a layer are equal, and so are their gradients: they stay one neuron."""
    layers = [module.agents.nets[0].encoder[0]]
    layers += [net[0] for net in (module.mixer.hyper_w_1, module.mixer.hyper_w_final, module.mixer.V)]
    for layer in layers:
        layer.weight[:] = layer.weight[:1].clone()
        layer.bias[:] = layer.bias[:1].clone()
    module.agents.nets[0].memory.weight_ih_l0[:] = module.agents.nets[0].memory.weight_ih_l0[:, :1].clone()
    for net in (module.mixer.hyper_w_1, module.mixer.hyper_w_final, module.mixer.V):
        net[2].weight[:] = net[2].weight[:, :1].clone()


@pytest.mark.slow
@pytest.mark.parametrize("plant", [dead, *(pytest.param(one, marks=pytest.mark.long) for one in (saturated, rank_one))])
def test_planted_loss_is_told_from_a_fresh_net(learner, team, episodes, healthy, plant: Plant) -> None:
    result = found(learner, team, episodes, plant, "as_is")
    sentence = verdict(result.areas() | {"fresh": healthy.areas()["fresh"]})
    assert sentence.startswith("Learns slower than a fresh net: difference of areas +"), sentence
    damaged, fresh = result.arms[0].before, healthy.arms[1].before
    assert damaged is not None
    assert fresh is not None
    if plant is rank_one:
        assert damaged.effective_rank["mixer/V"] < 1.01 < fresh.effective_rank["mixer/V"]
    if plant is dead:
        assert damaged.dormant == {"agent": 1.0, "mixer": 1.0}
        assert fresh.dormant["mixer"] < 0.5


@pytest.mark.slow
def test_a_healthy_net_is_not_called_damaged(healthy: ProbeResult) -> None:
    assert healthy.verdict.startswith("No difference to a fresh net shown"), healthy.verdict
    assert max(healthy.areas()["fresh"].values()) < 0.8  # there was something to learn


@pytest.mark.slow
def test_treated_is_told_from_untreated(learner, team, episodes) -> None:
    """ReDo re-initialises what is dead; with weights of its own again the net learns faster than without."""
    result = found(learner, team, episodes, dead, "as_is", "redo")
    treated = result.arms[1]
    assert list(treated.neurons) == list(range(5))
    assert min(treated.neurons.values()) > 20
    assert treated.minus_as_is is not None
    assert treated.minus_as_is.high < 0


@pytest.mark.long
def test_a_treatment_of_a_healthy_net_changes_next_to_nothing(learner, team, episodes) -> None:
    treated = found(learner, team, episodes, nothing, "as_is", "reborn", seeds=3, updates=20).arms[1]
    assert treated.minus_as_is is not None
    assert -0.01 < treated.minus_as_is.low < treated.minus_as_is.high < 0.01


@pytest.mark.slow
def test_twice_the_same_is_equal_to_the_bit(learner, team, episodes) -> None:
    twice = [found(learner, team, episodes, dead, *ARMS, seeds=1, updates=5, episodes=24) for _ in range(2)]
    assert twice[0] == twice[1]
    assert list(twice[0].areas()) == list(ARMS)


@pytest.mark.slow
def test_frozen_agents_do_not_move_and_learn_again_afterwards(learner, team, episodes, healthy) -> None:
    result = found(learner, team, episodes, nothing, "agents_frozen", "state_only", seeds=2, updates=30)
    assert result.shares == {}  # what the whole net learns is not known here
    areas = result.areas() | {"as_is": healthy.areas()["as_is"]}
    assert max(healthy.areas()["as_is"].values()) < min(areas["state_only"].values()) < 1
    learner.put(NetState(learner.fresh_weights(1), {}))
    assert all(parameter.requires_grad for parameter in learner.module.agents.parameters())


def test_what_an_arm_keeps_and_what_it_replaces(learner: OfflineLearner, episodes: list[Episode]) -> None:
    learner.put(NetState(learner.fresh_weights(77), {}))
    block = EpisodeBlock.of(episodes[:4])
    learner.use_given_targets(True)
    learner.learn(block)
    saved = learner.state()
    assert {name.split(".")[0] for name in saved.optimizer} == {"agents", "mixer"}
    weights, optimizer = {}, {}
    for name in ("as_is", "optimizer_reset", "mixer_reset", "agents_reset", "fresh"):
        begin(learner, ARMS[name], saved, block, 0)
        state = learner.state()
        weights[name] = {
            part: all(torch.equal(state.weights[n], saved.weights[n]) for n in state.weights if n.startswith(part))
            for part in ("agents.", "mixer.")
        }
        optimizer[name] = {part.split(".")[0] for part in state.optimizer}
        learner.learn(block)  # and nothing of it is left over for the next one
    assert weights == {
        "as_is": {"agents.": True, "mixer.": True},
        "optimizer_reset": {"agents.": True, "mixer.": True},
        "mixer_reset": {"agents.": True, "mixer.": False},
        "agents_reset": {"agents.": False, "mixer.": True},
        "fresh": {"agents.": False, "mixer.": False},
    }
    assert optimizer == {
        "as_is": {"agents", "mixer"},
        "optimizer_reset": set(),
        "mixer_reset": {"agents"},
        "agents_reset": {"mixer"},
        "fresh": set(),
    }


def test_the_thresholds_are_those_of_the_shipped_configs() -> None:
    shipped = Path(__file__).parents[3] / "configs" / "intervention"
    for name in ("reborn", "reborn_official_code", "redo", "shrink_perturb", "fire"):
        (data,) = yaml.safe_load((shipped / f"{name}.yaml").read_text(encoding="utf-8"))["interventions"]
        settings = ARMS[name].intervention
        assert settings is not None
        ours, theirs = (to_dict(make_intervention(dict(one))) for one in (settings, data))
        # The arms are scored on the episodes that they learn from, whatever the source.
        # Nor is the drift of their one application followed.
        of_runs = {"scoring_source": None, "drift_updates": None}
        assert ours | of_runs == theirs | of_runs
