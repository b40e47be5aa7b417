"""The model card of an exported policy: Markdown with a front matter as model hubs read it, made of facts alone.

What is not known is stated as not known. Nothing of it is a place on a machine, or a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from rllib_reborn._version import __version__
from rllib_reborn.evaluation import Interval, mean_interval, proportion_interval
from rllib_reborn.evaluation.text import format_interval, format_percent
from rllib_reborn.policy import PolicySpec
from rllib_reborn.secret_settings import without_secrets
from rllib_reborn.studies.training_facts import GreedyEpisodes, TrainingFacts

UNKNOWN = "not known"
#: Sections of a run's settings that are shown; the others are about machines.
_SETTINGS = ("seed", "stop", "training", "interventions", "evaluation")
#: Agents that are named in the table.
_MOST_NAMES = 20

#: How the ONNX file is used; docs/portable_policy.md has the same lines.
ONNX_LINES = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("my_policy/policy.onnx")
shapes = {given.name: given.shape[1:] for given in session.get_inputs()}
names = [made.name for made in session.get_outputs()]


def begin(games):  # what is remembered at the start of an episode
    start = {"last_actions": np.int64(-1), "hidden": np.float32(0)}
    return {name: np.full((games, *shapes[name]), value) for name, value in start.items() if name in shapes}


def act(obs, action_mask, state):  # [B, n, d], [B, n, A] -> [B, n], and the state of the next step
    given = {"obs": np.asarray(obs, np.float32), "action_mask": np.asarray(action_mask, bool), **state}
    made = dict(zip(names, session.run(None, given)))
    following = {"last_actions": made["actions"].copy(), "hidden": made.get("next_hidden")}
    return made["actions"], {name: following[name] for name in state}
"""


def model_card(spec: PolicySpec, facts: TrainingFacts, *, files: Mapping[str, str], onnx: bool) -> str:
    """The text of ``README.md`` beside a policy.

    Args:
        spec: Of the policy.
        facts: Of its training.
        files: SHA-256 of the files beside it, by name.
        onnx: Whether there is an ONNX file among them.
    """
    lines = [
        *_front_matter(spec, facts, onnx),
        f"# {_text(spec.algorithm or 'A team')} on {_text(spec.env or 'an environment that is not known')}",
        "",
        "A cooperative team, trained by value factorization and exported by "
        f"rllib_reborn {__version__}. It acts greedily; the mixer of its training is not part of it.",
        "",
        "## What it is",
        "",
        *_table(_team(spec)),
        "",
        "## How it was trained",
        "",
        *_table(_training(facts)),
        "",
        *_evaluation(spec, facts.evaluated),
        *_dormancy(facts),
        *_usage(spec, onnx),
        "## Files",
        "",
        *_table({f"`{name}`": f"SHA-256 `{digest}`" for name, digest in files.items()}, head=("file", "checksum")),
        "",
        *_settings(facts),
        "## What is not known",
        "",
        *(f"- {line}" for line in _not_known(facts)),
    ]
    return "\n".join(lines) + "\n"


def _front_matter(spec: PolicySpec, facts: TrainingFacts, onnx: bool) -> list[str]:
    tags = ["reinforcement-learning", "multi-agent-reinforcement-learning", "value-factorization"]
    tags += [tag for tag in (spec.algorithm.lower(), spec.env) if tag] + ["onnx"] * onnx
    matter: dict[str, Any] = {"library_name": "rllib-reborn", "pipeline_tag": "reinforcement-learning", "tags": tags}
    if facts.evaluated is not None and spec.env:
        returns = facts.evaluated.policy.returns
        metric = {"type": "mean_reward", "name": "mean return", "value": round(float(returns.mean()), 4)}
        result = {
            "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
            "dataset": {"type": spec.env, "name": spec.env},
            "metrics": [metric],
        }
        matter["model-index"] = [{"name": spec.algorithm or "policy", "results": [result]}]
    text = yaml.safe_dump(matter, sort_keys=False, allow_unicode=True, width=1_000)
    licence = "# license: to be chosen by whoever trained it, e.g. apache-2.0; nothing here chooses one"
    return ["---", *text.splitlines(), licence, "---", ""]


