"""``rllib-reborn invariance`` on tiny trained teams."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_reborn import QMIXConfig, VDNConfig
from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.cli.main import main
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.plasticity.interventions.reset import ReSet
from rllib_reborn.replay import EpisodeBlock
from rllib_reborn.studies.invariance import (
    _values_of,
    draw_sample,
    play_episodes,
    study,
)
from rllib_reborn.studies.trained_policy import load_team
from tests.algorithms.helpers import WALK, quick

pytestmark = pytest.mark.usefixtures("ray_session")

CONTRACT = {"strict_pairs", "order_flips", "greedy_changed", "function_drift", "neurons_touched"}
MORE = {
    *("greedy_changed_share", "control_greedy_changed_share", "greedy_pairs", "greedy_beaten", "agents_identical"),
    *("igm_checked", "igm_violations_before", "igm_violations"),
    *("mixer_reset_order_flips", "mixer_reset_greedy_changed", "mixer_reset_function_drift"),
    *("intervention", "rule", "alpha", "beta", "layers", "settings", "mixer_neurons", "episodes", "states", "seed"),
}
# Thresholds at which a hardly trained mixer has neurons to treat.
LOOSE = ("--alpha", "0.5", "--beta", "1.5")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type, str], Path]:
    """Checkpoint folders, each trained once."""
    made: dict[tuple[type, str], Path] = {}

    def get(config_class: type = QMIXConfig, env: str = WALK) -> Path:
        if (config_class, env) not in made:
            folder = tmp_path_factory.mktemp("checkpoint")
            algorithm = quick(config_class, env).build_algo()
            algorithm.train()
            algorithm.train()
            algorithm.save_to_path(folder)
            algorithm.stop()
            made[config_class, env] = folder
        return made[config_class, env]

    return get


def as_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["invariance", *argv, "--json"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return json.loads(printed)


def mistake(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    assert main(["invariance", *argv]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize("rule", ["paper", "official_code"])
def test_reborn_on_the_mixer_keeps_the_order_and_the_control_does_not(trained, capsys, rule: str) -> None:
    found = as_json(capsys, str(trained()), *LOOSE, "--rule", rule)
    assert set(found) == CONTRACT | {f"control_{name}" for name in CONTRACT} | MORE
    assert found["strict_pairs"] == found["control_strict_pairs"] == 20_000
    assert found["neurons_touched"] >= 5
    assert found["order_flips"] == found["greedy_changed"] == found["greedy_beaten"] == 0
    assert found["agents_identical"] is True
    assert found["igm_checked"] > 50
    assert found["igm_violations_before"] == found["igm_violations"] == 0
    assert found["greedy_pairs"] > 50
    assert found["control_order_flips"] > 2000
    assert found["control_greedy_changed"] > 0.2 * found["states"]
    assert found["control_neurons_touched"] > 0
    assert found["mixer_reset_order_flips"] == found["mixer_reset_greedy_changed"] == 0
    assert 0 < found["function_drift"] < 1
    assert found["mixer_reset_function_drift"] > 0.1
    assert (found["intervention"], found["rule"], found["alpha"], found["beta"]) == ("reborn", rule, 0.5, 1.5)
    assert (found["layers"], found["episodes"], found["seed"]) == ("official_code", 32, 0)


def test_equal_arguments_give_equal_numbers_and_the_checkpoint_is_left_as_it_is(trained, capsys) -> None:
    before = {path: path.read_bytes() for path in trained().rglob("*") if path.is_file()}
    options = (str(trained()), *LOOSE, "--episodes", "5", "--pairs", "300", "--seed")
    first = as_json(capsys, *options, "4")
    assert first == as_json(capsys, *options, "4")
    assert first["strict_pairs"] == 300
    assert first["function_drift"] != as_json(capsys, *options, "5")["function_drift"]
    assert before == {path: path.read_bytes() for path in trained().rglob("*") if path.is_file()}


def test_a_change_of_the_agents_is_caught(trained) -> None:
    """The same counts must be able to fail: the intervention itself resets the agents' last layer."""
    team = load_team(trained())
    found = study(team, ReSet(which="last", scope="agent"), draw_sample(team, pairs=2000, episodes=8))
    assert found.order_flips > 200
    assert found.greedy_changed > 0
    assert found.greedy_beaten > 0
    assert not found.agents_identical
    assert found.igm_violations == 0  # the new agents are consistent with their mixer all the same
    assert found.verdict.startswith("NOT knowledge invariant")


