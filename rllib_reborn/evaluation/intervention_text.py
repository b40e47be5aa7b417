"""Interventions against plasticity loss as configs list them: names for labels, and settings in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# Kind of a config -> what people call it. A kind that is not here is called as its config calls it.
NAMES: dict[str, str] = {
    "continual_backprop": "Continual backprop",
    "fire": "FIRE",
    "injection": "Plasticity injection",
    "knife": "KNIFE",
    "l2_init": "L2 init",
    "marr": "MARR",
    "prune": "Pruning",
    "reborn": "ReBorn",
    "redo": "ReDo",
    "reset": "ReSet",
    "reverse_redo": "Reverse ReDo",
    "shrink_perturb": "Shrink and perturb",
    "snr": "SNR",
    "sr": "SR",
}

_NETWORKS = {"mixer": "mixer", "agent": "agents", "critic": "critic"}
_LAYERS = {
    "official_code": "official code's layers",
    "editable": "every layer that can be edited",
    "full": "every hidden layer",
}
_SOURCES = {"replay": "uniform replay sample", "latest": "latest episodes"}
_OPTIMIZER = {
    "keep": "optimizer state kept",
    "zero": "optimizer state of changed weights zeroed",
    "donor": "optimizer state copied from the donor",
    "layer_mean": "optimizer state of changed weights as the mean of the others",
}
_TARGETS = {"none": "targets left alone", "mirror": "same edit on the targets", "sync": "targets synchronised"}
_FLAGS = {
    "bias_compensation": "bias compensation",
    "allow_inexact": "inexact layers allowed",
    "dry_run": "dry run: nothing is written",
}
# Settings that have a phrase of their own; the others are written as "name value".
_PHRASED = frozenset(
    {
        "every",
        "unit",
        "start",
        "stop",
        "scope",
        "layers",
        "rule",
        "scoring_source",
        "scoring_episodes",
        "optimizer",
        "target_networks",
        *_FLAGS,
    }
)


@dataclasses.dataclass(frozen=True)
class ListedIntervention:
    """An entry of a config's ``interventions``: its ``kind`` and the other settings, in their order."""

    kind: str
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As people call it."""
        return NAMES.get(self.kind, self.kind)

    def label(self, more: Sequence[str] = ()) -> str:
        """``ReBorn (paper)``: the name, the rule where there are several, and ``more`` in the same brackets."""
        rule = self.settings.get("rule")
        parts = [] if rule is None else [str(rule).replace("_", " ")]
        parts += ["dry run"] if self.settings.get("dry_run") else []
        parts += more
        return f"{self.name} ({', '.join(parts)})" if parts else self.name


def listed_interventions(config: Mapping[str, Any]) -> list[ListedIntervention]:
    """The interventions of a run's config, in order."""
    found = config.get("interventions")
    result = []
    for entry in found if isinstance(found, list) else []:
        if isinstance(entry, Mapping):
            settings = {str(key): value for key, value in entry.items() if key != "kind"}
            result.append(ListedIntervention(str(entry.get("kind", "?")), settings))
        else:
            result.append(ListedIntervention(str(entry), {}))
    return result


def in_words(intervention: ListedIntervention) -> str:
    """All settings as one line: ``every 40,000 env steps, on the mixer, official code's layers, paper's rule, ...``."""
    given = {key: value for key, value in intervention.settings.items() if value not in (None, [])}
    parts = [_schedule(given)]
    if "scope" in given:
        parts.append(_scope(given["scope"]))
    if "layers" in given:
        parts.append(_LAYERS.get(str(given["layers"]), f"layers {given['layers']}"))
    if "rule" in given:
        parts.append(f"{str(given['rule']).replace('_', ' ')} rule")
    parts += [_own(key, value) for key, value in given.items() if key not in _PHRASED]
    if "scoring_episodes" in given:
        source = str(given.get("scoring_source", ""))
        parts.append(f"scored on {given['scoring_episodes']} episodes ({_SOURCES.get(source, source)})")
    for key, phrases in (("optimizer", _OPTIMIZER), ("target_networks", _TARGETS)):
        if key in given:
            parts.append(phrases.get(str(given[key]), f"{key} {given[key]}"))
    parts += [phrase for key, phrase in _FLAGS.items() if given.get(key) is True]
    return ", ".join(part for part in parts if part) or "settings not recorded"


def short_value(value: Any) -> str:
    """A setting for a label: as YAML would show it, whole thousands and millions as 20k and 1.5M."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if value not in ("", "null", "true", "false") else repr(value)
    if isinstance(value, int):
        for size, letter in ((1_000_000, "M"), (1_000, "k")):
            if abs(value) >= size and value * 10 % size == 0:
                return f"{value / size:g}{letter}"
    return repr(value)


def _schedule(given: Mapping[str, Any]) -> str:
    if "every" not in given:
        return ""
    unit = str(given.get("unit", "env_steps")).replace("_", " ")
    text = f"every {_number(given['every'])} {unit}"
    if given.get("start"):
        text += f" after {_number(given['start'])}"
    if "stop" in given:
        text += f" up to {_number(given['stop'])}"
    return text


def _own(key: str, value: Any) -> str:
    name = key.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {_number(value)}"


def _number(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(_number(item) for item in value)}]"
    return str(value)


def _scope(scope: object) -> str:
    """``on the mixer``, ``on the agents and the critic``, ``on mixer and agents`` (all); names that are not known as they
    are."""
    if scope == "all":
        return "on mixer and agents"
    names = [str(name) for name in (scope if isinstance(scope, list | tuple) else [scope])]
    if not all(name in _NETWORKS for name in names):
        return f"scope {', '.join(names)}"
    return "on " + " and ".join(f"the {_NETWORKS[name]}" for name in names)
