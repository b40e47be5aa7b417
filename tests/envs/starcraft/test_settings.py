"""How the game is started: values that are taken, and what is said of those that are not."""

from __future__ import annotations

import pytest

from rllib_reborn.envs import make_team_env, team_spec
from rllib_reborn.envs.starcraft.names import OPTIONS
from rllib_reborn.envs.starcraft.settings import GAME_SETTINGS, GameSettings, Timeouts


def test_defaults_and_data_of_a_yaml_file():
    settings = GameSettings(difficulty=7, game_version=75689, timeouts={"request_s": 5})
    assert (settings.difficulty, settings.game_version) == ("7", "75689")
    assert settings.timeouts == Timeouts(request_s=5)
    assert GameSettings().timeouts == Timeouts.of(None) == Timeouts()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"difficulty": "B"}, "difficulty is 'B'; expected one of 1, 2, "),
        ({"game_version": 4.1}, "game_version is the number 4.1; write it as a text, as in '4.10'"),
        ({"game_version": ""}, "game_version is ''"),
        ({"replay_dir": 3}, "replay_dir is 3"),
        ({"seed": -1}, r"seed is -1; expected a whole number in 0\.\.2\*\*32 - 1"),
        ({"save_replay_every": 0}, "save_replay_every is 0"),
        ({"save_replay_every": None}, "save_replay_every is None"),
        ({"restart_every": True}, "restart_every is True"),
        ({"max_rss_mb": 0}, "max_rss_mb is 0; expected megabytes > 0"),
        ({"launcher": "pysc"}, "launcher is 'pysc'; expected one of .*'own', 'pysc2'"),
        ({"backend": "smac"}, "backend is 'smac'"),
        ({"timeouts": {"reqest_s": 1}}, "unknown timeout 'reqest_s'. Did you mean 'request_s'"),
        ({"timeouts": {"quit_s": 0}}, "timeouts.quit_s is 0; expected seconds > 0"),
        ({"timeouts": 3}, "timeouts is 3; expected a mapping"),
        ({"launcher": "pysc2", "sc2_path": "/x"}, "finds it by the variable SC2PATH alone"),
    ],
)
def test_a_wrong_value_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        GameSettings(**given)
    # The same through the name of an environment, before any game is started.
    for call in (make_team_env, team_spec):
        with pytest.raises(ValueError, match=message):
            call("smac/3m", **given)


def test_no_name_means_two_things():
    assert len(set(OPTIONS)) == len(OPTIONS)
    assert set(GAME_SETTINGS) < set(OPTIONS)


def test_rules_and_settings_come_under_one_name():
    spec = team_spec("smac/3m", obs_last_action=True, restart_every=5, workers="inline")
    assert spec.obs_dim > team_spec("smac/3m").obs_dim
    with pytest.raises(
        ValueError, match="unknown option 'obs_last_acton' of 'smac/3m'; did you mean 'obs_last_action'"
    ):
        team_spec("smac/3m", obs_last_acton=True)