def test_an_intervention_on_all_networks_is_told_apart(trained, capsys) -> None:
    """ReSet of the whole network, as in the paper, and of a team whose mixer has nothing to reset."""
    for config_class in (QMIXConfig, VDNConfig):
        options = ("--intervention", "reset", "--episodes", "4", "--pairs", "500")
        assert main(["invariance", str(trained(config_class)), *options]) == 0
        printed = capsys.readouterr().out
        assert "agents' networks: changed" in printed
        assert printed.splitlines()[-1].startswith("NOT knowledge invariant")


def test_the_table_for_people(trained, capsys) -> None:
    assert main(["invariance", str(trained()), *LOOSE, "--episodes", "8", "--pairs", "1000"]) == 0
    printed = capsys.readouterr().out
    for words in (
        "neurons with new weights",
        "orders reversed",
        "Q_tot changed by",
        "equal to the bit",
        "IGM violated in 0",
    ):
        assert words in printed
    assert printed.splitlines()[-1].startswith("Knowledge invariant: none of 1,000 strict preferences reversed")
    assert max(map(len, printed.splitlines()[1:-1])) <= 120


def test_each_verdict(trained) -> None:
    team = load_team(trained())
    intervention = make_intervention({"kind": "reborn", "alpha": 0.5, "beta": 1.5})
    report = study(team, intervention, draw_sample(team, episodes=4))

    def says(**changed: float) -> str:
        return dataclasses.replace(report, **changed).verdict

    assert "every greedy action kept; Q_tot moved by" in says()
    assert says(order_flips=3).startswith("NOT knowledge invariant: 3 of 20,000 strict preferences reversed")
    assert says(greedy_changed=2).startswith("NOT knowledge invariant")
    assert says(agents_identical=False).startswith("Order kept in these states, though")
    assert "the test had no power" in says(control_order_flips=0)
    assert "found nothing to do here" in says(neurons_touched=0, function_drift=0.0)
    assert "no order to keep" in says(strict_pairs=0, control_strict_pairs=0, control_order_flips=0)
    assert "This mixer has no neurons" in says(mixer_neurons=0)


def test_vdn_has_no_neurons(trained, capsys) -> None:
    found = as_json(capsys, str(trained(VDNConfig)), "--episodes", "4", "--pairs", "1000")
    assert found["neurons_touched"] == found["mixer_neurons"] == found["order_flips"] == 0
    assert found["function_drift"] == found["mixer_reset_function_drift"] == 0
    assert found["control_order_flips"] > 100
    assert main(["invariance", str(trained(VDNConfig)), "--episodes", "4"]) == 0
    assert "This mixer has no neurons" in capsys.readouterr().out


def test_a_real_game(trained, capsys) -> None:
    found = as_json(capsys, str(trained(QMIXConfig, "matrix/two_step")), "--episodes", "8", "--pairs", "1000")
    assert found["strict_pairs"] == 1000
    assert found["states"] == 16  # two steps an episode
    assert found["order_flips"] == 0


def test_episodes_are_whole_and_legal(trained) -> None:
    team = load_team(trained())
    batch = play_episodes(team, 40, 3)  # more than 32 games play side by side
    assert len(batch["lengths"]) == 40
    steps = int(batch["lengths"].sum())
    assert len(batch["actions"]) == len(batch["reward"]) == steps
    assert len(batch["obs"]) == len(batch["action_mask"]) == steps + 40
    for episode in EpisodeBlock(batch["lengths"], {k: v for k, v in batch.items() if k != "lengths"}).episodes():
        mask, actions = episode["action_mask"], episode["actions"].astype(np.int64)
        assert mask.any(-1).all()
        assert np.take_along_axis(mask[:-1], actions[..., np.newaxis], 2).all()
    again = play_episodes(team, 40, 3)
    assert all((batch[name] == again[name]).all() for name in batch)


def test_values_masks_and_actions_belong_to_the_same_states(trained) -> None:
    team = load_team(trained())
    greedy = _values_of(team.module, play_episodes(team, 200, 3, epsilon=0.0))  # several by each game
    assert torch.equal(greedy.greedy(), greedy.played)
    random = _values_of(team.module, play_episodes(team, 12, 3, epsilon=1.0))
    assert random.mask.gather(2, random.played.unsqueeze(2)).all()
    assert not torch.equal(random.greedy(), random.played)


