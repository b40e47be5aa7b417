"""Grouped training settings: one documented, validated model for each nested ``training(...)`` argument.

The config of RLlib holds them as plain dicts (so that Tune can search inside them); ``validate()`` and the experiment
schema both parse them with these models, which are the single source of defaults, ranges and meanings.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, TypeVar

import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from rllib_reborn.suggestions import did_you_mean

#: Type of a pydantic error whose message names the value by itself.
REASON_GIVEN: Final = "reason_given"


class Settings(pydantic.BaseModel):
    """Base: unknown keys are errors, numbers must be finite, nothing is coerced from strings."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NoSettings(Settings):
    """There is nothing to set."""


class EpsilonSettings(Settings):
    """Epsilon-greedy exploration: from ``start`` to ``end``, linear over the first ``anneal_env_steps`` env steps
    (PyMARL: 1 to 0.05 over 50,000; method reference 7.1)."""

    start: Annotated[float, Field(ge=0, le=1)] = 1.0
    end: Annotated[float, Field(ge=0, le=1)] = 0.05
    anneal_env_steps: Annotated[int, Field(ge=1)] = 50_000

    def at(self, env_steps: float) -> float:
        """Epsilon after ``env_steps`` env steps of the whole run."""
        progress = min(max(env_steps / self.anneal_env_steps, 0.0), 1.0)
        return self.start + (self.end - self.start) * progress


class TargetUpdateSettings(Settings):
    """When target networks follow the online ones: a hard copy every ``every`` updates or collected episodes (PyMARL:
    200 episodes), or, with ``tau``, a soft step ``target += tau * (online - target)`` after each update."""

    every: Annotated[int, Field(ge=1)] = 200
    unit: Literal["episodes", "updates"] = "episodes"
    tau: Annotated[float, Field(gt=0, le=1)] | None = None

    @pydantic.model_validator(mode="after")
    def _one_of_them(self) -> Self:
        # Resolved experiments write defaults out, so that these are no wish for hard copies.
        if self.tau is not None and (self.every, self.unit) != (200, "episodes"):
            raise PydanticCustomError(
                REASON_GIVEN,
                "every is {every} {unit} and tau {tau}; expected one of them, since soft steps leave nothing to copy. "
                "Leave out tau, or every and unit (in YAML: every: 200, unit: episodes).",
                {"every": self.every, "unit": self.unit, "tau": self.tau},
            )
        return self


class OptimizerSettings(Settings):
    """``rmsprop`` with PyMARL's constants (alpha 0.99, eps 1e-5) or ``adam`` (betas 0.9, 0.999); ``lr`` is RLlib's."""

    kind: Literal["rmsprop", "adam"] = "rmsprop"
    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.99
    eps: Annotated[float, Field(gt=0)] = 1e-5
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class AgentSettings(Settings):
    """The agents' network: Linear-ReLU (``fc_layers`` times), GRU (or Linear-ReLU when not ``recurrent``), Linear to
    one value per action. Input is the observation, plus the last action and the agent's number as one-hot vectors where
    asked for. ``parameter_sharing``: one network for ``all``, one per ``group`` of ``TeamSpec.agent_groups``, or
    ``none`` (one per agent)."""

    hidden_dim: Annotated[int, Field(ge=1, le=4096)] = 64
    fc_layers: Annotated[int, Field(ge=1, le=4)] = 1
    recurrent: bool = True
    agent_id: bool = True
    last_action: bool = True
    parameter_sharing: Literal["all", "group", "none"] = "all"


class MixerSettings(Settings):
    """QMIX's mixing network: ``embed_dim`` mixing units (PyMARL 32, the ReBorn paper's Table 2: 64), whose weights come
    from hypernetworks of ``hypernet_layers`` layers, ``hypernet_dim`` wide when there are two. VDN has none of these."""

    embed_dim: Annotated[int, Field(ge=1, le=4096)] = 32
    hypernet_layers: Literal[1, 2] = 2
    hypernet_dim: Annotated[int, Field(ge=1, le=4096)] = 64


class RewardSettings(Settings):
    """What the learner sees of the reward: divided by the running standard deviation of the rewards collected so far
    when ``standardise`` (mean kept: subtracting it would change the task), then times ``scale``."""

    scale: Annotated[float, Field(gt=0)] = 1.0
    standardise: bool = False


SettingsT = TypeVar("SettingsT", bound=Settings)


def first_error(error: pydantic.ValidationError, *, prefix: str = "", model: type[Any] | None = None) -> str:
    """One sentence for the first problem pydantic found: the key, the value, what was expected, a suggestion."""
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in problem["loc"])
    key = f"{prefix}.{path}" if prefix and path else prefix or path
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, problem["loc"][:-1]) if model is not None else []
        hint = did_you_mean(str(problem["loc"][-1]), known)
        return f"unknown key {key!r}.{hint}"
    if problem["type"] == "missing":
        return f"{key!r} is missing; it has no default."
    if problem["type"] == REASON_GIVEN:
        return f"{key}: {problem['msg']}"
    return f"{key} is {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}."


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
        raise ValueError(f"{name} is {value!r}; expected a dict with some of the keys {', '.join(model.model_fields)}.")
    try:
        return model.model_validate(value or {}, strict=True)
    except pydantic.ValidationError as error:
        raise ValueError(first_error(error, prefix=name, model=model)) from None
