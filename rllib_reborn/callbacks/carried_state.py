"""What interventions and the dormancy check of another config remember when a run is forked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rllib_reborn.plasticity.dormancy_check import DormancyCheck
from rllib_reborn.plasticity.history import DormancyHistory
from rllib_reborn.plasticity.interventions import Intervention

State = Mapping[str, Any]


def carried_interventions(
    before: State | None, old: Sequence[Intervention], new: Sequence[Intervention]
) -> dict[str, Any]:
    """State of a :class:`PlasticityRuntime` for ``new``: an intervention that ``old`` has too, with equal settings, goes on
    with what it remembers; every other one starts anew.

    Args:
        before: State of the runtime for ``old``; None: all start anew.
        old, new: Interventions of the source and of the fork.
    """
    places = carried_places(old, new) if before is not None else [None] * len(new)
    before = before or {}

    def of(name: str, place: int | None, otherwise: Any) -> Any:
        return otherwise if place is None else before[name][place]

    return {
        "kinds": [one.kind for one in new],
        "memories": [of("memories", place, {}) for place in places],
        "counts": [of("counts", place, 0) for place in places],
        # Weights at the beginning of the source; where it needed none, those at the fork are taken later.
        "initial": before.get("initial", {}) if any(one.needs_initial for one in new) else {},
        "activity": [of("activity", place, {}) for place in places],
        "activity_updates": [of("activity_updates", place, 0) for place in places],
        "history": before.get("history") or DormancyHistory().get_state(),
    }


def carried_check(before: State | None, old: DormancyCheck | None, new: DormancyCheck) -> dict[str, Any]:
    """State of a :class:`PlasticityRuntime` for the dormancy check ``new``: its history goes on where ``old`` is equal."""
    if before is not None and old == new:
        return dict(before)
    return carried_interventions(None, (), ())


def carried_places(old: Sequence[Intervention], new: Sequence[Intervention]) -> list[int | None]:
    """For each of ``new`` the place in ``old`` of the first equal one that no earlier one has taken, or None."""
    free = list(range(len(old)))
    places: list[int | None] = []
    for one in new:
        place = next((place for place in free if old[place] == one), None)
        places.append(place)
        if place is not None:
            free.remove(place)
    return places
