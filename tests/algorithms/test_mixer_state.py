"""What mixers read of the state: in every algorithm, in losses, gradients, plasticity, studies and settings."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.algorithms.value_factorization.learner import ValueFactorizationLearner
from rllib_reborn.envs.state_views import StateView
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.nets.mixers import FeedForwardMixer, Mixer, QMixer
from rllib_reborn.nets.mixers.state_encoder import put_state_encoder
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions import ReBorn
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.plasticity.statistics import measure
from rllib_reborn.runtime.spaces import team_spaces
from tests.algorithms.helpers import quick
from tests.algorithms.test_learner import loss_and_gradients, make_sample, module_of
from tests.fakes.envs import MaskedWalk
from tests.padded import padded_episodes

BOARD = {"height": 5, "width": 6, "n_predators": 2, "n_stags": 2, "obs_radius": 1, "episode_limit": 8}
STATES = {"full": 90, "none": 90, "pooled": 32, "compact": 14, "counts": 2}
READING = sorted(ALGORITHMS.keys() - {"IQL", "VDN"})


def config_of(algorithm: str, **mixer: Any) -> Any:
    # 'stag_hunt' lets predators leave.
    config = quick(ALGORITHMS[algorithm], "predator_prey/stag_hunt", mixer=mixer)
    return config.environment(env_config=BOARD)


def learner_of(config: Any, seed: int = 7) -> ValueFactorizationLearner:
    config.validate()
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(seed)
    learner = config.get_default_learner_class()(config=config, module_spec=spec)
    learner.build()
    return learner


def state_readers(module: Any) -> list[Mixer]:
    return [part for part in module.mixer.modules() if isinstance(part, Mixer)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns_from_every_state(algorithm: str, state: str) -> None:
    if algorithm not in READING:
        with pytest.raises(ValueError, match=f"mixer: state is '{state}', but this algorithm sums the agents' values"):
            config_of(algorithm, state=state).validate()
        return
    learner = learner_of(config_of(algorithm, state=state))
    module, batch = module_of(learner), padded_episodes(make_sample(learner.config))
    read: list[torch.Tensor] = []
    for part in state_readers(module):
        part.register_forward_pre_hook(lambda _, arguments: read.append(arguments[1]))
    loss, gradients = loss_and_gradients(learner, batch)
    assert bool(torch.isfinite(loss))
    assert read
    assert {tensor.shape[1] for tensor in read} == {STATES[state]}
    assert all(bool(tensor.any()) is (state != "none") for tensor in read)
    # Every first layer of a mixer learns from what it reads, and from nothing where that is constant zeros.
    first = [name for name, p in module.mixer.named_parameters() if p.dim() == 2 and p.shape[1] == STATES[state]]
    assert first
    assert any(bool(gradients[f"mixer.{name}"].any()) for name in first) is (state != "none")
    assert any(bool(gradient.any()) for name, gradient in gradients.items() if name.startswith("agents."))


@pytest.mark.parametrize("algorithm", READING)
def test_full_is_what_was_before_to_the_bit(algorithm: str) -> None:
    def outcome(**mixer: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        learner = learner_of(config_of(algorithm, **mixer))
        loss, gradients = loss_and_gradients(learner, padded_episodes(make_sample(learner.config)))
        return loss, gradients, module_of(learner).state_dict()

    (loss, gradients, weights), (loss_full, gradients_full, weights_full) = outcome(), outcome(state="full")
    assert torch.equal(loss, loss_full)
    for one, other in ((gradients, gradients_full), (weights, weights_full)):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("algorithm", READING)
def test_none_begins_as_full_and_has_its_value_at_a_state_of_zeros(algorithm: str) -> None:
    full, none = (learner_of(config_of(algorithm, state=state)) for state in ("full", "none"))
    assert all(
        torch.equal(p, q) for p, q in zip(module_of(full).parameters(), module_of(none).parameters(), strict=True)
    )
    batch = padded_episodes(make_sample(full.config))
    loss, _ = loss_and_gradients(none, batch)
    assert not torch.equal(loss, loss_and_gradients(full, batch)[0])
    assert torch.equal(loss, loss_and_gradients(full, batch | {"state": torch.zeros_like(batch["state"])})[0])


@pytest.mark.parametrize("algorithm", READING)
def test_an_encoder_is_read_by_all_networks_and_is_a_layer_to_treat(algorithm: str) -> None:
    learner = learner_of(config_of(algorithm, state="pooled", state_encoder_dim=7))
    module, batch = module_of(learner), padded_episodes(make_sample(learner.config))
    _, gradients = loss_and_gradients(learner, batch)
    parts = [name for name, part in module.mixer.named_modules() if isinstance(part, Mixer)]
    assert len(parts) == {"WQMIX": 2, "ResQ": 3}.get(algorithm, 1)
    for part in parts:
        encoder = f"mixer.{part}.state_encoder" if part else "mixer.state_encoder"
        assert gradients[f"{encoder}.0.weight"].shape == (7, 32)
        assert bool(gradients[f"{encoder}.0.weight"].any())
        assert gradients[f"{encoder}.2.weight"].shape == (7, 7)
    layers = {f"mixer/{part}.state_encoder.0" if part else "mixer/state_encoder.0" for part in parts}
    assert layers <= {layer.key for layer in module.neuron_layers("editable")}
    assert layers <= {layer.key for layer in module.neuron_layers("full", target=True)}
    assert not layers & {layer.key for layer in module.neuron_layers("official_code")}


def test_the_target_networks_have_an_encoder_of_their_own() -> None:
    module = module_of(learner_of(config_of("WQMIX", state_encoder_dim=4)))
    q, state = torch.randn(6, 2), torch.rand(6, 90)
    before = module.target_mixer(q, state)
    with torch.no_grad():
        for part in state_readers(module):
            part.state_encoder[0].weight.add_(1.0)
    assert torch.equal(before, module.target_mixer(q, state))
    assert not torch.equal(before, module.mixer(q, state))


def test_an_encoder_in_front_by_hand() -> None:
    torch.manual_seed(0)
    mixer = QMixer(2, 3, embed_dim=4)
    plain = copy.deepcopy(mixer)
    put_state_encoder(mixer, 5, 3)
    q, state = torch.randn(6, 2), torch.randn(6, 5)
    first, second = mixer.state_encoder[0], mixer.state_encoder[2]
    read = torch.relu(state @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(mixer(q, state), plain(q, read))


def test_reborn_keeps_the_function_when_it_treats_an_encoder() -> None:
    torch.manual_seed(1)
    mixer = FeedForwardMixer(2, 6, embed_dim=8)
    put_state_encoder(mixer, 10, 6)
    q, state = torch.randn(200, 2), torch.randn(200, 10)
    with torch.no_grad():
        mixer.state_encoder[0].weight[:2], mixer.state_encoder[0].bias[:2] = 0.0, -1.0  # dead
        mixer.state_encoder[0].weight[3] *= 30.0
        before = mixer(q, state)
    layers = [layer for layer in declared_layers("mixer", mixer, "editable") if "state_encoder" in layer.name]

    def look(of: Any) -> Any:
        return measure(of, lambda: mixer(q, state))

    model = ModelView(layers=layers, nets={"mixer": mixer}, measure=look)
    report = apply_intervention(ReBorn(layers="editable"), model, generator=torch.Generator().manual_seed(0))
    assert report.neurons == 3
    with torch.no_grad():
        torch.testing.assert_close(mixer(q, state), before, rtol=1e-4, atol=1e-4)
    assert bool(mixer.state_encoder[0].weight[:2].any())


class OwnStates(MaskedWalk):
    """States declared by a user: picked, computed, and three that are wrong."""

    def __init__(self, num_envs: int = 1) -> None:
        super().__init__(num_envs)
        function = f"{__name__}:doubled_sum"
        views = (
            StateView.of_columns("picked", [2]),
            StateView(name="computed", size=1, function=function, arguments=(2.0,)),
            StateView(name="too_small", size=2, function=function, arguments=(2.0,)),
            StateView(name="failing", size=1, function=function, arguments=("two",)),
            StateView(name="missing", size=1, function=f"{__name__}:nothing"),
        )
        self.spec = TeamSpec(**self.spec.to_dict() | {"state_scale": 0.5, "state_views": views})


def doubled_sum(state: torch.Tensor, factor: float) -> torch.Tensor:
    return state.sum(1, keepdim=True) * factor


def test_an_environment_of_ones_own_declares_its_states() -> None:
    name = f"{__name__}:OwnStates"
    for state in ("picked", "computed"):
        learner = learner_of(quick(env=name, mixer={"state": state}))
        sample = make_sample(learner.config)
        module = module_of(learner)
        columns = {key: torch.as_tensor(array) for key, array in sample.batch.items()}
        read, whole = module.packed_episodes(columns).state, columns["state"] * 0.5
        expected = whole[:, 2:] if state == "picked" else 2 * whole.sum(1, keepdim=True)
        order = module.packed_episodes(columns).layout.obs_rows
        torch.testing.assert_close(read, expected[order])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            "pooled",
            "mixer.state is 'pooled', which this environment does not define; it has full, none, picked, computed,",
        ),
        ("too_small", r"'too_small', whose function makes \[2, 1\] torch.float32 of 2 states; expected \[2, 2\]"),
        ("failing", "'failing', whose function fails on a state of zeros: TypeError"),
        ("missing", "has no function 'nothing'"),
    ],
)
def test_states_that_are_not_there_or_wrong_are_refused_before_anything_is_built(state: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quick(env=f"{__name__}:OwnStates", mixer={"state": state}).validate()


@pytest.mark.parametrize("env", ["matrix/two_step", "predator_prey/small"])
def test_an_environment_says_what_it_has(env: str) -> None:
    has = "full, none, pooled, compact, counts" if env == "predator_prey/small" else "full, none"
    with pytest.raises(
        ValueError, match=f"mixer.state is 'mine', which this environment does not define; it has {has}\\."
    ):
        quick(env=env, mixer={"state": "mine"}).validate()


@pytest.mark.parametrize("width", [0, 5000, 1.5])
def test_widths_of_an_encoder(width: Any) -> None:
    with pytest.raises(ValueError, match=r"mixer\.state_encoder_dim is"):
        config_of("QMIX", state_encoder_dim=width).validate()