def _team(spec: PolicySpec) -> dict[str, str]:
    shown = ", ".join(_code(name) for name in spec.agent_ids[:_MOST_NAMES])
    more = len(spec.agent_ids) - _MOST_NAMES
    nets = len({*spec.net_of_agent})
    memory = "a GRU" if spec.recurrent else "feed-forward"
    reads = ["its observation", *["its last action"] * spec.last_action, *["its number"] * spec.agent_id]
    parts = "; ".join(str(part) for part in spec.obs_parts)
    scale = f"; multiplied by {spec.obs_scale:g} inside" if spec.obs_scale != 1 else ""
    hidden = ", ".join(what for what in (spec.normalisation, spec.activation) if what not in ("none", "relu"))
    return {
        "algorithm": _code(spec.algorithm) if spec.algorithm else UNKNOWN,
        "environment": _code(spec.env) if spec.env else UNKNOWN,
        "its options": _code(str(without_secrets(spec.env_config))) if spec.env_config else "none",
        "agents": f"{spec.n_agents}: {shown}" + (f" and {more} more" if more > 0 else ""),
        "observation of an agent": f"{spec.obs_dim} numbers{scale}" + (f": {_text(parts)}" if parts else ""),
        "actions of an agent": f"{spec.n_actions}, numbered from 0; a mask says which are allowed",
        "each agent reads": ", ".join(reads),
        "networks": f"{nets} ({'all agents share one' if nets == 1 else f'for {spec.n_agents} agents'}), {memory}, "
        f"{spec.hidden_dim} hidden neurons, {spec.fc_layers} layer{'s' if spec.fc_layers > 1 else ''} in front"
        + (f", {hidden}" if hidden else ""),
        "encoder": _code(spec.encoder) if spec.encoder else "none",
        "what acting compares": _COMPARED.get(spec.agent, spec.agent),
    }


_COMPARED = {
    "value": "the value of each action",
    "quantile": "the mean over the quantiles of each action's return",
    "risk": "the conditional value at risk of each action's return",
}


def _training(facts: TrainingFacts) -> dict[str, str]:
    fork = facts.fork
    began = "anew" if facts.run else UNKNOWN
    if fork is not None:
        began = f"with what the run {_code(fork.source)} had learnt in {fork.source_env_steps:,} env steps"
    kinds = facts.config.get("interventions")
    named = [str(one.get("kind")) for one in kinds if isinstance(one, Mapping)] if isinstance(kinds, list) else []
    treated = "none" if facts.run and not named else UNKNOWN
    if named:
        count = "not known how often" if facts.interventions is None else f"{facts.interventions:,} applications"
        treated = f"{', '.join(map(_code, named))}: {count}"
    return {
        "env steps": _number(facts.env_steps),
        "gradient steps": _number(facts.updates),
        "seed": UNKNOWN if not facts.run else "none was set" if facts.seed is None else str(facts.seed),
        "seeds": "one run; how others of other seeds turn out is not in it",
        "began": began,
        "interventions": treated,
        "checkpoint": _code(facts.checkpoint) if facts.checkpoint else UNKNOWN,
        "run": ", id ".join(map(_code, filter(None, (facts.run, facts.run_id)))) or UNKNOWN,
        "game's version": ", ".join(map(_code, facts.game_versions)) or ("the package's own" if facts.run else UNKNOWN),
        "trained with": ", ".join(f"{name} {version}" for name, version in facts.versions.items()) or UNKNOWN,
    }