def test_mistakes_end_in_a_sentence(trained, capsys, tmp_path: Path) -> None:
    assert "does not exist" in mistake(capsys, str(tmp_path / "nowhere"))
    assert "holds no checkpoint" in mistake(capsys, str(tmp_path))
    folder = str(trained())
    assert "rebron" in mistake(capsys, folder, "--intervention", "rebron")
    assert "invalid choice: 'both'" in mistake(capsys, folder, "--rule", "both")
    assert "'0' is not a whole number of at least 1" in mistake(capsys, folder, "--pairs", "0")
    assert "alpha" in mistake(capsys, folder, "--alpha", "4", "--beta", "3")
    assert "rule" in mistake(capsys, folder, "--intervention", "redo", "--rule", "paper")
    needs = "needs the weights at the start of the run"
    for options in (("shrink_perturb", "--set", "towards=initial"), ("marr",), ("l2_init",)):
        assert needs in mistake(capsys, folder, "--intervention", *options)
    assert "needs when neurons fired during training" in mistake(capsys, folder, "--intervention", "snr")
    assert "injection adds parameters" in mistake(capsys, folder, "--intervention", "injection")
    assert "--nope" in mistake(capsys, folder, "--nope")
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    shutil.rmtree(damaged / "learner_group")
    assert "is no checkpoint of an algorithm" in mistake(capsys, str(damaged))


@pytest.mark.parametrize("command", ["evaluate", "invariance", "invariance-table"])
@pytest.mark.timeout(60)
def test_games_that_always_fail_end_in_a_sentence(trained, capsys, monkeypatch, command: str) -> None:
    team = load_team(trained())
    team.env_config = {"fault": "games_always_fail"}
    monkeypatch.setattr("rllib_reborn.studies.trained_policy.load_team", lambda checkpoint: team)
    assert main([command, str(trained()), "--episodes", "2"]) == 2
    message = capsys.readouterr().err
    assert "failed 20 times in 20 env steps without a finished episode" in message
    assert message.count("\n") == 1


def test_every_setting_can_be_set(trained, capsys) -> None:
    options = ("--intervention", "reset", "--episodes", "4", "--pairs", "200")
    last = as_json(capsys, str(trained()), *options)
    # A list, an enumeration and a number, all from YAML; the later of two wins.
    everything = as_json(
        capsys,
        str(trained()),
        *options,
        *("--set", "which=last_k", "--set", "which=all", "--set", "scope = mixer"),
    )
    assert everything["settings"]["which"] == "all"
    assert everything["settings"]["scope"] == "mixer"
    assert last["settings"]["scope"] == "all"
    assert everything["agents_identical"] is True
    assert last["agents_identical"] is False
    named = as_json(capsys, str(trained()), *options, "--set", "scope=mixer", "--set", "parameters=[V.2]")
    assert 0 < named["neurons_touched"] < everything["neurons_touched"]


def test_layers_that_are_editable(trained, capsys) -> None:
    options = ("--episodes", "4", "--pairs", "200", *LOOSE, "--set", "scope=mixer", "--set", "layers=editable")
    assert as_json(capsys, str(trained()), *options)["layers"] == "editable"


def test_settings_that_are_none_end_in_a_sentence(trained, capsys) -> None:
    folder = str(trained())
    assert "expected KEY=VALUE" in mistake(capsys, folder, "--set", "scope")
    assert "expected KEY=VALUE" in mistake(capsys, folder, "--set", "=all")
    assert "expected KEY=VALUE" in mistake(capsys, folder, "--set", "scope=")
    assert "scope is 'everything'" in mistake(capsys, folder, "--set", "scope=everything")
    assert "Did you mean 'scope'" in mistake(capsys, folder, "--set", "scop=all")
    assert "--set 'scope=[1'" in mistake(capsys, folder, "--set", "scope=[1")
    assert "--intervention redo" in mistake(capsys, folder, "--set", "kind=redo")
    assert "keep one of them" in mistake(capsys, folder, "--alpha", "0.2", "--set", "alpha=0.3")
    assert "dry_run is on" in mistake(capsys, folder, "--set", "dry_run=true", "--episodes", "2")


def test_shrinking_towards_fresh_weights_needs_no_initial_ones(trained, capsys) -> None:
    options = ("--intervention", "shrink_perturb", "--set", "shrink=0.5", "--episodes", "4", "--pairs", "200")
    found = as_json(capsys, str(trained()), *options)
    assert found["settings"]["towards"] == "fresh"
    assert found["function_drift"] > 0.01
    assert found["agents_identical"] is False


def test_seeds_are_bounded(trained, capsys) -> None:
    few = ("--episodes", "2", "--pairs", "50")
    assert as_json(capsys, str(trained()), *few, "--seed", "2147483647")["seed"] == 2**31 - 1
    for seed in ("2147483648", "9" * 40):
        assert "is too large for a seed; expected at most 2147483647" in mistake(capsys, "x", "--seed", seed)
    assert "whole number" in mistake(capsys, "x", "--seed=-1")


