"""Model cards: facts of a run, and nothing that is not known or nobody's business."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rllib_reborn.checkpoints.manifest import installed_versions
from rllib_reborn.evaluation import Episodes
from rllib_reborn.evaluation.origin import ForkNote
from rllib_reborn.policy import Policy
from rllib_reborn.studies.export import CARD_NAME, ONNX_NAME, export_team, played
from rllib_reborn.studies.model_card import ONNX_LINES, model_card
from rllib_reborn.studies.trained_policy import TrainedPolicy
from rllib_reborn.studies.training_facts import Dormancy, GreedyEpisodes, TrainingFacts, facts_of
from tests.checkpoints.runs import made_up_run
from tests.docs_code import DOCS, python_blocks
from tests.policy.onnx_team import documented
from tests.policy.teams import build, exported

CONFIG = {
    "algorithm": "QMIX",
    "env": "matrix/two_step",
    "env_config": {"api_key": "sesame-opens"},
    "seed": 7,
    "training": {"lr": 0.5, "model": {"hidden_dim": 16}},
    "interventions": [{"kind": "redo", "alpha": 0.1}],
    "evaluation": {"parallel_to_training": False},
    "resources": {"num_env_runners": 3},
}


def run_with(
    root: Path, *, final_steps: int | None = 20, config: dict[str, Any] = CONFIG, **columns: dict[int, Any]
) -> list[Path]:
    """A run of two checkpoints, after 10 and 20 env steps; columns: env steps to value."""
    made_up_run(root, settings=yaml.safe_dump(config))
    rows = []
    for number in (1, 2):
        row = {"iteration": number, "env_steps": 10 * number, "updates": 3 * number, "eval/return_mean": None}
        rows.append(row | {name: values.get(10 * number) for name, values in columns.items()})
    (root / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if final_steps is not None:
        final = {"policy": {"returns": [7.0, 8.0], "won": None}, "random": {"returns": [1.0, 2.0], "won": None}}
        final |= {"env": config["env"], "env_steps": final_steps, "episodes": 2, "seed": 0}
        (root / "final_evaluation.json").write_text(json.dumps(final))
    return [root / "checkpoints" / f"checkpoint_00000{number}" for number in (1, 2)]


class TestFacts:
    def test_of_the_last_checkpoint_of_a_run(self, tmp_path: Path) -> None:
        first, last = run_with(
            tmp_path / "qmix_1",
            **{
                "dormancy/mixer/dormant_fraction": {10: 0.25, 20: None},
                "dormancy/agent/dormant_fraction": {10: 0.5, 20: 0.125},
                "dormancy/agent/encoder.0/dormant_fraction": {10: 0.1, 20: 0.1},
                "intervention/count": {10: 1, 20: 4},
            },
        )
        facts = facts_of(last)
        assert (facts.checkpoint, facts.env_steps, facts.updates, facts.seed) == ("checkpoint_000002", 20, 6, 7)
        assert (facts.run, facts.interventions, facts.reason) == ("qmix_1", 4, "")
        assert facts.versions == installed_versions()
        assert facts.dormancy == {"mixer": Dormancy(0.25, 10), "agent": Dormancy(0.125, 20)}
        assert facts.evaluated is not None
        assert facts.evaluated.policy.returns.tolist() == [7.0, 8.0]
        assert facts.evaluated.when == "after training, on fresh games"
        earlier = facts_of(first)
        assert (earlier.env_steps, earlier.updates, earlier.interventions) == (10, 3, 1)
        assert earlier.dormancy == {"mixer": Dormancy(0.25, 10), "agent": Dormancy(0.5, 10)}
        assert earlier.evaluated is None  # the final one is of other weights

    @pytest.mark.parametrize("beside", [False, True])
    def test_an_evaluation_counts_where_the_weights_were_these(self, tmp_path: Path, beside: bool) -> None:
        first, _ = run_with(
            tmp_path / "run",
            config=CONFIG | {"evaluation": {"parallel_to_training": beside}},
            **{"eval/returns": {10: [1.0, 3.0, 5.0, 7.0]}, "eval/win_rate": {10: 0.75}, "eval/return_mean": {10: 4.0}},
        )
        found = facts_of(first).evaluated
        if beside:
            assert found is None
        else:
            assert found is not None
            assert found.policy.returns.tolist() == [1.0, 3.0, 5.0, 7.0]
            assert found.policy.won is not None
            assert found.policy.won.sum() == 3
            assert found.when == "during training, when the checkpoint was saved"

    def test_without_a_run_or_a_manifest(self, tmp_path: Path) -> None:
        facts = facts_of(tmp_path)
        assert dataclasses.replace(facts, reason="") == TrainingFacts()
        assert "has no manifest" in facts.reason
        *_, last = run_with(tmp_path / "run")
        moved = tmp_path / last.name
        last.rename(moved)
        assert facts_of(moved).env_steps == 20
        assert (facts_of(moved).run, facts_of(moved).reason) == (None, "the checkpoint lies in no run's folder")

    def test_what_cannot_be_read_of_the_run_is_a_reason_without_a_place(self, tmp_path: Path) -> None:
        *_, last = run_with(tmp_path / "run")
        (tmp_path / "run" / "metrics.jsonl").unlink()
        facts = facts_of(last)
        assert facts.reason == "the run's folder has no metrics.jsonl: the run ended before its first iteration"
        assert facts.run is None

    def test_numbers_of_the_mock_server_are_not_reported(self, tmp_path: Path) -> None:
        *_, last = run_with(tmp_path / "run", **{"env/game_version": {10: "mock_server 1", 20: "mock_server 1"}})
        facts = facts_of(last)
        assert facts.evaluated is None
        assert "played on the mock server" in facts.reason
        assert str(tmp_path) not in facts.reason


def card_of(facts: TrainingFacts, *, onnx: bool = False, **changes: Any) -> str:
    spec = dataclasses.replace(exported().spec, **changes)
    return model_card(spec, facts, files={"weights.npz": "ab12"}, onnx=onnx)


def front_matter(card: str) -> dict[str, Any]:
    _, text, _ = card.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


class TestCards:
    def test_what_is_not_known_is_stated(self) -> None:
        card = card_of(TrainingFacts(reason="nobody wrote it down"))
        for line in (
            "| env steps | not known |",
            "| seed | not known |",
            "| interventions | not known |",
            "No greedy episodes of these weights are on record.",
            "- Its training: nobody wrote it down.",
            "- What it reaches in greedy episodes.",
        ):
            assert line in card.splitlines() or any(one.startswith(line) for one in card.splitlines()), line
        assert "model-index" not in card
        assert "None" not in card.replace('Policy.load("my_policy"), None', "").replace("state=None", "")
        assert "nan" not in card.lower().split()

    def test_what_is_known(self, tmp_path: Path) -> None:
        *_, last = run_with(tmp_path / "qmix_1", **{"dormancy/agent/dormant_fraction": {10: 0.5, 20: 0.125}})
        card = card_of(facts_of(last))
        for line in (
            "| env steps | 20 |",
            "| gradient steps | 6 |",
            "| seed | 7 |",
            "| interventions | `redo`: not known how often |",
            "| agent | 12.5 %, measured after 20 env steps |",
            "| return | 7.5 [1.1, 13.9] |",  # 7.5 +- 12.706 * 0.7071 / sqrt(2)
            "| return of a random policy | 1.5 [-4.9, 7.9] |",
            "| `weights.npz` | SHA-256 `ab12` |",
        ):
            assert line in card.splitlines(), line
        assert "  lr: 0.5" in card
        assert "num_env_runners" not in card
        matter = front_matter(card)
        assert matter["library_name"] == "rllib-reborn"
        assert "license" not in matter
        assert "# license: to be chosen" in card
        assert {"qmix", "predator_prey/small", "multi-agent-reinforcement-learning"} <= set(matter["tags"])
        result = matter["model-index"][0]["results"][0]
        assert result["metrics"] == [{"type": "mean_reward", "name": "mean return", "value": 7.5}]

    def test_neither_secrets_nor_places(self, tmp_path: Path) -> None:
        *_, last = run_with(tmp_path / "qmix_1", config=CONFIG | {"training": {"wandb_token": "open-sesame"}})
        card = card_of(facts_of(last), env_config={"password": "shut-sesame", "size": 3})
        assert "sesame" not in card
        assert str(tmp_path) not in card
        assert "'size': 3" in card

    def test_names_of_others_are_text(self) -> None:
        names = ("a|b", "<b>bold</b>", "tick`", "line\nbreak")
        n = exported().spec.n_agents
        card = card_of(
            TrainingFacts(reason="a | <script>"), env="x\n# y | z", agent_ids=(*names, *map(str, range(n)))[:n]
        )
        assert "\n# y" not in card
        assert "<script>" not in card.replace("\\<script\\>", "")
        rows = [line for line in card.splitlines() if line.startswith("| ")]
        assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows), rows
        assert front_matter(card)["tags"][-1] == "x\n# y | z"

    def test_a_fork_and_a_team_of_others(self) -> None:
        note = ForkNote(source="root", source_env_steps=5_000, env_steps=0, fresh=(), changes=())
        facts = TrainingFacts(run="fork", fork=note, seed=None, game_versions=("4.10",), evaluated=won())
        card = card_of(facts, encoder="mine.of:Own", agent_groups=("a",) * exported().spec.n_agents)
        assert "| began | with what the run `root` had learnt in 5,000 env steps |" in card
        assert "| seed | none was set |" in card
        assert "| game's version | `4.10` |" in card
        assert "| win rate | 50.0 % [15.0, 85.0] |" in card  # Wilson of 2 in 4
        assert "| mean return on each task | a 1.00, b 2.00 |" in card
        assert 'Policy.load("my_policy", trust_encoder=True)' in card
        assert "Loading imports its encoder, `mine.of:Own`" in card

    def test_one_episode_has_no_interval(self) -> None:
        found = GreedyEpisodes(Episodes(np.array([3.0]), None), None, "once")
        card = card_of(TrainingFacts(run="r", evaluated=found))
        assert "| return | 3.00 (no interval) |" in card
        assert "1 greedy episode of these weights" in card

    def test_the_page_has_the_lines_of_the_card(self) -> None:
        blocks = [block.code for block in python_blocks(DOCS / "portable_policy.md")]
        assert ONNX_LINES in blocks
        assert ONNX_LINES in card_of(TrainingFacts(), onnx=True)
        assert "onnx" not in card_of(TrainingFacts())


def won() -> GreedyEpisodes:
    episodes = Episodes(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.0, 1.0, 0.0]))
    return GreedyEpisodes(episodes, None, "after training", "a 1.00, b 2.00")


class TestExport:
    def team(self, env: str = "predator_prey/small", **options: Any) -> TrainedPolicy:
        module = build(env=env, env_config=options)
        return TrainedPolicy(module, env, options)

    @pytest.mark.parametrize("onnx", [False, True])
    def test_all_files_are_written(self, tmp_path: Path, onnx: bool) -> None:
        policy = export_team(self.team(), tmp_path / "out", onnx=onnx)
        expected = {"policy.json", "weights.npz", CARD_NAME} | ({ONNX_NAME} if onnx else set())
        assert {path.name for path in (tmp_path / "out").iterdir()} == expected
        again = Policy.load(tmp_path / "out")
        obs = np.zeros((policy.spec.n_agents, policy.spec.obs_dim))
        assert np.array_equal(again.values(obs), policy.values(obs))
        if onnx:
            documented((tmp_path / "out" / ONNX_NAME).read_bytes())["begin"](1)
        card = (tmp_path / "out" / CARD_NAME).read_text()
        assert card.count("SHA-256") == (2 if onnx else 1)

    def test_played_episodes_are_those_of_the_environment(self) -> None:
        (episodes,) = played(self.team("matrix/two_step"))
        assert episodes.obs.shape[:2] == (40, 3)
        assert episodes.begins[::2].all()  # its episodes have two steps
        assert not episodes.begins[1::2].any()
        assert (episodes.obs[0] == episodes.obs[2]).all()

    def test_environments_of_others_are_not_started(self) -> None:
        team = self.team()
        team.env_name = "smac/3m"
        assert played(team) == ()
        team.env_name = "no.such.module:Game"
        assert played(team) == ()
