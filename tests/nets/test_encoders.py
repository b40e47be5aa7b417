"""Encoders of observations: values worked out by hand, sizes, refusals, and what agents make of them."""

import functools

import numpy as np
import pytest
import torch

from rllib_reborn.nets.agents import AgentInputs, AgentNet, AgentTeam
from rllib_reborn.nets.encoded_agents import EncodedAgentTeam, EncodedInputs, encoded
from rllib_reborn.nets.encoders import (
    CNN,
    PerField,
    check_encoder,
    check_encoder_settings,
    encoder_class,
    make_encoder,
)
from rllib_reborn.nets.encoders.convolutions import grid_sizes
from rllib_reborn.nets.quantile_agent import QuantileAgentNet
from rllib_reborn.nets.risk_agent import RiskAgentNet
from rllib_reborn.obs_parts import ObsLayout, ObsPart, obs_parts
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions.whole_layers import chains
from rllib_reborn.plasticity.statistics import measure

PICTURE = ObsPart(name="obs", kind="picture", shape=(3, 2, 2))  # 3 rows, 2 columns, 2 channels
LAYOUT = ObsLayout(dim=12, scale=0.5, parts=(PICTURE,))
ONE = {"channels": [1], "kernels": [2], "strides": [1], "channels_first": False}
OWN = "tests.fakes.own_encoders"


def parts(*given):
    made = tuple(ObsPart(name=name, kind=kind, shape=shape) for name, kind, shape in given)
    return ObsLayout(dim=sum(part.size for part in made), parts=made)


# ---------------------------------------------------------------------------------------------------------- what is read


def test_a_convolution_by_hand():
    """Kernel 2 x 2 over 3 x 2 points: two results, one above the other."""
    net = CNN(LAYOUT, width=1, **ONE)
    conv, out = net.net.convs[0], net.net.out
    with torch.no_grad():
        conv.weight[:] = torch.tensor([[[[1.0, 2], [3, 4]], [[0, 0], [0, -1]]]])  # channel 0, channel 1
        conv.bias[:] = 0.5
        out.weight[:] = torch.tensor([[10.0, 100.0]])
        out.bias[:] = 7.0
    # (row, column, channel): channel 0 is 1 2 / 3 4 / 5 6, channel 1 is 0 0 / 0 8 / 0 200.
    obs = torch.tensor([[1, 0, 2, 0, 3, 0, 4, 8, 5, 0, 6, 200]], dtype=torch.uint8)
    upper = (1 * 1 + 2 * 2 + 3 * 3 + 4 * 4 - 8) * 0.5 + 0.5
    lower = (1 * 3 + 2 * 4 + 3 * 5 + 4 * 6 - 200) * 0.5 + 0.5
    assert (upper, lower) == (11.5, -74.5)
    assert net(obs).item() == pytest.approx(10 * upper + 100 * 0 + 7)
    first = CNN(
        ObsLayout(dim=12, scale=0.5, parts=(ObsPart(name="obs", kind="picture", shape=(2, 3, 2)),)),
        width=1,
        **(ONE | {"channels_first": True}),
    )
    first.load_state_dict(net.state_dict())
    of_channels = obs.view(1, 3, 2, 2).permute(0, 3, 1, 2).reshape(1, 12)
    assert first(of_channels).item() == pytest.approx(net(obs).item())


def test_per_field_reads_each_part_by_its_own_net():
    layout = parts(("eye", "picture", (2, 2, 1)), ("speed", "vector", (2,)), ("cue", "one_hot", (3,)))
    torch.manual_seed(0)
    net = PerField(layout, width=4, **(ONE | {"channels": [8]}))
    obs = torch.randn(5, 9)
    found = net(obs)
    assert found.shape == (5, 12)
    assert net.width == 12
    for number, columns in enumerate((slice(0, 4), slice(4, 6), slice(6, 9))):
        other = obs.clone()
        other[:, columns] += 1
        changed = (net(other) != found).any(0).view(3, 4).any(1).tolist()
        assert changed == [at == number for at in range(3)]
    hidden = torch.relu(obs[:, 4:6] @ net.fields[1].net[0].weight.t() + net.fields[1].net[0].bias)
    by_hand = hidden @ net.fields[1].net[2].weight.t() + net.fields[1].net[2].bias
    assert torch.allclose(found[:, 4:8], by_hand, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "kernels", "strides", "expected"),
    [
        ((3, 8, 8), [3, 3], [1, 2], [(3, 8, 8), (4, 6, 6), (5, 2, 2)]),
        ((1, 84, 84), [8, 4], [4, 2], [(1, 84, 84), (4, 20, 20), (5, 9, 9)]),
        ((2, 5, 9), [5, 1], [2, 3], [(2, 5, 9), (4, 1, 3), (5, 1, 1)]),
    ],
)
def test_what_is_left_of_a_picture(shape, kernels, strides, expected):
    assert grid_sizes(shape, [4, 5], kernels, strides, "eye") == expected
    net = CNN(
        parts(("eye", "picture", shape)),
        width=6,
        channels=[4, 5],
        kernels=kernels,
        strides=strides,
        channels_first=True,
    )
    assert net(torch.zeros(2, int(np.prod(shape)))).shape == (2, 6)
    numbers, arrays = CNN.numbers_of(
        parts(("eye", "picture", shape)),
        width=6,
        channels=[4, 5],
        kernels=kernels,
        strides=strides,
        channels_first=True,
    )
    assert (numbers, arrays) == (sum(p.numel() for p in net.parameters()), len(list(net.parameters())))


