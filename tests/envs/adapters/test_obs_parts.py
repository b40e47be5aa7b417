"""What adapters say of the numbers of an observation, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from rllib_reborn.envs import ObsPart, TeamSpec, make_team_env, team_spec
from rllib_reborn.envs.adapters.spaces import flat_space, team_layout

EYE = spaces.Box(0, 255, (4, 3, 2), np.uint8)
TWO, FIVE = spaces.Discrete(2), spaces.Discrete(5)


def shown(space):
    return [str(part) for part in flat_space(space, "observation space").parts]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (EYE, ["obs (picture of 4 x 3 x 2)"]),
        (spaces.Box(0.0, 1.0, (4, 3, 2), np.float32), ["obs (picture of 4 x 3 x 2)"]),
        (spaces.Box(0, 255, (4, 3), np.uint8), ["obs (picture of 4 x 3 x 1)"]),
        (spaces.Box(0.0, 1.0, (4, 3), np.float32), ["obs (vector of 4 x 3)"]),  # rows of something
        (spaces.Box(0, 255, (4,), np.uint8), ["obs (vector of 4)"]),
        (spaces.Box(0.0, 1.0, (), np.float32), ["obs (vector of 1)"]),
        (spaces.MultiBinary(3), ["obs (vector of 3)"]),
        (FIVE, ["obs (one-hot of 5)"]),
        (spaces.MultiDiscrete([2, 3]), ["obs (one-hot of 5)"]),
        (
            spaces.Dict({"b": spaces.Dict({"eye": EYE, "cue": TWO}), "a": FIVE, "action_mask": spaces.MultiBinary(5)}),
            ["a (one-hot of 5)", "b/cue (one-hot of 2)", "b/eye (picture of 4 x 3 x 2)"],
        ),
        (spaces.Tuple((TWO, EYE)), ["0 (one-hot of 2)", "1 (picture of 4 x 3 x 2)"]),
    ],
)
def test_the_parts_of_a_space(space, expected):
    assert shown(space) == expected
    assert sum(part.size for part in flat_space(space, "space").parts) == flat_space(space, "space").size


def test_parts_are_where_values_are_written():
    space = spaces.Dict({"eye": EYE, "cue": TWO})
    flat = flat_space(space, "space")
    out = np.zeros(flat.size, np.float32)
    flat.write({"eye": np.full((4, 3, 2), 255), "cue": 1}, out)
    assert [part.name for part in flat.parts] == ["cue", "eye"]
    assert out.tolist() == [0, 1] + [1] * 24


def test_agents_with_other_actions_are_told_apart_by_a_part_of_their_own():
    layout = team_layout(("a", "b"), [EYE, EYE], [TWO, FIVE])
    assert [str(part) for part in layout.obs_parts] == ["obs (picture of 4 x 3 x 2)", "agent (one-hot of 2)"]
    assert sum(part.size for part in layout.obs_parts) == layout.obs_dim


@pytest.mark.parametrize(
    "observations",
    [
        [EYE, spaces.Box(0, 255, (24,), np.uint8)],  # as many numbers, and other ones
        [spaces.Dict({"a/b": TWO, "a": spaces.Dict({"b": TWO})})] * 2,  # one name twice
    ],
)
def test_nothing_is_said_where_there_is_nothing_to_say_for_all(observations):
    assert team_layout(("a", "b"), observations, [TWO, TWO]).obs_parts == ()


def test_a_team_says_them_and_they_come_back_from_plain_data():
    spec = team_spec("tests.fakes.picture_game:Pictures", size=6)
    assert spec.obs_parts == (ObsPart(name="obs", kind="picture", shape=(6, 6, 3)),)
    again = TeamSpec(**spec.to_dict())
    assert again == spec
    assert again.obs_parts == spec.obs_parts
    assert team_spec("matrix/two_step").obs_parts == ()


def test_parts_of_tasks_are_those_in_common():
    name = "tests.fakes.glyph_game:Turned -> tests.fakes.glyph_game:Turned"
    same = make_team_env(name, 1)
    assert [str(part) for part in same.spec.obs_parts] == ["obs (picture of 6 x 6 x 3)"]
    assert team_spec(name, tasks=[{}, {"turned": True}]).obs_parts == ()


def test_a_spec_refuses_parts_that_are_not_its_observation():
    sizes = {"n_agents": 1, "n_actions": 2, "obs_dim": 3, "state_dim": 0, "episode_limit": 1}
    part = ObsPart(name="a", kind="vector", shape=(2,))
    with pytest.raises(ValueError, match=r"obs_parts a .vector of 2. are 2 numbers; expected obs_dim = 3"):
        TeamSpec(**sizes, obs_parts=(part,))
    with pytest.raises(ValueError, match=r"obs_parts: .*unexpected keyword argument 'form'"):
        TeamSpec(**sizes, obs_parts=({"name": "a", "kind": "vector", "form": (3,)},))
