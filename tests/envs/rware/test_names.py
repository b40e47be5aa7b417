"""The names ``rware/<id>``: those that the package registers, with what it registers for them, and no others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from rllib_reborn.envs.factories import UnknownEnvError
from rllib_reborn.envs.registry import (
    ENVS,
    env_names,
    is_stepped_as_arrays,
    launches_external_process,
    make_team_env,
    team_spec,
)
from rllib_reborn.envs.rware.names import PREFIX, defaults, entry, family
from rllib_reborn.envs.rware.rules import WarehouseRules
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.experiment_name import parse_name


def as_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """What the package registers, in the values of our options."""
    options = {key: getattr(value, "name", value) for key, value in kwargs.items()}
    return {key: value.lower() if isinstance(value, str) else value for key, value in options.items()}


def settings_of(given: str) -> dict[str, Any]:
    """All that a name says, with the defaults of the rules for the rest."""
    settings = defaults(given)
    assert settings is not None, given
    fields = WarehouseRules.__dataclass_fields__
    return {name: settings.get(name, field.default) for name, field in fields.items()}


def registered(monkeypatch: pytest.MonkeyPatch, register: str, every: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names, and options as the package has them, of each ``every``-th id that one of its functions registers."""
    rware = pytest.importorskip("rware")
    found: list[tuple[str, dict[str, Any]]] = []
    count = itertools.count()

    def note(id: str, entry_point: str, kwargs: dict[str, Any]) -> None:
        if next(count) % every == 0:
            found.append((id.removeprefix("rware-").removesuffix("-v2"), kwargs))

    monkeypatch.setattr(rware, "register", note)
    getattr(rware, register)()
    return iter(found)


def check(names: Iterator[tuple[str, dict[str, Any]]]) -> int:
    """Compare each; how many there were."""
    total = 0
    for given, kwargs in names:
        total += 1
        expected = as_options(kwargs)
        settings = settings_of(given)
        assert {key: settings[key] for key in expected} == expected, given
    return total


def test_what_the_package_registers_at_once() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    pytest.importorskip("rware")
    specs = [spec for name, spec in gymnasium.registry.items() if name.startswith("rware-")]
    found = [(spec.id.removeprefix("rware-").removesuffix("-v2"), dict(spec.kwargs)) for spec in specs]
    assert check(iter(found)) >= 4 * 3 * 19


def test_what_it_registers_when_asked_for_images(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(registered(monkeypatch, "image_registration", 1)) == 4 * 3 * 19 * 4


@pytest.mark.long
def test_what_it_registers_when_asked_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(registered(monkeypatch, "full_registration", 997)) > 3_000


def test_by_hand() -> None:
    settings = settings_of("img-Nd-3s-large-5h-7ag-hard")
    assert (settings["shelf_rows"], settings["shelf_columns"], settings["column_height"]) == (3, 5, 5)
    assert (settings["n_agents"], settings["request_queue_size"], settings["sensor_range"]) == (7, 3, 3)
    assert (settings["observation_type"], settings["image_observation_directional"]) == ("image", False)
    settings = settings_of("2x7-1h-3ag-5req-twostage")
    assert (settings["shelf_rows"], settings["shelf_columns"], settings["column_height"]) == (2, 7, 1)
    assert (settings["n_agents"], settings["request_queue_size"], settings["reward_type"]) == (3, 5, "two_stage")
    assert settings_of("Nd-2x7-1h-3ag-5req-twostage") == settings | {"image_observation_directional": False}
    assert team_spec("rware/Nd-2x7-1h-3ag-5req-twostage").obs_dim == 71
    spec = team_spec("rware/tiny-2ag")
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.episode_limit) == (2, 5, 71, 142, 500)
    assert spec.obs_dtype == "uint8"
    assert not spec.has_win


@pytest.mark.parametrize(
    "given",
    [
        "tiny-0ag",
        "tiny-20ag",
        "tiny-02ag",
        "tiny-2ag-v2",
        "tiny-2ag-medium",
        "huge-2ag",
        "Nd-tiny-2ag",
        "2s-tiny-2ag",
        "6s-tiny-8h-2ag",
        "tiny-16h-2ag",
        "imgdict-tiny-8h-2ag",
        "5x3-8h-2ag-2req-global",
        "1x4-8h-2ag-2req-global",
        "1x3-8h-2ag-20req-global",
        "1x3-8h-20ag-2req-global",
        "1x3-8h-2ag-2req",
        "",
    ],
)
def test_what_it_does_not_register_is_no_name(given: str) -> None:
    assert defaults(given) is None
    assert PREFIX + given not in ENVS
    with pytest.raises(UnknownEnvError, match="unknown environment"):
        make_team_env(PREFIX + given)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rware/tiny-2agg", "did you mean 'rware/tiny-2ag'"),
        ("rware/mediun-6ag-hard", "did you mean .*'rware/medium-6ag-hard'"),
        ("rware/imgdict-Nd-smal-3ag", "did you mean 'rware/imgdict-Nd-small-3ag'"),
        ("zzz", "rware/..."),
    ],
)
def test_misspelt_names(name: str, message: str) -> None:
    with pytest.raises(UnknownEnvError, match=message):
        team_spec(name)


def test_listings_show_a_few_and_experiments_know_all() -> None:
    shown = [name for name in env_names() if name.startswith(PREFIX)]
    assert shown == list(family().listed)
    assert len(shown) < 10
    assert "rware/large-19ag-easy" in ENVS
    assert "rware/large-19ag-easy" not in list(ENVS)
    assert ENVS.get("rware/nothing") is None
    assert len(ENVS) == len(list(ENVS))
    assert 3 not in ENVS
    assert parse_name("rware/large-19ag-easy/vdn").env == "rware/large-19ag-easy"
    with pytest.raises(ExperimentError, match="Did you mean 'rware/large-9ag-easy'"):
        parse_name("rware/large-9ag-eazy/vdn")
    assert is_stepped_as_arrays("rware/large-19ag-easy")
    assert not launches_external_process("rware/large-19ag-easy")


def test_every_similar_name_is_one() -> None:
    names = list(family().similar())
    assert len(set(names)) == len(names) == 4 * 3 * 19 * 5
    assert all(entry(name) is not None for name in names)
    assert set(family().listed) <= set(names)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tiny-2ag", {"n_agent": 3}, "did you mean 'n_agents'"),
        ("tiny-2ag", {"time_limit": 3}, "say max_steps="),
        ("tiny-2ag", {"layout": ".xxg", "shelf_rows": 2, "request_queue_size": 1}, "shelf_rows is 2, .* beside layout"),
        ("tiny-2ag", {"image_observation_directional": False}, "has no effect without images"),
        ("tiny-2ag", {"state_layers": ["agents"]}, "has no effect with state='observations'"),
    ],
)
def test_options_that_do_nothing_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    for call in (make_team_env, team_spec):
        with pytest.raises(ValueError, match=message):
            call(PREFIX + name, **options)


def test_an_option_takes_the_place_of_what_the_name_says() -> None:
    assert team_spec("rware/img-Nd-tiny-2ag").obs_dim == 5 * 9
    assert team_spec("rware/img-Nd-tiny-2ag", observation_type="flattened").obs_dim == 71
    assert team_spec("rware/tiny-2ag", observation_type="image_dict").obs_dim == 6 + 5 * 9
    assert team_spec("rware/tiny-2ag", n_agents=5, request_queue_size=1).n_agents == 5
    layers = ["shelves", "agents"]
    assert team_spec("rware/tiny-2ag", state="image", state_layers=layers).state_dim == 2 * 11 * 10