def test_numbers_of_a_per_field_encoder_are_those_that_it_has():
    layout = parts(("eye", "picture", (4, 4, 1)), ("speed", "vector", (2, 3)), ("cue", "one_hot", (3,)))
    net = PerField(layout, width=4, **ONE)
    found = PerField.numbers_of(layout, width=4, **ONE)
    assert found == (sum(p.numel() for p in net.parameters()), len(list(net.parameters())))
    assert PerField.width_of(layout, {"width": 4}) == net.width


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kernels": [4]}, r"kernels is \[4\].*picture 'obs' has 3 x 2 points.*at most 2.*channels_first"),
        ({"kernels": [0]}, r"kernels is \[0\]; expected whole numbers in 1..99"),
        ({"channels": []}, r"channels is \[\]; expected a list of 1 to 8"),
        ({"channels": [1] * 9}, "1 to 8"),
        ({"channels": [True]}, r"\[True\]; expected whole numbers"),
        ({"strides": [1, 1]}, "expected lists of one length"),
        ({"width": 0}, r"width is 0; expected a whole number in 1..4,096"),
        ({"channels_first": 1}, "channels_first is 1; expected true or false"),
    ],
)
def test_a_cnn_that_does_not_fit_is_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        CNN(LAYOUT, **({"width": 2} | ONE | settings))
    with pytest.raises(ValueError, match=says):
        PerField.numbers_of(LAYOUT, **({"width": 2} | ONE | settings))


@pytest.mark.parametrize(
    ("name", "layout", "says"),
    [
        ("cnn", ObsLayout(dim=7), "does not say what the 7 numbers.*TeamSpec.obs_parts"),
        (
            "cnn",
            parts(("speed", "vector", (2,))),
            "observations are speed .vector of 2.; expected one picture.*per_field",
        ),
        ("cnn", parts(("eye", "picture", (4, 4, 1)), ("cue", "one_hot", (3,))), "per_field for several parts"),
        ("per_field", ObsLayout(dim=7), "does not say of which parts the 7 numbers"),
    ],
)
def test_observations_that_an_encoder_cannot_read_are_refused(name, layout, says):
    with pytest.raises(ValueError, match=says):
        make_encoder(name, {"width": 2} | ONE, layout)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cnm", r"'cnm'; expected one of cnn, per_field, or module:Class of your own. Did you mean 'cnn'"),
        ("no_such_package:C", "there is no module 'no_such_package'.*PYTHONPATH"),
        (f"{OWN}:Doubbled", "has no 'Doubbled'. Did you mean 'Doubled'"),
        (f"{OWN}:NoModule", "expected a subclass of torch.nn.Module"),
        ("__main__:Mine", "other processes cannot find; put the class into a module"),
        (":C", "expected one of"),
    ],
)
def test_names_of_no_encoder_are_refused(name, says):
    with pytest.raises(ValueError, match=says):
        encoder_class(name)


