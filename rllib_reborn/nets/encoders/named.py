"""The table of shipped encoders, and encoders by name: of the table, or ``module:Class`` of one's own.

An encoder of one's own is a ``torch.nn.Module`` that is made with an :class:`~rllib_reborn.obs_parts.ObsLayout`, the one
positional argument, and its settings as keywords; has a ``width``; and maps [rows, d] to [rows, width] float32. Where it has
``hidden_layers()`` (:class:`~rllib_reborn.nets.hidden_layers.DeclaresHiddenLayers`), its neurons are measured and treated
like all others.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from rllib_reborn.named_modules import BrokenModuleError, NoSuchModuleError, import_named
from rllib_reborn.nets.encoders.cnn import CNN
from rllib_reborn.nets.encoders.per_field import PerField
from rllib_reborn.obs_parts import ObsLayout
from rllib_reborn.short_repr import short_repr
from rllib_reborn.suggestions import did_you_mean

#: Name -> class of every encoder that is shipped.
ENCODERS: Mapping[str, type[CNN] | type[PerField]] = MappingProxyType({"cnn": CNN, "per_field": PerField})


def encoder_class(name: str) -> type[nn.Module]:
    """The class of an encoder.

    Args:
        name: A name of :data:`ENCODERS`; or ``module:Class``, which is imported.

    Raises:
        ValueError: There is none of that name, or it is no module of torch.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    path, _, attribute = name.partition(":")
    if not path or not attribute:
        raise ValueError(
            f"encoder is {short_repr(name)}; expected one of {', '.join(ENCODERS)}, or module:Class of your own."
            f"{did_you_mean(name, ENCODERS)}"
        )
    if path == "__main__":
        raise ValueError(
            f"encoder is {name!r}, which learners, runners and checkpoints in other processes cannot find; put the class "
            "into a module of its own and name that."
        )
    try:
        module = import_named(path)
    except NoSuchModuleError as error:
        raise ValueError(
            f"encoder is {name!r}, and there is no module {error.missing!r}; it must lie beside your script or in the "
            "folder of the command line, be installed, or be in a folder that PYTHONPATH names."
        ) from None
    except BrokenModuleError as error:
        raise ValueError(f"encoder is {name!r}; {error}.") from error
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        own = [name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
        raise ValueError(f"encoder is {name!r}, and {path} has no {attribute!r}.{did_you_mean(attribute, own)}")
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise ValueError(f"encoder is {name!r}, which is {short_repr(found)}; expected a subclass of torch.nn.Module.")
    return found


def check_encoder_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Whether a class takes these settings; it is not made.

    Raises:
        ValueError: It is not there, it does not take one of them, or it needs one that is missing.
    """
    takes = inspect.signature(encoder_class(name)).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes):
        return
    named = [p for p in takes if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    # The first one is the layout, which is given by its place.
    own = {p.name: p for p in (named if any(p.kind is p.POSITIONAL_ONLY for p in takes) else named[1:])}
    for key in settings:
        if key not in own:
            hint = did_you_mean(str(key), own) if own else " It takes none."
            raise ValueError(f"encoder_settings has {short_repr(key)}, which {name} does not take.{hint}")
    for key, parameter in own.items():
        if parameter.default is parameter.empty and key not in settings:
            raise ValueError(f"encoder_settings lacks {key!r}, which {name} has no default for; give it.")


def make_encoder(name: str, settings: Mapping[str, Any], layout: ObsLayout) -> Any:
    """The encoder of a team's observations.

    Args:
        name: As in :func:`encoder_class`.
        settings: Keyword arguments of its class.
        layout: What the observations are.

    Raises:
        ValueError: It cannot be made: a setting does not fit the observations, the constructor of one's own fails, or has
            set no ``width``.
    """
    cls: Any = encoder_class(name)
    if name in ENCODERS:
        return cls(layout, **settings)
    try:
        encoder = cls(layout, **settings)
    except Exception as error:
        raise ValueError(f"encoder {name!r} cannot be made: {_of(error)}") from error
    width = getattr(encoder, "width", None)
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ValueError(
            f"encoder {name!r} has the width {short_repr(width)}; expected the number of features that it makes, a whole "
            "number >= 1, as attribute 'width'."
        )
    return encoder


def check_encoder(name: str, encoder: Any, layout: ObsLayout, dtype: torch.dtype) -> None:
    """Let an encoder read two observations of zeros, whose features must be [2, width] float32 and finite.

    Raises:
        ValueError: They are not, or it fails.
    """
    device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            found = encoder(torch.zeros(2, layout.dim, dtype=dtype, device=device))
    except Exception as error:
        raise ValueError(
            f"encoder {name!r} fails on two observations of {layout.dim} zeros ({dtype}): {_of(error)}"
        ) from error
    finally:
        encoder.train(training)
    shape = (2, encoder.width)
    if not isinstance(found, Tensor) or tuple(found.shape) != shape or found.dtype != torch.float32:
        shown = f"{list(found.shape)} {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"encoder {name!r} makes {shown} of two observations; expected {list(shape)} torch.float32, as its width says."
        )
    if not bool(found.isfinite().all()):
        raise ValueError(f"encoder {name!r} makes features that are not finite of two observations of zeros.")


def _of(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
