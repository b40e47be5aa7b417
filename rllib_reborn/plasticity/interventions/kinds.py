"""The table of kinds, and interventions from plain data."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from rllib_reborn.named_modules import BrokenModuleError, NoSuchModuleError, import_named
from rllib_reborn.plasticity.interventions.base import Intervention
from rllib_reborn.plasticity.interventions.continual_backprop import ContinualBackprop
from rllib_reborn.plasticity.interventions.fire import FIRE
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
from rllib_reborn.plasticity.interventions.snr import SNR
from rllib_reborn.suggestions import did_you_mean

#: Every intervention there is; each class documents its settings.
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
    "snr": SNR,
    "fire": FIRE,
}


def make_intervention(data: Mapping[str, Any] | Intervention) -> Intervention:
    """The intervention that ``data`` describes.

    Args:
        data: ``{"kind": "reborn", "alpha": 0.1, ...}``: a kind of :data:`KINDS`, or ``module:Class`` of your own, and
            settings of its class. Lists are taken for tuples, and whole floats (YAML reads 2.0e5 as one) for whole
            numbers, where the setting is one or a tuple of them. An intervention is given back as it is.

    Raises:
        ValueError: No kind, an unknown kind or setting, or a value that is not allowed; the message names what is.
    """
    if isinstance(data, Intervention):
        return data
    if not isinstance(data, Mapping):
        raise ValueError(f"an intervention is {data!r}; expected its kind and settings, e.g. {{'kind': 'reborn'}}.")
    if "kind" not in data:
        raise ValueError(
            f"an intervention is {dict(data)!r}, without a 'kind'; expected one of {', '.join(KINDS)}, or module:Class."
        )
    kind = data["kind"]
    cls = intervention_class(kind)
    known = _types_of_settings(cls)
    values = {}
    for name, value in data.items():
        if name == "kind":
            continue
        if name not in known:
            raise ValueError(f"{kind} has no setting {name!r}.{did_you_mean(str(name), known)}")
        values[name] = _plain(value, known[name])
    return cls(**values)


def intervention_class(kind: Any) -> type[Intervention]:
    """The class of a kind.

    Args:
        kind: A name in :data:`KINDS`; or ``module:Class``, an :class:`Intervention` of your own in a module that can be
            imported wherever a learner runs.

    Raises:
        ValueError: There is none of that name, or it is no intervention that can be made.
    """
    if isinstance(kind, str) and kind in KINDS:
        return KINDS[kind]
    if not isinstance(kind, str) or ":" not in kind:
        raise ValueError(f"there is no intervention of kind {kind!r}.{did_you_mean(str(kind), KINDS)}")
    path, _, name = kind.partition(":")
    if not path or not name:
        raise ValueError(f"kind is {kind!r}; expected a name of {', '.join(KINDS)}, or module:Class.")
    try:
        module = import_named(path)
    except NoSuchModuleError as error:
        raise ValueError(
            f"kind is {kind!r}, and there is no module {error.missing!r}; it must lie beside your script or in the folder "
            "of the command line, be installed, or be in a folder that PYTHONPATH names."
        ) from None
    except BrokenModuleError as error:
        raise ValueError(f"kind is {kind!r}; {error}.") from error
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ValueError(
            f"kind is {kind!r}, and {path} has no {name!r}.{did_you_mean(name, _interventions_in(module))}"
        )
    if not (isinstance(found, type) and issubclass(found, Intervention)):
        raise ValueError(f"kind is {kind!r}, which is {found!r}; expected a subclass of Intervention.")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ValueError(f"kind is {kind!r}, which does not define {missing}; define it in {name}.")
    return found


def _interventions_in(module: types.ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Intervention) and not inspect.isabstract(value)
    ]


def to_dict(intervention: Intervention) -> dict[str, Any]:
    """Plain JSON data from which :func:`make_intervention` makes an equal one; all settings, defaults included. The kind of
    a class that is not in :data:`KINDS` is its ``module:Class``."""
    values = {field.name: getattr(intervention, field.name) for field in dataclasses.fields(intervention)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    cls = type(intervention)
    kind = cls.kind if KINDS.get(cls.kind) is cls else f"{cls.__module__}:{cls.__qualname__}"
    return {"kind": kind, **plain}


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
