"""Everything that writes to weights: one class for each method, made from plain data by its ``kind``."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from rllib_reborn.plasticity.interventions.base import Context, Intervention, LayerChange, Plan
from rllib_reborn.plasticity.interventions.continual_backprop import ContinualBackprop
from rllib_reborn.plasticity.interventions.edits import ParameterEdit, SurgeryRefused, UnitEdit
from rllib_reborn.plasticity.interventions.injection import Injection
from rllib_reborn.plasticity.interventions.knife import Knife
from rllib_reborn.plasticity.interventions.l2_init import L2Init
from rllib_reborn.plasticity.interventions.marr import MARR
from rllib_reborn.plasticity.interventions.prune import Prune
from rllib_reborn.plasticity.interventions.reborn import ReBorn
from rllib_reborn.plasticity.interventions.redo import ReDo
from rllib_reborn.plasticity.interventions.reset import SR, ReSet
from rllib_reborn.plasticity.interventions.reverse_redo import ReverseReDo
from rllib_reborn.plasticity.interventions.shrink_perturb import ShrinkPerturb
from rllib_reborn.suggestions import did_you_mean

#: Every intervention there is; what a kind's settings are, its class says.
KINDS: dict[str, type[Intervention]] = {
    "reborn": ReBorn,
    "redo": ReDo,
    "reset": ReSet,
    "reverse_redo": ReverseReDo,
    "prune": Prune,
    "shrink_perturb": ShrinkPerturb,
    "sr": SR,
    "marr": MARR,
    "continual_backprop": ContinualBackprop,
    "injection": Injection,
    "l2_init": L2Init,
    "knife": Knife,
}


def make_intervention(data: Mapping[str, Any] | Intervention) -> Intervention:
    """The intervention that ``data`` describes.

    Args:
        data: ``{"kind": "reborn", "alpha": 0.1, ...}``: a kind of :data:`KINDS` and settings of its class. Lists are taken
            for tuples, and whole floats (YAML reads 2.0e5 as one) for whole numbers, where the setting is one or a tuple
            of them. An intervention is given back as it is.

    Raises:
        ValueError: No kind, an unknown kind or setting, or a value that is not allowed; the message says what is.
    """
    if isinstance(data, Intervention):
        return data
    if not isinstance(data, Mapping):
        raise ValueError(f"an intervention is {data!r}; expected its kind and settings, e.g. {{'kind': 'reborn'}}.")
    if "kind" not in data:
        raise ValueError(f"an intervention is {dict(data)!r}, without a 'kind'; expected one of {', '.join(KINDS)}.")
    kind = data["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"there is no intervention of kind {kind!r}.{did_you_mean(str(kind), KINDS)}")
    cls = KINDS[kind]
    known = _types_of_settings(cls)
    values = {}
    for name, value in data.items():
        if name == "kind":
            continue
        if name not in known:
            raise ValueError(f"{kind} has no setting {name!r}.{did_you_mean(str(name), known)}")
        values[name] = _plain(value, known[name])
    return cls(**values)


def to_dict(intervention: Intervention) -> dict[str, Any]:
    """Plain JSON data from which :func:`make_intervention` makes an equal one; all settings, defaults included."""
    values = {field.name: getattr(intervention, field.name) for field in dataclasses.fields(intervention)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {"kind": intervention.kind, **plain}


def _types_of_settings(cls: type[Intervention]) -> dict[str, tuple[Any, ...]]:
    """By setting: the types it may be; of a union each."""
    hints = typing.get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        found[field.name] = typing.get_args(hint) if union else (hint,)
    return found


def _plain(value: Any, options: tuple[Any, ...]) -> Any:
    """``value`` in the form that the setting's class expects; what cannot be is left for the class to refuse."""
    if isinstance(value, list | tuple):
        tuples = [typing.get_args(option) for option in options if typing.get_origin(option) is tuple]
        whole = any(kind is int for kinds in tuples for kind in kinds)
        items = [_whole(item) for item in value] if whole else value
        return tuple(items) if tuples else value
    return _whole(value) if int in options else value


def _whole(value: Any) -> Any:
    """A whole float as an int; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


__all__ = [
    "KINDS",
    "MARR",
    "SR",
    "Context",
    "ContinualBackprop",
    "Injection",
    "Intervention",
    "Knife",
    "L2Init",
    "LayerChange",
    "ParameterEdit",
    "Plan",
    "Prune",
    "ReBorn",
    "ReDo",
    "ReSet",
    "ReverseReDo",
    "ShrinkPerturb",
    "SurgeryRefused",
    "UnitEdit",
    "make_intervention",
    "to_dict",
]
