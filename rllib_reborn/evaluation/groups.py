"""Which runs are seeds of one experiment, and in what the experiments differ.

Runs belong to one experiment when their configs agree in everything that shapes learning. So two learning
rates are never averaged as if they were two seeds, and a run that was only given more time or another machine
is not set apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from rllib_reborn.evaluation.intervention_text import listed_interventions, short_value
from rllib_reborn.evaluation.runs import LeftOut, RunRecord, flatten_config

# Settings that define where, how long and how closely recorded a run was, not what it learns. They may differ
# between the seeds of one experiment; the report names those that do.
_NOT_LEARNING = frozenset({"extends", "seed", "stop", "evaluation", "resources", "checkpoint", "logging"})
# Measuring dormancy changes no weight and no random stream.
_NOT_LEARNING_IN_TRAINING = frozenset({"dormancy"})
_MISSING = "(not set)"
_MAX_LABEL_SETTINGS = 6


@dataclasses.dataclass(frozen=True)
class RunGroup:
    """The seeds of one experiment.

    Attributes:
        task: What the numbers may be compared within: the environment, and its settings where they differ.
        env: Environment name.
        algorithm: Algorithm name.
        label: Unique name within the task: the algorithm, its interventions, and the first settings that tell
            it from others where that is not enough: ``QMIX + ReBorn (paper, every=20k)``.
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
            labels = _labels([runs[0] for runs in members])
            named = sorted(zip(labels, members), key=lambda pair: (_treated(pair[1][0]), pair[0]))
            groups += [RunGroup(task, env, runs[0].algorithm, label, tuple(runs)) for label, runs in named]
    return groups, left_out


def baseline_of(group: RunGroup, groups: Sequence[RunGroup]) -> RunGroup | None:
    """What a group of a task is compared with: the same without interventions, where there is such a group; else the first.

    Args:
        group: One of ``groups``.
        groups: Those of one task, as :func:`group_runs` sorts them.

    Returns:
        Another group; ``None`` for the first where it is not treated.
    """
    if _treated(group.runs[0]):
        bare = _identity({key: value for key, value in group.runs[0].config.items() if key != "interventions"})
        for other in groups:
            if not _treated(other.runs[0]) and _identity(other.runs[0].config) == bare:
                return other
    return None if group is groups[0] else groups[0]


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


def learning_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that shape learning, by their dotted names, and their values."""
    return flatten_config(_learning(config))


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
    # No interventions, an empty list of them and null are the same experiment.
    flat = {key: text for key, text in _setting_texts(_learning(config)).items() if text not in ("[]", "{}", "null")}
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


def _treated(run: RunRecord) -> bool:
    return bool(listed_interventions(run.config))


def _section(runs: Sequence[RunRecord], names: Sequence[str]) -> dict[str, str]:
    config = runs[0].config
    return _setting_texts({name: config[name] for name in names if config.get(name)})


def _learning(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that shapes learning."""
    kept = {key: value for key, value in config.items() if key not in _NOT_LEARNING}
    training = kept.get("training")
    if isinstance(training, Mapping):
        kept["training"] = {k: v for k, v in training.items() if k not in _NOT_LEARNING_IN_TRAINING}
    return kept


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


# A setting that a label may name: (place, full name), place 0 for the algorithm, i + 1 for intervention i.
_Settings: TypeAlias = dict[tuple[int, str], str]


def _labels(runs: Sequence[RunRecord]) -> list[str]:
    """A short name of its own for each of the experiments of one task, given one run of each."""
    bases = [_label(run, {}) for run in runs]
    settings = [_label_settings(run) for run in runs]
    labels = []
    for run, base, own in zip(runs, bases, settings):
        rivals = [other for other_base, other in zip(bases, settings) if other_base == base]
        chosen, more = _distinguishing(rivals)
        by_place: dict[int, list[str]] = {}
        for place, name in chosen:
            by_place.setdefault(place, []).append(f"{_short_name(name)}={own.get((place, name), _MISSING)}")
        if more:
            by_place[chosen[-1][0]].append("...")
        labels.append(_label(run, by_place))
    counts: dict[str, int] = {}
    numbered = []
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
        numbered.append(f"{label} #{counts[label]}" if labels.count(label) > 1 else label)
    return numbered


def _label(run: RunRecord, settings: Mapping[int, Sequence[str]]) -> str:
    """Algorithm and interventions, each with its settings in brackets."""
    own = f" ({', '.join(settings[0])})" if 0 in settings else ""
    listed = listed_interventions(run.config)
    return " + ".join([run.algorithm + own, *(one.label(settings.get(i + 1, ())) for i, one in enumerate(listed))])


def _label_settings(run: RunRecord) -> _Settings:
    config = _learning(run.config)
    flat = flatten_config({key: value for key, value in config.items() if key != "interventions"})
    settings = {(0, key): value for key, value in flat.items()}
    for i, one in enumerate(listed_interventions(config)):
        settings |= {(i + 1, key): value for key, value in one.settings.items()}
    return {key: short_value(value) for key, value in settings.items() if value not in (None, [], {})}


def _short_name(name: str) -> str:
    """``lr`` of ``training.lr``, ``epsilon.0`` of ``training.epsilon.0``."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


def _distinguishing(rivals: Sequence[_Settings]) -> tuple[list[tuple[int, str]], bool]:
    """Settings that tell experiments of one name apart: the first that differs, and a further one only where it
    tells more of them apart; and whether they differ in others as well."""
    keys = list(dict.fromkeys(key for own in rivals for key in own))
    differing = [key for key in keys if len({own.get(key, _MISSING) for own in rivals}) > 1]
    chosen: list[tuple[int, str]] = []

    def kinds(chosen: Sequence[tuple[int, str]]) -> int:
        return len({tuple(own.get(key, _MISSING) for key in chosen) for own in rivals})

    for key in differing:
        if len(chosen) < _MAX_LABEL_SETTINGS and kinds([*chosen, key]) > kinds(chosen):
            chosen.append(key)
    return chosen, len(differing) > len(chosen)
