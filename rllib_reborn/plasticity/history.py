"""What earlier checks found: metrics that compare with it, and rows to export. Small enough for every checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from torch import Tensor

from rllib_reborn.plasticity.neuron_layers import NeuronLayer
from rllib_reborn.plasticity.scores import LayerDormancy, indices, overlap_coefficient, pool

#: Env steps after which a recycled neuron is no longer asked about: one ReBorn interval (docs/method.md 1).
REDORMANT_WITHIN = 200_000

_OF_FOUND = ("dormant_fraction", "overactive_fraction", "overactive_sum", "dead_fraction")


class DormancyHistory:
    """Dormant and over-active neurons of the last checks, by layer.

    Args:
        capacity: Checks kept, >= 1; the oldest are forgotten first.
        scored: Of those, the last that keep their NAS scores, >= 1.

    Raises:
        ValueError: A number below 1.
    """

    def __init__(self, capacity: int = 256, scored: int = 8) -> None:
        for name, value in (("capacity", capacity), ("scored", scored)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number >= 1.")
        self._capacity = capacity
        self._scored = scored
        self._count = 0
        self._rows: list[dict[str, Any]] = []
        # Layer -> neuron -> env steps of its last recycling before the latest check, and after it: what was recycled only
        # after the check cannot have become dormant *again* in it.
        self._recycled: dict[str, dict[int, int]] = {}
        self._pending: dict[str, dict[int, int]] = {}

    @property
    def checks(self) -> int:
        """Checks recorded since the run began, forgotten ones included."""
        return self._count

    def record(self, clock: Mapping[str, int], found: Mapping[str, LayerDormancy]) -> dict[str, float | None]:
        """Remember a check and return its metrics.

        Args:
            clock: At least ``env_steps`` and ``updates``.
            found: By layer key.

        Returns:
            For every layer ``dormancy/<net>/<layer>/`` and every network ``dormancy/<net>/`` (pooled) followed by
            ``dormant_fraction``, ``overactive_fraction``, ``overactive_sum``, ``dead_fraction`` and ``overlap``: overlap
            coefficient of the dormant neurons with those of the previous check (docs/method.md 1), for a network
            the sum of intersections over the sum of smaller sizes; None where there is nothing to compare.

        Raises:
            ValueError: A clock is missing.
        """
        steps = _steps(clock)
        if "updates" not in clock:
            raise ValueError(f"clock has {', '.join(clock)}; expected env_steps and updates.")
        before = self._rows[-1]["layers"] if self._rows else {}
        row: dict[str, Any] = {
            "env_steps": steps,
            "updates": int(clock["updates"]),
            "layers": {key: _compact(of_layer) for key, of_layer in found.items()},
        }
        self._append(row)
        metrics: dict[str, float | None] = {}
        for net in dict.fromkeys(_net_of(key) for key in found):
            keys = [key for key in found if _net_of(key) == net]
            pooled = pool(found[key] for key in keys)
            metrics |= {_name(net, what): getattr(pooled, what) for what in _OF_FOUND}
            pairs = [(set(row["layers"][key]["dormant"]), set(before[key]["dormant"])) for key in keys if key in before]
            smaller = sum(min(len(now), len(then)) for now, then in pairs)
            metrics[_name(net, "overlap")] = sum(len(now & then) for now, then in pairs) / smaller if smaller else None
            for key in keys:
                metrics |= {_name(key, what): getattr(found[key], what) for what in _OF_FOUND}
                then = before[key]["dormant"] if key in before else ()
                metrics[_name(key, "overlap")] = overlap_coefficient(row["layers"][key]["dormant"], then)
        return metrics

    def note_recycled(self, clock: Mapping[str, int], layer_key: str, neurons: Tensor | Collection[int]) -> None:
        """An intervention gave ``neurons`` (bool mask or indices) of a layer new weights; call it after that check's
        :meth:`record`."""
        steps = _steps(clock)
        of_layer = self._pending.setdefault(layer_key, {})
        of_layer.update((neuron, steps) for neuron in sorted(indices(neurons)))

    def redormant(
        self, clock: Mapping[str, int], within_env_steps: int = REDORMANT_WITHIN, net: str | None = None
    ) -> float | None:
        """Share of the neurons recycled at most ``within_env_steps`` before ``clock`` that the latest check found dormant.

        Args:
            clock: Now, with ``env_steps``.
            within_env_steps: k, >= 0.
            net: Only layers of this network; None: all.

        Returns:
            0..1, or None where no neuron was recycled in that time and checked since.
        """
        since = _steps(clock) - within_env_steps
        latest = self._rows[-1]["layers"] if self._rows else {}
        asked = again = 0
        for key, of_layer in self._recycled.items():
            if key not in latest or net not in (None, _net_of(key)):
                continue
            recent = {neuron for neuron, steps in of_layer.items() if steps >= since}
            asked += len(recent)
            again += len(recent.intersection(latest[key]["dormant"]))
        return again / asked if asked else None

    def overlaps(
        self, layer_key: str, of: Literal["dormant", "overactive"] = "dormant"
    ) -> list[tuple[int, float | None]]:
        """(env steps of an earlier check, overlap coefficient of its neurons with the latest), oldest first: Fig. 3b.

        Raises:
            ValueError: The latest check had no such layer.
        """
        if not self._rows:
            return []
        latest = self._rows[-1]["layers"]
        if layer_key not in latest:
            raise ValueError(f"the latest check had no layer {layer_key!r}; known: {', '.join(latest)}.")
        return [
            (row["env_steps"], overlap_coefficient(row["layers"][layer_key][of], latest[layer_key][of]))
            for row in self._rows[:-1]
            if layer_key in row["layers"]
        ]

    def rows_since(self, n: int = 0) -> list[dict[str, Any]]:
        """Checks n, n + 1, ... (counted from 0 over the run) as JSON data; pass :attr:`checks` of the last time.

        Each is ``{"env_steps", "updates", "layers": {key: {"dormant": [...], "overactive": [...], "scores": [...]}}}``;
        forgotten checks are left out, and older ones have no ``scores``.
        """
        first = self._count - len(self._rows)
        return copy.deepcopy(self._rows[max(0, n - first) :])

    def get_state(self) -> dict[str, Any]:
        """Plain JSON data; :meth:`set_state` of an equal history restores it."""
        return {
            "count": self._count,
            "rows": copy.deepcopy(self._rows),
            "recycled": _listed(self._recycled),
            "pending": _listed(self._pending),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`get_state`; where this history has a smaller capacity, the oldest checks are forgotten."""
        self._count = int(state["count"])
        self._rows = copy.deepcopy(list(state["rows"]))
        self._recycled = _unlisted(state["recycled"])
        self._pending = _unlisted(state["pending"])
        self._trim()

    def _append(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._count += 1
        for key, of_layer in self._pending.items():
            self._recycled.setdefault(key, {}).update(of_layer)
        self._pending = {}
        self._trim()

    def _trim(self) -> None:
        del self._rows[: -self._capacity]
        for row in self._rows[: -self._scored]:
            for of_layer in row["layers"].values():
                of_layer.pop("scores", None)


def metric_names(layers: Iterable[NeuronLayer]) -> list[str]:
    """All names that :meth:`DormancyHistory.record` gives for ``layers``, and ``dormancy/<net>/redormant``, sorted."""
    keys = [layer.key for layer in layers]
    nets = dict.fromkeys(_net_of(key) for key in keys)
    names = [_name(where, what) for where in (*nets, *keys) for what in (*_OF_FOUND, "overlap")]
    return sorted([*names, *(redormant_name(net) for net in nets)])


def redormant_name(net: str) -> str:
    """Name of the metric that :meth:`DormancyHistory.redormant` answers for one network."""
    return _name(net, "redormant")


def _name(where: str, what: str) -> str:
    return "/".join(part for part in ("dormancy", where, what) if part)


def _net_of(key: str) -> str:
    """The network in a layer's key, see :attr:`NeuronLayer.key`."""
    net, slash, _ = key.partition("/")
    return net if slash else ""


def check_event(
    clock: Mapping[str, int], found: Mapping[str, LayerDormancy], metrics: Mapping[str, float | None]
) -> dict[str, Any]:
    """A check as plain JSON data, unit by unit: a line of a run's ``dormancy/events.jsonl``."""
    return {
        "event": "dormancy",
        "clock": dict(clock),
        "metrics": dict(metrics),
        "layers": {key: _compact(of_layer) for key, of_layer in found.items()},
    }


def _compact(found: LayerDormancy) -> dict[str, list[Any]]:
    return {
        "dormant": sorted(indices(found.dormant)),
        "overactive": sorted(indices(found.overactive)),
        "scores": [round(score, 4) for score in found.scores.tolist()],
    }


def _steps(clock: Mapping[str, int]) -> int:
    if "env_steps" not in clock:
        raise ValueError(f"clock has {', '.join(clock) or 'nothing'}; expected env_steps.")
    return int(clock["env_steps"])


def _listed(recycled: Mapping[str, Mapping[int, int]]) -> dict[str, list[list[int]]]:
    """JSON has no whole numbers as keys."""
    return {key: [[neuron, steps] for neuron, steps in of_layer.items()] for key, of_layer in recycled.items()}


def _unlisted(listed: Mapping[str, Any]) -> dict[str, dict[int, int]]:
    return {key: {int(neuron): int(steps) for neuron, steps in pairs} for key, pairs in listed.items()}