def _evaluation(spec: PolicySpec, found: GreedyEpisodes | None) -> list[str]:
    if found is None:
        return [
            "## Evaluation",
            "",
            "No greedy episodes of these weights are on record. `rllib-reborn evaluate CHECKPOINT` plays some.",
            "",
        ]
    count = len(found.policy.returns)
    rows: dict[str, str] = {"return": format_interval(mean_interval(found.policy.returns))}
    if found.policy.won is not None:
        rows["win rate"] = format_percent(_proportion(found.policy.won))
    if found.random is not None:
        rows["return of a random policy"] = format_interval(mean_interval(found.random.returns))
        if found.random.won is not None:
            rows["win rate of a random policy"] = format_percent(_proportion(found.random.won))
    if found.of_tasks:
        rows["mean return on each task"] = _text(found.of_tasks)
    return [
        "## Evaluation",
        "",
        f"{count:,} greedy episode{'s' if count > 1 else ''} of these weights, {found.when}. In brackets 95 % intervals "
        "over episodes of this one policy: they say nothing about another training.",
        "",
        *_table(rows),
        "",
    ]


def _proportion(won: Any) -> Interval:
    return proportion_interval(int(won.sum()), len(won))


def _dormancy(facts: TrainingFacts) -> list[str]:
    lines = ["## Dormant neurons", ""]
    if not facts.dormancy:
        return [*lines, "Not measured in this run." if facts.run else "Not known.", ""]
    rows = {
        name: f"{100 * one.fraction:.1f} %, measured after {one.env_steps:,} env steps"
        for name, one in facts.dormancy.items()
    }
    return [*lines, *_table(rows, head=("network in training", "share of dormant neurons")), ""]


def _usage(spec: PolicySpec, onnx: bool) -> list[str]:
    trust = ", trust_encoder=True" if spec.has_own_encoder else ""
    lines = [
        "## How to use it",
        "",
        "With torch and rllib_reborn, without Ray; agents in the order above, `my_policy` is this folder:",
        "",
        "```python",
        "from rllib_reborn import Policy",
        "",
        f'policy, state = Policy.load("my_policy"{trust}), None',
        "actions, state = policy.act(obs, action_mask, state)  # every step; state=None begins an episode",
        "```",
        "",
    ]
    if spec.has_own_encoder:
        lines += [
            f"Loading imports its encoder, {_code(spec.encoder)}, which is code that is not in this folder and has to be "
            "installed.",
            "",
        ]
    if onnx:
        lines += [
            "With onnxruntime and numpy alone:",
            "",
            "```python",
            *ONNX_LINES.splitlines(),
            "```",
            "",
            "An agent whose mask allows nothing, or whose numbers are not finite, gets the action -1. Games that begin a "
            "new episode get the rows of `begin` again.",
            "",
        ]
    return lines


def _settings(facts: TrainingFacts) -> list[str]:
    shown = {name: facts.config[name] for name in _SETTINGS if name in facts.config}
    if not shown:
        return ["## Hyperparameters", "", "Not known.", ""]
    text = yaml.safe_dump(without_secrets(shown), sort_keys=False, allow_unicode=True, width=1_000)
    return ["## Hyperparameters", "", "```yaml", *text.replace("```", "'''").splitlines(), "```", ""]


def _not_known(facts: TrainingFacts) -> list[str]:
    lines = ["How it acts in games other than those that it was trained on."]
    if facts.reason:
        lines.insert(0, f"Its training: {_text(facts.reason)}.")
    if facts.evaluated is None:
        lines.append("What it reaches in greedy episodes.")
    return [*lines, "The names of its actions: environments number them."]


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _table(rows: Mapping[str, str], head: tuple[str, str] = ("", "")) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]


def _text(value: str) -> str:
    """A text of others as it can stand in a line or a cell: no markup of theirs."""
    plain = " ".join(value.split()).replace("\\", "\\\\")
    for mark in "|<>*_`[]":
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def _code(value: str) -> str:
    """The same as code."""
    return "`" + " ".join(value.split()).replace("`", "'").replace("|", "\\|") + "`"
