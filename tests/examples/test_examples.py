"""Every example runs, and shows what it says it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples import own_encoder, own_game, own_intervention, own_mixer, plasticity_on_any_module, toy_dormant_neurons

FOLDER = Path(plasticity_on_any_module.__file__).parent
DOCS = FOLDER.parent / "docs"


def test_the_readme_lists_every_example():
    linked = set(re.findall(r"\]\((\w+\.py)\)", (FOLDER / "README.md").read_text()))
    assert linked == {path.name for path in FOLDER.glob("*.py")}


def test_plasticity_on_any_module(capsys):
    # Two short tasks make few neurons dormant; with wider thresholds there is something to treat.
    found = plasticity_on_any_module.main(["--quick", "--alpha", "0.3", "--beta", "2"])
    redo, reborn = found["redo"], found["reborn"]
    assert redo["dry_run"]
    assert reborn["neurons"] > 0
    # The dry run left everything as it was: both found the same.
    assert redo["dormant_before"] == reborn["dormant_before"]
    assert reborn["dormant_after"]["net"] < reborn["dormant_before"]["net"]
    assert 0 <= reborn["function_drift"] < 0.5
    printed = capsys.readouterr().out
    assert "net/0: 64 neurons, ReLU, surgery exact" in printed
    assert "ReBorn: " in printed


def test_toy_dormant_neurons_keeps_the_order_of_the_paper(tmp_path, capsys):
    table = toy_dormant_neurons.main(["--quick", "--out", str(tmp_path / "figures" / "toy.png")])
    for row in table.values():
        assert len(row) == 4
        assert row == sorted(row)
    assert (tmp_path / "figures" / "toy.png").stat().st_size > 1000
    assert capsys.readouterr().out.count("| yes |") == 2


def test_a_dormant_neuron_of_the_toy_network_has_no_output_and_does_not_learn():
    """With all 4 neurons silenced only the output's bias is left: the error cannot fall below the variance of the target."""
    import torch

    curve = toy_dormant_neurons.losses(4, lr=0.5, seeds=1, steps=600)[0]
    torch.manual_seed(0)
    torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    wanted = toy_dormant_neurons.targets(torch.randn(toy_dormant_neurons.SAMPLES, 3))
    assert curve[-1].item() == pytest.approx(wanted.var(correction=0).item(), rel=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_reborn_on_stock_dqn(capsys):
    from examples import reborn_on_stock_dqn

    events = reborn_on_stock_dqn.main(["--quick", "--alpha", "0.3", "--beta", "2"])
    assert {event["event"] for event in events} == {"dormancy", "intervention"}
    assert sum(event["neurons"] for event in events if event["event"] == "intervention") > 0
    assert "reborn gave" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--quick"], ["--env-steps", "500000", "--intervals", "10", "1000"]])
def test_every_interval_of_target_interval_updates_its_targets_twice(arguments):
    from examples import target_interval

    options = target_interval.parse(arguments)
    updates = [target_interval.target_updates(options.env, n, options.env_steps) for n in options.intervals]
    assert min(updates) >= 2
    assert updates == sorted(updates, reverse=True)
    # 150 steps an episode: 299,999 env steps assure 1,999 episodes.
    assert target_interval.target_updates("predator_prey/small", 1000, 299_999) == 1
    assert target_interval.target_updates("predator_prey/small", 1000, 300_000) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_target_interval(tmp_path):
    from examples import target_interval

    curves = target_interval.main(["--quick", "--out", str(tmp_path / "interval.png")])
    assert list(curves) == [10, 300]
    for steps, fractions in curves.values():
        assert len(steps) >= 5
        assert all(0 <= fraction <= 1 for fraction in fractions)
    assert curves[10][1] != curves[300][1]
    assert (tmp_path / "interval.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_own_mixer_intervention_and_encoder_run(capsys):
    assert own_mixer.main(["--quick"]) >= 0
    assert sum(event["neurons"] for event in own_intervention.main(["--quick"])) > 0
    assert own_encoder.main(["--quick"]) >= 0
    assert "applications" in capsys.readouterr().out


@pytest.mark.long
def test_own_game_learns_to_meet(tmp_path, capsys):
    returns = own_game.main(["--out", str(tmp_path)])
    # Alone one agent finds the middle in 3 steps; random play hardly ever meets within 12.
    assert returns["random"] < 0 < 0.5 < returns["greedy"]
    assert "FAILED" not in capsys.readouterr().out
    assert (tmp_path / "team.gif").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["examples/own_game.py", "--quick"],
        pytest.param(["-m", "examples.own_game", "--quick"], marks=pytest.mark.long),
    ],
)
def test_own_game_runs_as_its_first_lines_say(command, tmp_path):
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *command, "--out", str(tmp_path)],
        cwd=FOLDER.parent,
        env=clean,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_the_ten_lines_of_the_docs_run(tmp_path):
    """As they stand in docs/your_env.md, with less training."""
    [code] = re.findall(
        r"```python\n(from rllib_reborn import QMIXConfig, load_team.*?)```", (DOCS / "your_env.md").read_text(), re.S
    )
    assert "20_000" in code
    script = tmp_path / "ten_lines.py"
    script.write_text(code.replace("20_000", "500"))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"^greedy -?\d.* random -?\d", done.stdout, re.M)
    assert (tmp_path / "team.gif").exists()
