"""Names and options of level-based foraging."""

from __future__ import annotations

import dataclasses

import pytest

from rllib_reborn.envs.factories import UnknownEnvError
from rllib_reborn.envs.lbf.names import LISTED, PREFIX, rules_of
from rllib_reborn.envs.lbf.rules import ForagingRules
from rllib_reborn.envs.registry import ENVS, env_names, is_stepped_as_arrays, make_team_env, team_spec
from tests.envs.lbf.package import OURS_ALONE, needs_package


def test_every_id_that_the_package_registers_has_its_settings(monkeypatch):
    needs_package()
    import gymnasium
    import lbforaging

    ids = {name: spec.kwargs for name, spec in gymnasium.registry.items() if name.startswith("Foraging-")}
    assert len(ids) == 1_920
    # Those with pictures are registered on demand; gymnasium takes a minute for it.
    monkeypatch.setattr(lbforaging, "register", lambda **given: ids.update({given["id"]: given["kwargs"]}))
    lbforaging.register_grid_envs()
    assert len(ids) == 1_920 + 11_520
    for name, settings in ids.items():
        rules = rules_of(name.removeprefix("Foraging-").removesuffix("-v3"))
        assert rules is not None, name
        assert {key: getattr(rules, key) for key in settings} == settings, name


def test_all_options_of_the_package_have_its_defaults():
    needs_package()
    import inspect

    from lbforaging.foraging import ForagingEnv

    theirs = inspect.signature(ForagingEnv).parameters
    ours = {field.name: field.default for field in dataclasses.fields(ForagingRules)}
    assert set(theirs) - {"render_mode"} == set(ours) - set(OURS_ALONE)
    for name, parameter in theirs.items():
        if parameter.default is not inspect.Parameter.empty and name != "render_mode":
            assert ours[name] == parameter.default, name


@pytest.mark.parametrize(
    "name",
    [
        "8x8-2p-3f-v3",
        "8x9-2p-3f",
        "4x4-2p-1f",
        "20x20-2p-1f",
        "8x8-1p-3f",
        "8x8-2p-0f",
        "3s-8x8-2p-3f",
        "grid-8s-8x8-2p-3f",
        "",
    ],
)
def test_what_is_not_registered_is_refused(name):
    assert rules_of(name) is None
    assert PREFIX + name not in ENVS


def test_a_misspelt_name_gets_the_nearest_ones():
    with pytest.raises(UnknownEnvError, match="did you mean 'lbf/8x8-2p-3f'"):
        make_team_env("lbf/8x8-2p-3f-v3")
    with pytest.raises(UnknownEnvError, match="'lbf/2s-8x8-2p-2f-coop'"):
        make_team_env("lbf/2s-8x8-2p-2f-coop-v2")


def test_a_few_are_listed_and_all_are_known():
    assert [name for name in env_names() if name.startswith(PREFIX)] == [PREFIX + name for name in LISTED]
    assert "lbf/grid-3s-11x11-4p-7f-coop" in ENVS
    assert is_stepped_as_arrays("lbf/2s-9x9-3p-2f")


def test_options_reach_the_rules():
    spec = team_spec("lbf/8x8-2p-3f", players=4, max_num_food=2, observe_agent_levels=False, max_episode_steps=20)
    assert (spec.n_agents, spec.obs_dim, spec.state_dim, spec.episode_limit) == (4, 14, 56, 20)
    assert team_spec("lbf/8x8-2p-3f", grid_observation=True, sight=2).obs_dim == 75
    assert make_team_env("lbf/8x8-2p-3f", field_size=[5, 6]).rules.field_size == (5, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"players": 0}, "players is 0; give a whole number in 1..127"),
        ({"players": True}, "players is True"),
        ({"max_num_food": 1.0}, "max_num_food is 1.0"),
        ({"sight": 128}, "sight is 128"),
        ({"field_size": 8}, "field_size is 8; give two whole numbers in 3..127"),
        ({"field_size": [2, 8]}, "field_size is"),
        ({"field_size": [3, 3], "players": 9}, "9 players and a food do not fit on 3 x 3 = 9 cells"),
        ({"field_size": [3, 3], "players": 5, "compat": True}, "compat keeps 5 players"),
        ({"min_player_level": 3}, "min_player_level is 3 where max_player_level is 2"),
        ({"max_player_level": [1, 2, 3]}, "max_player_level has 3 entries; give 2, or one number for all"),
        ({"max_player_level": [1, 0]}, "max_player_level is 0"),
        ({"max_player_level": 100}, "max_player_level lets foods have level 200"),
        ({"min_food_level": 3}, "min_food_level is 3, and with no max_food_level the highest level may be 2"),
        ({"min_food_level": 3, "max_food_level": 2}, "min_food_level is 3 where max_food_level is 2"),
        ({"max_episode_steps": 0}, "max_episode_steps is 0"),
        ({"force_coop": 1}, "force_coop is 1; give True or False"),
        ({"penalty": -0.1}, "penalty is -0.1; give a number >= 0"),
        ({"reward": "max"}, "reward is 'max'; give one of sum, mean"),
        ({"state": "none"}, "state is 'none'; give one of observations, board"),
        ({"render_mode": "human"}, "every game can be drawn"),
        ({"colour": 1}, "colour"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        team_spec("lbf/8x8-2p-3f", **options)


def test_an_option_without_effect_is_refused():
    """Where every food has its highest level, the lowest says nothing."""
    with pytest.raises(ValueError, match="min_food_level is 2, which has no effect with force_coop"):
        make_team_env("lbf/8x8-2p-3f-coop", min_food_level=2)
