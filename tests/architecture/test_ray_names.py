"""What the package imports of Ray outside ``ray_internals.py`` and Ray calls neither public nor beta, with its reason."""

from __future__ import annotations

import pytest

from tests.architecture.made_up import package
from tests.architecture.ray_names import imported_names, stability
from tests.architecture.source_files import PACKAGE

_EXTENDED = "an algorithm of RLlib is classes that extend it; RLlib's documentation of the new API stack does so"
_CONTRACT = "a method that RLlib calls hands it over or takes it, by its documentation"
_TUNE = "Tune's documentation of own search algorithms, schedulers and spaces uses it"
#: (Module, name) -> (what Ray says of it, why it is used all the same).
NOT_PUBLIC = {
    ("ray.rllib.algorithms.algorithm", "Algorithm"): ("none", _EXTENDED),
    ("ray.rllib.algorithms.algorithm_config", "AlgorithmConfig"): ("none", _EXTENDED),
    ("ray.rllib.callbacks.callbacks", "RLlibCallback"): ("none", _EXTENDED),
    ("ray.rllib.core.columns", "Columns"): ("developer", _CONTRACT),
    ("ray.rllib.core.learner.learner", "Learner"): ("alpha", _EXTENDED),
    ("ray.rllib.core.learner.learner_group", "LearnerGroup"): ("alpha", _CONTRACT),
    ("ray.rllib.core.learner.torch.torch_learner", "TorchLearner"): ("none", _EXTENDED),
    ("ray.rllib.core.learner.utils", "make_target_network"): ("none", "TargetNetworkAPI asks for what it makes"),
    ("ray.rllib.core.rl_module.apis", "InferenceOnlyAPI"): ("alpha", _EXTENDED),
    ("ray.rllib.core.rl_module.apis", "QNetAPI"): ("alpha", _EXTENDED),
    ("ray.rllib.core.rl_module.apis", "TargetNetworkAPI"): ("alpha", _EXTENDED),
    ("ray.rllib.core.rl_module.apis", "ValueFunctionAPI"): ("alpha", _EXTENDED),
    ("ray.rllib.core.rl_module.torch.torch_rl_module", "TorchRLModule"): ("none", _EXTENDED),
    ("ray.rllib.env.env_context", "EnvContext"): ("developer", _CONTRACT),
    ("ray.rllib.env.env_runner", "EnvRunner"): ("alpha", _EXTENDED),
    ("ray.rllib.env.env_runner_group", "EnvRunnerGroup"): ("developer", _CONTRACT),
    ("ray.rllib.env.wrappers.group_agents_wrapper", "GroupAgentsWrapper"): (
        "none",
        "environments of users are made of it",
    ),
    ("ray.rllib.policy.sample_batch", "MultiAgentBatch"): ("none", _CONTRACT),
    ("ray.rllib.policy.sample_batch", "SampleBatch"): ("none", _CONTRACT),
    ("ray.rllib.utils.annotations", "override"): ("none", "says that a method overrides one of RLlib's; does nothing"),
    ("ray.rllib.utils.checkpoints", "Checkpointable"): ("alpha", _EXTENDED),
    ("ray.rllib.utils.framework", "get_device"): ("none", "an env runner puts its module where RLlib's own does"),
    ("ray.rllib.utils.metrics.metrics_logger", "MetricsLogger"): ("alpha", _CONTRACT),
    ("ray.rllib.utils.torch_utils", "convert_to_torch_tensor"): ("none", "a learner makes batches as RLlib's own does"),
    ("ray.tune", "TuneConfig"): ("alpha", _TUNE),
    ("ray.tune.experiment", "Trial"): ("developer", _TUNE),
    ("ray.tune.registry", "register_env"): ("developer", "RLlib's documentation of own environments uses it"),
    ("ray.tune.schedulers", "TrialScheduler"): ("developer", _TUNE),
    ("ray.tune.search", "Searcher"): ("developer", _TUNE),
    ("ray.tune.search.optuna", "OptunaSearch"): ("none", _TUNE),
    ("ray.tune.search.sample", "Domain"): ("developer", _TUNE),
    ("ray.util.metrics", "Gauge"): ("developer", "Ray's documentation of own metrics uses it"),
}


def test_each_name_that_ray_does_not_call_public_has_a_reason() -> None:
    found = {one: stability(*one) for one in imported_names(PACKAGE)}
    here = {one: said for one, said in found.items() if said not in ("public", "beta", "value")}
    assert here == {one: said for one, (said, _) in NOT_PUBLIC.items()}


def test_no_deprecated_name_is_used() -> None:
    assert [one for one in imported_names(PACKAGE) if stability(*one) == "deprecated"] == []


def test_imports_are_found_outside_ray_internals_alone(tmp_path) -> None:
    inside = "def f():\n    from ray.rllib.utils import force_list\n"
    text = f"import ray.util\nfrom ray import tune as t\n{inside}from .ray import x"
    files = {"a.py": text, "runtime/ray_internals.py": "from ray.util import log_once"}
    assert imported_names(package(tmp_path, files)) == {
        ("ray.util", ""),
        ("ray", "tune"),
        ("ray.rllib.utils", "force_list"),
    }


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        ("ray.exceptions", "RayError", "public"),
        ("ray.rllib.core.learner.learner", "Learner", "alpha"),
        ("ray.rllib.core.rl_module.rl_module", "RLModule", "beta"),
        ("ray.util", "log_once", "developer"),
        ("ray.rllib.core.learner.torch.torch_learner", "TorchLearner", "none"),
        ("ray", "tune", "value"),
        ("ray.rllib.core", "DEFAULT_MODULE_ID", "value"),
    ],
)
def test_what_ray_says(module: str, name: str, said: str) -> None:
    assert stability(module, name) == said
