"""Which runs are seeds of one experiment, and in what the experiments differ.

Runs belong to one experiment when their configs agree in everything that shapes learning. So two learning
rates are never averaged as if they were two seeds, and a run that was only given more time or another machine
is not set apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rllib_reborn.evaluation.runs import LeftOut, RunRecord, flatten_config

# Settings that say where, how long and how well watched a run was, not what it learns. They may differ
# between the seeds of one experiment; the report names those that do.
_NOT_LEARNING = frozenset({"extends", "seed", "stop", "evaluation", "resources", "checkpoint", "logging"})
_MISSING = "(not set)"
_MAX_LABEL_SETTINGS = 2


@dataclasses.dataclass(frozen=True)
class RunGroup:
    """The seeds of one experiment.

    Attributes:
        task: What the numbers may be compared within: the environment, and its settings where they differ.
        env: Environment name.
        algorithm: Algorithm name.
        label: Unique name within the task: the algorithm, its interventions, and settings where that is not
            enough.
        runs: Sorted by seed.
    """

    task: str
    env: str
    algorithm: str
    label: str
    runs: tuple[RunRecord, ...]

    @property
    def seeds(self) -> list[int | None]:
        """Seed of each run."""
        return [run.seed for run in self.runs]


def group_runs(records: Sequence[RunRecord]) -> tuple[list[RunGroup], list[LeftOut]]:
    """Groups runs by (task, algorithm, experiment).

    Two runs of one experiment with one seed are no independent evidence: the one that got further is kept (of
    equals the last by path), the other is returned as left out. Unseeded runs are all kept.

    Returns:
        Groups sorted by task and label (the one without interventions first), and the runs left out.
    """
    experiments: dict[str, list[RunRecord]] = {}
    for record in records:
        experiments.setdefault(_identity(record.config), []).append(record)
    left_out: list[LeftOut] = []
    kept = [_one_per_seed(runs, left_out) for runs in experiments.values()]
    groups = []
    for env in sorted({runs[0].env for runs in kept}):
        in_env = [runs for runs in kept if runs[0].env == env]
        tasks = _names([env] * len(in_env), [_section(runs, ("env_config",)) for runs in in_env])
        for task in sorted(set(tasks)):
            members = [runs for runs, name in zip(in_env, tasks) if name == task]
            labels = _names([_base_label(runs[0]) for runs in members], [_learning(runs) for runs in members])
            labels = _unique(labels)
            named = sorted(zip(labels, members), key=lambda pair: (bool(_kinds(pair[1][0])), pair[0]))
            groups += [RunGroup(task, env, runs[0].algorithm, label, tuple(runs)) for label, runs in named]
    return groups, left_out


def config_differences(groups: Sequence[RunGroup]) -> dict[str, list[str]]:
    """Settings in which the groups differ: ``{"training.lr": [one text per group]}``, all settings but the
    seed.

    A setting that differs between the runs of one group reads ``varies: a, b``.
    """
    flats = [[_setting_texts(run.config) for run in group.runs] for group in groups]
    keys = sorted({key for runs in flats for flat in runs for key in flat if key != "seed"})
    table = {}
    for key in keys:
        row = []
        for runs in flats:
            texts = sorted({flat.get(key, _MISSING) for flat in runs})
            row.append(texts[0] if len(texts) == 1 else f"varies: {', '.join(texts)}")
        if len(set(row)) > 1:
            table[key] = row
    return table


def differences_within(group: RunGroup) -> list[str]:
    """Names of the settings, other than the seed, in which the runs of one group differ."""
    flats = [_setting_texts(run.config) for run in group.runs]
    keys = sorted({key for flat in flats for key in flat if key != "seed"})
    return [key for key in keys if len({flat.get(key, _MISSING) for flat in flats}) > 1]


def split_env(env: str) -> tuple[str, str]:
    """Family and task of an environment name, which are split at its ``:`` or first ``/``."""
    for mark in (":", "/"):
        family, found, task = env.partition(mark)
        if found and family and task:
            return family, task
    return env, env


def _setting_texts(config: Mapping[str, Any]) -> dict[str, str]:
    return {key: _text(value) for key, value in flatten_config(config).items()}


def _text(value: Any) -> str:
    """A value as YAML would show it, so that 1 and True, or None and "None", stay apart."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if value not in ("", "null", "true", "false") else repr(value)
    return repr(value)


def _identity(config: Mapping[str, Any]) -> str:
    learning = {key: value for key, value in config.items() if key not in _NOT_LEARNING}
    # No interventions, an empty list of them and null are the same experiment.
    flat = {key: text for key, text in _setting_texts(learning).items() if text not in ("[]", "{}", "null")}
    return repr(sorted(flat.items()))


def _one_per_seed(runs: Sequence[RunRecord], left_out: list[LeftOut]) -> list[RunRecord]:
    best: dict[Any, RunRecord] = {}
    for number, run in enumerate(sorted(runs, key=lambda run: (run.env_steps, run.path.as_posix()))):
        key = ("unseeded", number) if run.seed is None else run.seed
        if key in best:
            left_out.append(
                LeftOut(
                    best[key].path,
                    f"same experiment and seed {run.seed} as {run.name}, which got at least as far",
                )
            )
        best[key] = run
    return sorted(best.values(), key=lambda run: (run.seed is None, run.seed or 0, run.path.as_posix()))


def _kinds(run: RunRecord) -> list[str]:
    """Kinds of the interventions, in order."""
    interventions = run.config.get("interventions")
    entries = interventions if isinstance(interventions, list) else []
    return [str(entry.get("kind", "?")) if isinstance(entry, Mapping) else str(entry) for entry in entries]


def _base_label(run: RunRecord) -> str:
    return " + ".join([run.algorithm, *_kinds(run)])


def _section(runs: Sequence[RunRecord], names: Sequence[str]) -> dict[str, str]:
    config = runs[0].config
    return _setting_texts({name: config[name] for name in names if config.get(name)})


def _learning(runs: Sequence[RunRecord]) -> dict[str, str]:
    return _section(runs, [name for name in runs[0].config if name not in _NOT_LEARNING])


def _names(bases: Sequence[str], settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Each base name, with the settings that tell it from others of the same base name in brackets."""
    names = []
    for base, own in zip(bases, settings):
        rivals = [other for other_base, other in zip(bases, settings) if other_base == base]
        keys = sorted({key for flat in rivals for key in flat})
        telling = [key for key in keys if len({flat.get(key, _MISSING) for flat in rivals}) > 1]
        parts = [f"{key.rpartition('.')[2]}={own.get(key, _MISSING)}" for key in telling]
        names.append(f"{base} ({', '.join(parts)})" if parts else base)
    return names


def _unique(labels: Sequence[str]) -> list[str]:
    """Long bracketed labels are cut, and equal labels numbered, so that each stays short and its own."""
    short = []
    for label in labels:
        parts = label.split(", ")
        many = len(parts) > _MAX_LABEL_SETTINGS
        short.append(f"{', '.join(parts[:_MAX_LABEL_SETTINGS])}, ...)" if many else label)
    seen: dict[str, int] = {}
    result = []
    for label in short:
        seen[label] = seen.get(label, 0) + 1
        result.append(f"{label} #{seen[label]}" if short.count(label) > 1 else label)
    return result
