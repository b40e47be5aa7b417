"""What a name means, and what is said about one that means nothing."""

from __future__ import annotations

import re

import pytest

from rllib_reborn.envs import env_names
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.experiment_name import ExperimentName, parse_name
from rllib_reborn.experiments.shipped_configs import part_names


def refused(name: str) -> str:
    with pytest.raises(ExperimentError) as caught:
        parse_name(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("battle/8m/vdn", ExperimentName("battle/8m", "vdn")),
        ("battle/8m/VDN+redo", ExperimentName("battle/8m", "vdn", ("redo",))),
        (
            "matrix/two_step/qmix+short+reborn+sr",
            ExperimentName("matrix/two_step", "qmix", ("reborn", "sr"), ("short",)),
        ),
        ("pettingzoo:mpe2.simple_tag_v3/iql", ExperimentName("pettingzoo:mpe2.simple_tag_v3", "iql")),
        ("gymnasium:rware:rware-tiny-2ag-v2/iql", ExperimentName("gymnasium:rware:rware-tiny-2ag-v2", "iql")),
        (
            "my.mod:make/my.algos:MyConfig+my.algos:Kind",
            ExperimentName("my.mod:make", "my.algos:MyConfig", ("my.algos:Kind",)),
        ),
        ("battle/3m/qmix_quick+redo", ExperimentName("battle/3m", "qmix_quick", ("redo",), own_file=True)),
    ],
)
def test_parts(name: str, parts: ExperimentName) -> None:
    assert parse_name(name) == parts
    assert parse_name(str(parts)) == parts


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("battle/8m/qmi", "no algorithm 'qmi' for environment 'battle/8m'. Did you mean 'battle/8m/qmix'?"),
        ("predator_prey/small/qmix_reborn", "Did you mean 'predator_prey/small/qmix+reborn'?"),
        ("predator_prey/small/qmix_quik", "Did you mean 'predator_prey/small/qmix_quick'?"),
        ("battle/8m/zzz", "Known: dmix, iql, qmix, qplex, resq, rmix, vdn, wqmix, or module:Class."),
        ("battle/8mm/qmix", "unknown environment 'battle/8mm' in 'battle/8mm/qmix'. Did you mean 'battle/8m'?"),
        ("nowhere/at_all/qmix", "unknown environment 'nowhere/at_all'"),
        ("battle/8m", "names an environment alone"),
        ("qmix", "is no experiment; expected <env>/<algorithm>"),
        ("battle/8m/vdn+rebron", "no intervention 'rebron' in 'battle/8m/vdn+rebron'. Did you mean 'reborn'?"),
        ("battle/8m/vdn+", "no intervention ''"),
        ("battle/8m/", "is no experiment"),
    ],
)
def test_mistakes(name: str, sentence: str) -> None:
    assert sentence in refused(name)


@pytest.mark.parametrize("env", env_names())
def test_a_suggestion_never_names_another_environment(env: str) -> None:
    for misspelt in ("qmi", "qmix_quik", "rmx+redo", "qmix_reborn", "vdn_short_redo", "x", "8m"):
        message = refused(f"{env}/{misspelt}")
        assert f"for environment {env!r}." in message
        suggested = re.findall(r"Did you mean '([^']*)'", message)
        assert all(name.startswith(f"{env}/") for name in suggested)
        for name in suggested:
            parse_name(name)


def test_parts_of_paths_do_not_leave_the_configs() -> None:
    assert "no algorithm" in refused("battle/8m/..")
    assert "unknown environment" in refused("battle/../../etc/qmix")
    assert "redo" in part_names("intervention")
