"""Settings as validated models: their base class, and one sentence for what is wrong with a value."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import pydantic

from rllib_reborn.short_repr import short_repr
from rllib_reborn.suggestions import did_you_mean

#: Type of a pydantic error whose message names the value by itself.
REASON_GIVEN: Final = "reason_given"


class Settings(pydantic.BaseModel):
    """Base: unknown keys are errors, numbers must be finite, nothing is coerced from strings."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NoSettings(Settings):
    """There is nothing to set."""


SettingsT = TypeVar("SettingsT", bound=Settings)


def first_error(error: pydantic.ValidationError, *, prefix: str = "", model: type[Any] | None = None) -> str:
    """One sentence for the first problem pydantic found: the key, the value, what was expected, a suggestion."""
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in problem["loc"])
    key = f"{prefix}.{path}" if prefix and path else prefix or path
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, problem["loc"][:-1]) if model is not None else []
        hint = did_you_mean(str(problem["loc"][-1]), known)
        return f"unknown key {short_repr(key)}.{hint}"
    if problem["type"] == "missing":
        return f"{key!r} is missing; it has no default."
    if problem["type"] == REASON_GIVEN:
        return f"{key}: {problem['msg']}"
    return f"{key} is {short_repr(problem['input'])}: {problem['msg'][0].lower()}{problem['msg'][1:]}."


def _known_keys(model: type[Any], location: tuple[int | str, ...]) -> list[str]:
    """Field names of the (possibly nested) model at ``location``."""
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            return []
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, pydantic.BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)


def parse(model: type[SettingsT], value: SettingsT | dict[str, Any] | None, name: str) -> SettingsT:
    """``value`` (a dict, None for all defaults, or the model itself) as the validated model.

    Raises:
        ValueError: One sentence that names the key under ``training(name=...)``, its value and what was expected.
    """
    if isinstance(value, model):
        return value
    if value is not None and not isinstance(value, dict):
        raise ValueError(
            f"{name} is {short_repr(value)}; expected a dict with some of the keys {', '.join(model.model_fields)}."
        )
    try:
        return model.model_validate(value or {}, strict=True)
    except pydantic.ValidationError as error:
        raise ValueError(first_error(error, prefix=name, model=model)) from None
