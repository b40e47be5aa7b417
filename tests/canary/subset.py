"""Which tests are run on another Ray: what touches Ray most, a few minutes in all."""

from __future__ import annotations

#: What -> pytest's names of files or tests.
SUBSET = {
    "ray_internals": ("tests/runtime/test_ray_internals.py",),
    "settings": ("tests/algorithms/test_rllib_settings.py", "tests/algorithms/test_rllib_calls.py"),
    "remote runners": (
        "tests/algorithms/test_distributed.py::test_remote_evaluation_plays_exactly_the_episodes_asked_for",
        "tests/algorithms/test_checkpoints.py::test_restored_remote_runners_act_with_the_restored_weights",
    ),
    "remote learners": (
        "tests/algorithms/test_distributed.py::test_two_learners_hold_equal_weights_and_do_what_one_does",
        "tests/callbacks/test_plasticity_on_two_learners.py::test_many_updates_and_interventions_leave_both_ranks_equal",
    ),
    "resume": ("tests/algorithms/test_checkpoints.py::test_resumed_equals_uninterrupted_to_the_bit",),
    "tune": ("tests/algorithms/test_tune.py::test_tuner_runs_two_trials_and_their_checkpoints_restore",),
    "interventions": ("tests/callbacks/test_plasticity_callbacks.py::test_every_kind_trains",),
    "RLlib's own algorithms": ("tests/callbacks/test_stock.py::test_stock_algorithms_train_with_it_and_restore_it",),
    "train, evaluate, report": (
        "tests/cli/test_train_end_to_end.py::test_the_run_folder_has_what_the_architecture_promises",
        "tests/cli/test_train_end_to_end.py::test_evaluate_and_report",
    ),
    "export": ("tests/policy/test_export_cli.py",),
}


def group_of(test: str) -> str:
    """The group of a test by pytest's name of it; one with parameters belongs to the one without.

    Raises:
        KeyError: It is in none.
    """
    for group, names in SUBSET.items():
        if any(test == name or test.startswith((f"{name}::", f"{name}[")) for name in names):
            return group
    raise KeyError(f"{test} is in no group of tests/canary/subset.py.")
