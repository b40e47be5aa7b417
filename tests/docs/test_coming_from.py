"""The pages for those who come from other systems: every key of theirs has a row, every key of ours exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pydantic
import pytest

from rllib_reborn import QMIXConfig
from rllib_reborn.algorithm_names import ALGORITHM_NAMES
from rllib_reborn.experiments.schema import experiment_model
from tests.docs_code import DOCS


def words(text: str) -> list[str]:
    return text.split()


#: Keys of the config files that docs/coming_from_pymarl.md names, at the commits that it names.
PYMARL = words(
    """
    runner mac env env_args batch_size_run test_nepisode test_interval test_greedy log_interval
    runner_log_interval learner_log_interval t_max use_cuda buffer_cpu_only use_tensorboard save_model
    save_model_interval checkpoint_path evaluate load_step save_replay local_results_path gamma batch_size
    buffer_size lr critic_lr optim_alpha optim_eps grad_norm_clip agent rnn_hidden_dim obs_agent_id
    obs_last_action repeat_id label action_selector epsilon_start epsilon_finish epsilon_anneal_time
    target_update_interval agent_output_type learner double_q mixer mixing_embed_dim hypernet_layers
    hypernet_embed name
    """
)
EPYMARL = words(
    """
    common_reward reward_scalarisation use_wandb wandb_team wandb_project wandb_mode wandb_save_model render
    hidden_dim add_value_last_step hypergroup evaluation_epsilon target_update_interval_or_tau obs_individual_obs
    standardise_returns standardise_rewards use_rnn key time_limit pretrained_wrapper
    """
)
PYMARL2 = words(
    """
    run optimizer td_lambda q_lambda use_layer_norm use_orthogonal gain use_per per_alpha per_beta return_priority
    """
)
OLD_RLLIB = words(
    """
    mixer mixing_embed_dim double_q target_network_update_freq replay_buffer_config optim_alpha optim_eps
    grad_clip grad_norm_clipping grad_clip_by simple_optimizer lr train_batch_size
    num_steps_sampled_before_learning_starts model framework_str rollout_fragment_length batch_mode
    min_sample_timesteps_per_iteration exploration_config worker_side_prioritization
    """
)
MARLLIB = words(
    """
    local_mode share_policy evaluation_interval framework num_workers num_gpus num_cpus_per_worker
    num_gpus_per_worker checkpoint_freq checkpoint_end restore_path stop_iters stop_timesteps stop_reward seed
    local_dir batch_episode lr rollout_fragment_length buffer_size target_network_update_freq final_epsilon
    epsilon_timesteps optimizer reward_standardize mixer_embedding mixer_arch core_arch hidden_state_size
    """
)


def rows(page: Path, columns: int = 3) -> list[list[str]]:
    """Cells of all rows of tables with so many columns whose first cell is one key of theirs."""
    cells = [
        [cell.strip() for cell in line[1:-1].split("|")]
        for line in page.read_text().splitlines()
        if line.startswith("| ") and line.endswith("|")
    ]
    return [row for row in cells if len(row) == columns and re.fullmatch(r"`\w+`", row[0])]


def our_keys() -> set[str]:
    """Every key of an experiment, of any algorithm, with dots; groups of keys too."""
    found: set[str] = set()
    for algorithm in ALGORITHM_NAMES:
        _add_keys(experiment_model(algorithm), "", found)
    return found


def _add_keys(model: type[pydantic.BaseModel], prefix: str, found: set[str]) -> None:
    for name, field in model.model_fields.items():
        found.add(prefix + name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
                _add_keys(kind, f"{prefix}{name}.", found)


@pytest.mark.parametrize(
    ("page", "columns", "theirs"),
    [
        ("coming_from_pymarl.md", 3, [*PYMARL, *EPYMARL, *PYMARL2]),
        ("coming_from_rllib_qmix.md", 4, OLD_RLLIB),
        ("coming_from_marllib.md", 3, MARLLIB),
    ],
)
def test_every_key_of_theirs_has_one_row(page: str, columns: int, theirs: list[str]) -> None:
    keys = [row[0].strip("`") for row in rows(DOCS / page, columns)]
    assert sorted(set(theirs) - set(keys)) == []
    assert sorted({key for key in keys if keys.count(key) > 1}) == []


@pytest.mark.parametrize("page", ["coming_from_pymarl.md", "coming_from_marllib.md"])
def test_every_key_of_ours_exists(page: str) -> None:
    known = our_keys()
    sections = {key.partition(".")[0] for key in known if "." in key}
    for row in rows(DOCS / page):
        assert row[1] == "none" or row[1].strip("`") in known, row
    # Also in sentences: what looks like a key of an experiment is one.
    text = (DOCS / page).read_text()
    for key in re.findall(rf"`((?:{'|'.join(sections)})\.[\w.]+)(?:=[^`]*)?`", text):
        assert key in known, key


def test_a_wrong_key_would_be_found() -> None:
    known = our_keys()
    assert {"training.mixer.embed_dim", "training.algorithm_settings.weighting", "stop.env_steps", "seed"} <= known
    assert "training.mixer.embedding" not in known
    assert "training.critic_lr" not in known


def test_every_call_for_the_old_qmix_config_works() -> None:
    calls = 0
    for row in rows(DOCS / "coming_from_rllib_qmix.md", columns=4):
        if row[2] != "none":
            config = eval(
                f"QMIXConfig().environment('matrix/two_step').{row[2].strip('`')}", {"QMIXConfig": QMIXConfig}
            )
            config.validate()
            calls += 1
    assert calls > 12