@pytest.mark.parametrize("net", ["agents", "mixer"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_team_ends_in_a_sentence(trained, capsys, monkeypatch, net: str, value: float) -> None:
    team = load_team(trained())
    last = list(getattr(team.module, net).parameters())[-1]
    last.data.fill_(value)
    monkeypatch.setattr("rllib_reborn.studies.trained_policy.load_team", lambda checkpoint: team)
    message = mistake(capsys, str(trained()), "--episodes", "2")
    assert "not finite; this checkpoint is of a run that diverged" in message


def test_an_intervention_that_breaks_the_values_ends_in_a_sentence(trained, capsys) -> None:
    blow = ("--intervention", "shrink_perturb", "--set", "towards=noise", "--set", "sigma=1e38", "--set", "scope=mixer")
    message = mistake(capsys, str(trained()), *blow, "--episodes", "2")
    assert "error: shrink_perturb: mixer/" in message
    assert "NaN or infinite" in message


def test_what_goes_wrong_in_the_study_is_a_sentence_too(trained, capsys, monkeypatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("a game runs on after its 9 steps.")

    folder = str(trained())
    monkeypatch.setattr("rllib_reborn.studies.invariance.play_episodes", fail)
    capsys.readouterr()
    assert main(["invariance", folder]) == 1
    printed = capsys.readouterr()
    assert "could not be finished: a game runs on" in printed.err
    assert "Traceback" not in printed.err


def test_the_table_has_every_intervention_in_both_scopes_and_equals_single_studies(trained, capsys) -> None:
    folders = [str(trained(config_class)) for config_class in ALGORITHMS.values()]
    arguments = ("--pairs", "500", "--episodes", "4")
    capsys.readouterr()
    assert main(["invariance-table", *folders, *arguments, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["algorithm"], row["intervention"], row["scope"]) for row in rows] == [
        (algorithm, kind, scope)
        for algorithm in ALGORITHMS
        for kind in ("reborn", "redo", "reset")
        for scope in ("mixer", "all")
    ]
    single = as_json(capsys, folders[0], "--intervention", "redo", "--set", "scope=all", *arguments)
    found = next(row for row in rows if row["intervention"] == "redo" and row["scope"] == "all")
    assert {name: found[name] for name in single} == single

    for row in rows:
        assert row["control_order_flips"] > 0, row  # had there been something to see, it would have been seen
        if row["scope"] == "mixer":
            # QPLEX may reverse orders, but no action becomes better than the greedy one.
            assert row["algorithm"] == "QPLEX" or row["order_flips"] == 0, row
            assert row["greedy_changed"] == row["greedy_beaten"] == row["igm_violations"] == 0, row

    assert main(["invariance-table", *folders, *arguments]) == 0
    table, notes = capsys.readouterr().out.split("\n\n")
    lines = table.splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1
    assert sum("no mixer to treat" in line for line in lines) == 6  # IQL and VDN
    assert [note.split(":")[0] for note in notes.splitlines()[:5]] == [
        f"- {algorithm}" for algorithm in ("QPLEX", "DMIX", "RMIX", "WQMIX", "ResQ")
    ]
    assert "Read 'greedy action beaten'" in notes


def test_the_table_has_notes_only_on_what_is_in_it(trained, capsys) -> None:
    arguments = ("--pairs", "50", "--episodes", "2")
    capsys.readouterr()
    assert main(["invariance-table", str(trained(VDNConfig)), *arguments]) == 0
    notes = capsys.readouterr().out.split("\n\n")[1]
    assert "QPLEX" not in notes
    assert "scope all" in notes


def test_the_table_says_why_a_study_was_refused(trained, capsys) -> None:
    few = ("--pairs", "50", "--episodes", "2")
    assert main(["invariance-table", str(trained()), "--interventions", "marr, fire,snr,marr", *few]) == 0
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert len(lines) == 2 + 3 * 2
    assert "needs the weights at the start of the run" in lines[2]
    assert "| QMIX | fire | mixer |" in lines[4]
    assert "needs when neurons fired during training" in lines[6]
    assert main(["invariance-table", str(trained() / "nothing")]) == 2


def test_the_table_refuses_an_unknown_intervention_before_anything_is_studied(trained, capsys) -> None:
    assert main(["invariance-table", str(trained()), "--interventions", "reborn,rebirth"]) == 2
    printed = capsys.readouterr()
    assert "'rebirth'" in printed.err
    assert not printed.out