@pytest.mark.parametrize(
    ("cls", "settings", "says"),
    [
        ("Doubled", {"widht": 3}, "has 'widht', which .*Doubled does not take. Did you mean 'width'"),
        ("Doubled", {"layout": 3}, "does not take"),
        ("Declared", {}, "lacks 'width', which .*Declared has no default for"),
        ("NoWidth", {"width": 3}, "which .*NoWidth does not take. It takes none"),
    ],
)
def test_settings_that_an_own_encoder_does_not_take_are_refused(cls, settings, says):
    with pytest.raises(ValueError, match=says):
        check_encoder_settings(f"{OWN}:{cls}", settings)


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        ("NoWidth", "has the width 0; expected the number of features"),
        ("Breaks", "cannot be made: RuntimeError: no such file"),
        ("WrongWidth", r"makes \[2, 5\] torch.float32 of two observations; expected \[2, 4\]"),
        ("NotFinite", "not finite"),
        ("Fails", "fails on two observations of 12 zeros .torch.uint8.: KeyError"),
    ],
)
def test_an_own_encoder_that_is_not_as_it_says_is_refused(cls, says):
    name = f"{OWN}:{cls}"
    with pytest.raises(ValueError, match=says):
        check_encoder(name, make_encoder(name, {}, LAYOUT), LAYOUT, torch.uint8)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([{"name": "", "kind": "vector", "shape": (1,)}], "ObsPart.name is ''"),
        ([{"name": "a", "kind": "sound", "shape": (1,)}], "'sound'; expected one of picture, vector, one_hot"),
        ([{"name": "a", "kind": "vector", "shape": (0,)}], "expected whole numbers >= 1"),
        ([{"name": "a", "kind": "picture", "shape": (2, 2)}], "height, width, channels"),
        ([{"name": "a", "kind": "vector", "shape": (2,)}], "a .vector of 2. are 2 numbers; expected obs_dim = 4"),
        ([{"name": "a", "kind": "vector", "shape": (2,)}] * 2, "expected different names"),
    ],
)
def test_parts_that_cannot_be_are_refused(given, says):
    with pytest.raises(ValueError, match=says):
        obs_parts(given, 4)


# ------------------------------------------------------------------------------------------------------- agents with one


def inputs_of(make, **changes):
    settings = {"n_agents": 2, "n_actions": 3, "obs_dim": 12, "last_action": True, "agent_id": True, "obs_scale": 0.5}
    return make(**(settings | changes))


OBS = torch.arange(48, dtype=torch.uint8).view(2, 2, 12)
LAST = torch.tensor([[-1, 2], [0, 1]])


def team_of(net_of_agent=(0, 0), kind=AgentNet, recurrent=True, encoder=lambda: CNN(LAYOUT, width=5, **ONE)):
    torch.manual_seed(3)
    make = encoded(lambda *a, **k: kind(*a, **k), encoder, 12)
    return EncodedAgentTeam(
        net_of_agent, inputs_of(EncodedInputs).width, 3, hidden_dim=6, recurrent=recurrent, make_net=make
    )


def test_inputs_stay_bytes_up_to_the_encoder():
    x = inputs_of(EncodedInputs)(OBS, LAST)
    assert x.dtype == torch.uint8
    assert x.shape == (2, 2, 17)
    assert torch.equal(x[..., :12], OBS)
    plain = inputs_of(AgentInputs)(OBS, LAST)
    assert torch.equal(x[..., 12:].float(), plain[..., 12:])
    louder = inputs_of(EncodedInputs).scaled(x, torch.tensor([2.0, 3.0]))
    assert torch.equal(louder[1, :, :12], OBS[1].float() * 3)
    assert torch.equal(louder[..., 12:], plain[..., 12:])


def test_the_encoder_reads_observations_and_nothing_else():
    read = []

    class Reads(CNN):
        def forward(self, obs):
            read.append(obs)
            return super().forward(obs)

    team = team_of(encoder=lambda: Reads(LAYOUT, width=5, **ONE))
    team.step(inputs_of(EncodedInputs)(OBS, LAST), torch.zeros(2, 2, team.state_dim))
    assert [(one.dtype, tuple(one.shape)) for one in read] == [(torch.uint8, (4, 12))]
    assert torch.equal(read[0], OBS.view(4, 12))


@pytest.mark.parametrize("net_of_agent", [(0, 0), (0, 1), (1, 0)])
@pytest.mark.parametrize("kind", [AgentNet, QuantileAgentNet, RiskAgentNet])
@pytest.mark.parametrize("recurrent", [True, False])
def test_what_a_team_with_encoders_computes(net_of_agent, kind, recurrent):
    """As a team without, on inputs that each agent's encoder has read beforehand; unrolled as step by step."""
    if kind is RiskAgentNet and not recurrent:
        kind = functools.partial(RiskAgentNet, risk=0.5)  # a dynamic level needs memory
    team = team_of(net_of_agent, kind, recurrent)
    x = inputs_of(EncodedInputs)(OBS, LAST)
    hidden = torch.zeros(2, 2, team.state_dim)
    got, after = team.step(x, hidden)
    assert got.shape == (2, 2, 3)
    for agent, number in enumerate(net_of_agent):
        net = team.nets[number]
        features = torch.cat([net.obs_encoder[0](OBS[:, agent]), x[:, agent, 12:].float()], dim=1)
        expected, state = net.step(features, hidden[:, agent])
        assert torch.allclose(got[:, agent], expected, atol=1e-6)
        assert torch.allclose(after[:, agent], state, atol=1e-6)
    second, _ = team.step(x, after)
    unrolled = team.unroll(torch.cat([x, x]), [2, 2])
    assert torch.allclose(unrolled[:2], got, atol=1e-5)
    assert torch.allclose(unrolled[2:], second, atol=1e-5)
    features = team.unroll_features(torch.cat([x, x]), [2, 2])
    assert torch.allclose(team.each(lambda net, rows, _: net.values(rows), features, [4]), unrolled, atol=1e-5)


