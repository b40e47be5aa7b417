"""Which runs are seeds of one experiment, and in what the experiments differ.

Runs belong to one experiment when their configs agree in everything that shapes learning, and they begin alike. So
two learning rates are never averaged as if they were two seeds, nor is a fork with a run that began anew; and a run
that was only given more time or another machine is not set apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from rllib_reborn.evaluation.intervention_text import listed_interventions, short_value
from rllib_reborn.evaluation.origin import beginnings, is_searched
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
            it from others where that is not enough: ``QMIX + ReBorn (paper, every=20k)``. Settings that a sweep
            searches are all named, and so is a beginning that others do not share.
        runs: Sorted by seed.
        beginning: ``forked at 20,032``; empty where the runs began anew.
    """

    task: str
    env: str
    algorithm: str
    label: str
    runs: tuple[RunRecord, ...]
    beginning: str = ""

    @property
    def is_control(self) -> bool:
        """Whether sweep or interventions say that others are compared with it."""
        return self.runs[0].place.is_arm or not _treated(self.runs[0])

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
    experiments: dict[tuple[str, ...], list[RunRecord]] = {}
    begun: dict[tuple[str, ...], str] = {}
    for record, beginning in zip(records, beginnings([record.fork for record in records])):
        key = _experiment(record, beginning)
        experiments.setdefault(key, []).append(record)
        begun[key] = beginning
    left_out: list[LeftOut] = []
    kept = [(_one_per_seed(runs, left_out), begun[key]) for key, runs in experiments.items()]
    groups = []
    for env in sorted({runs[0].env for runs, _ in kept}):
        in_env = [(runs, beginning) for runs, beginning in kept if runs[0].env == env]
        tasks = _names([env] * len(in_env), [_section(runs, ("env_config",)) for runs, _ in in_env])
        for task in sorted(set(tasks)):
            members = [member for member, name in zip(in_env, tasks) if name == task]
            labels = _labels([runs[0] for runs, _ in members], [beginning for _, beginning in members])
            named = [
                RunGroup(task, env, runs[0].algorithm, label, tuple(runs), beginning)
                for label, (runs, beginning) in zip(labels, members)
            ]
            groups += sorted(named, key=lambda group: (_treated(group.runs[0]), group.label))
    return groups, left_out


def baseline_of(group: RunGroup, groups: Sequence[RunGroup]) -> RunGroup | None:
    """What a group of a task is compared with: the same without interventions, where there is such a group (rather one with
    its beginning); else the first arm beside the sweep's points, else the first group.

    Args:
        group: One of ``groups``.
        groups: Those of one task, as :func:`group_runs` sorts them.

    Returns:
        Another group; ``None`` for one that others are compared with.
    """
    if _treated(group.runs[0]):
        bare = _identity({key: value for key, value in group.runs[0].config.items() if key != "interventions"})
        same = [one for one in groups if not _treated(one.runs[0]) and _identity(one.runs[0].config) == bare]
        if same:
            return next((one for one in same if one.beginning == group.beginning), same[0])
    first = next((one for one in groups if one.runs[0].place.is_arm), groups[0])
    return None if group is first else first


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


def experiment_settings(run: RunRecord) -> dict[str, Any]:
    """Settings that shape learning, and those that the run's sweep searches, by their dotted names, and their values."""
    return flatten_config(_learning(run.config)) | _searched_besides(run)


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


def _experiment(run: RunRecord, beginning: str) -> tuple[str, ...]:
    """What runs of one experiment have in common."""
    searched = {key: _text(value) for key, value in _searched_besides(run).items()}
    # Of forks with equal settings, those whose sources differ in what shapes learning are different experiments.
    changes = [text for text in (run.fork.changes if run.fork else ()) if _shapes_learning(text.partition(":")[0])]
    return _identity(run.config), repr(sorted(searched.items())), beginning, repr(changes)


def _searched_besides(run: RunRecord) -> dict[str, Any]:
    """Settings that the run's sweep searches although they do not shape learning."""
    searched = run.place.searched
    if not searched:
        return {}
    flat = flatten_config(run.config)
    return {key: v for key, v in flat.items() if is_searched(key, searched) and not _shapes_learning(key)}


def _shapes_learning(name: str) -> bool:
    section, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    return section not in _NOT_LEARNING and not (section == "training" and part in _NOT_LEARNING_IN_TRAINING)


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


def _labels(runs: Sequence[RunRecord], beginnings: Sequence[str]) -> list[str]:
    """A short name of its own for each of the experiments of one task, given one run of each and how it began."""
    suffixes = [f" ({beginning})" if beginning and len(set(beginnings)) > 1 else "" for beginning in beginnings]
    bases = [_label(run, {}) + fork for run, fork in zip(runs, suffixes)]
    settings = [_label_settings(run) for run in runs]
    searched = tuple(dict.fromkeys(key for run in runs for key in run.place.searched))
    labels = []
    for run, base, own, fork in zip(runs, bases, settings, suffixes):
        rivals = [other for other_base, other in zip(bases, settings) if other_base == base]
        chosen, more = _distinguishing(rivals, searched)
        by_place: dict[int, list[str]] = {}
        for place, name in chosen:
            by_place.setdefault(place, []).append(f"{_short_name(name)}={own.get((place, name), _MISSING)}")
        if more:
            by_place[chosen[-1][0]].append("...")
        labels.append(_label(run, by_place) + fork)
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
    settings = {(0, key): value for key, value in (flat | _searched_besides(run)).items()}
    for i, one in enumerate(listed_interventions(config)):
        settings |= {(i + 1, key): value for key, value in one.settings.items()}
    return {key: short_value(value) for key, value in settings.items() if value not in (None, [], {})}


def _short_name(name: str) -> str:
    """``lr`` of ``training.lr``, ``epsilon.0`` of ``training.epsilon.0``."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


def _distinguishing(rivals: Sequence[_Settings], searched: Sequence[str]) -> tuple[list[tuple[int, str]], bool]:
    """Settings that tell experiments of one name apart: those that a sweep searches; of the others the first that differs,
    and a further one only where it tells more of them apart; and whether they differ in others as well."""
    keys = list(dict.fromkeys(key for own in rivals for key in own))
    differing = [key for key in keys if len({own.get(key, _MISSING) for own in rivals}) > 1]
    chosen = [key for one in searched for key in differing if is_searched(_dotted(key), (one,))]

    def kinds(chosen: Sequence[tuple[int, str]]) -> int:
        return len({tuple(own.get(key, _MISSING) for key in chosen) for own in rivals})

    for key in differing:
        if key not in chosen and len(chosen) < _MAX_LABEL_SETTINGS and kinds([*chosen, key]) > kinds(chosen):
            chosen.append(key)
    return chosen, len(differing) > len(chosen)


def _dotted(key: tuple[int, str]) -> str:
    """``interventions.0.beta`` of ``(1, "beta")``."""
    place, name = key
    return f"interventions.{place - 1}.{name}" if place else name