def test_the_risk_predictor_does_not_train_the_encoder():
    team = team_of(kind=RiskAgentNet)
    net = team.nets[0]
    x = inputs_of(EncodedInputs)(OBS, LAST)
    team.unroll_features(torch.cat([x, x]), [2, 2])[..., 6:].sum().backward()  # the predictor's columns
    assert net.predictor.encoder[0].weight.grad.any()
    assert not any(parameter.grad.any() for parameter in net.obs_encoder.parameters())


def test_every_parameter_learns():
    team = team_of((0, 1))
    team.unroll(inputs_of(EncodedInputs)(OBS, LAST), [2]).square().sum().backward()
    assert all(parameter.grad is not None for parameter in team.parameters())


def test_without_the_encoder_a_network_is_as_ever():
    torch.manual_seed(0)
    plain = AgentTeam((0, 0), 17, 3, hidden_dim=6)
    assert [name for name, _ in plain.nets[0].named_children()] == ["encoder", "memory", "head"]
    assert [name for name, _ in team_of().nets[0].named_children()] == ["obs_encoder", "encoder", "memory", "head"]


# --------------------------------------------------------------------------------------------------------------- neurons


def test_channels_are_neurons():
    team = team_of((0, 1))
    names = [layer.name for layer in declared_layers("agent", team, "full")]
    assert names == [
        *("nets.0.obs_encoder.0.net.convs.0", "nets.0.encoder.0", "nets.0.memory"),
        *("nets.1.obs_encoder.0.net.convs.0", "nets.1.encoder.0", "nets.1.memory"),
    ]
    [channels] = [layer for layer in declared_layers("agent", team_of(), "editable") if "convs" in layer.name]
    assert channels.width == 1
    assert channels.output_weight.shape == (5, 2)
    hooked = []
    team = team_of()
    layers = {layer.name: layer for layer in declared_layers("agent", team, "full")}
    handle = layers["obs_encoder.0.net.convs.0"].hook.attach(hooked.append)
    team.unroll(inputs_of(EncodedInputs)(OBS, LAST), [2])
    handle.remove()
    assert hooked[0].shape == (4, 2, 1, 1)  # rows, height, width, neurons
    assert [layer.name for layer in declared_layers("agent", team, "official_code")] == ["encoder.0"]


def test_own_neurons_are_measured_where_they_are_declared():
    declared = make_encoder(f"{OWN}:Declared", {"width": 3}, LAYOUT)
    names = [layer.name for layer in team_of(encoder=lambda: declared).hidden_layers()]
    assert names == ["obs_encoder.0.first", "encoder.0", "memory"]
    other = make_encoder(f"{OWN}:Doubled", {}, LAYOUT)
    assert [layer.name for layer in team_of(encoder=lambda: other).hidden_layers()] == ["encoder.0", "memory"]


def test_the_last_layer_is_still_the_head():
    [chain] = chains(team_of())
    assert chain == [f"nets.0.{name}" for name in ("obs_encoder.0.net.convs.0", "obs_encoder.0.net.out")] + [
        f"nets.0.{name}" for name in ("encoder.0", "memory", "head")
    ]


def test_a_row_mask_leaves_whole_pictures_out():
    """Two agents' rows at two times, of which the second and the third count; a channel has two places in each."""
    team = team_of()
    layer = next(one for one in declared_layers("agent", team, "full") if "convs" in one.name)
    x = inputs_of(EncodedInputs)(OBS, LAST)
    places = []
    handle = layer.hook.attach(places.append)
    counted = torch.tensor([False, True, True, False])
    found = measure([layer], lambda: team.unroll(x, [2]), row_masks={layer.key: counted})
    handle.remove()
    expected = places[0].detach()[1:3].abs().mean()
    assert found[layer.key].mean_abs.item() == pytest.approx(expected.item())
