"""Kinds that look for units that do too little: the score that says so is a setting, what is done about them the kind."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from torch import Tensor

from rllib_reborn.plasticity import masks, scores
from rllib_reborn.plasticity.interventions.activity import activity_of, scored, statistics_of
from rllib_reborn.plasticity.interventions.base import Context, Intervention, check_choice, check_number
from rllib_reborn.plasticity.units import UnitLayer

#: ``nas``: activation (method reference, section 1). ``rua``: update activity (10.1). ``grama``: gradient (10.3).
Score = Literal["nas", "rua", "grama"]
SCORES: tuple[Score, ...] = get_args(Score)

#: Thresholds of the sources of the scores other than ``nas``, whose threshold is ``alpha``.
AT_MOST: dict[Score, float] = {"rua": masks.STAGNANT_BELOW, "grama": masks.GRAMA_AT_MOST}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SilentUnits(Intervention):
    """An intervention on units of low score. All scores are relative to their layer: the mean over its units is 1.

    Attributes:
        alpha: Threshold of ``nas``: dormant at ``s <= alpha``, 0 <= alpha < 1.
        score: ``nas``: normalised activation score; dormant units. ``rua``: relative update activity, averaged over the
            updates since the last time; stagnant units (method reference 10.1). ``grama``: relative gradient of the
            pre-activation at the update at which it is due (method reference 10.3).
        at_most: Threshold of the other two, 0 < at_most < 1: ``rua < at_most`` or ``grama <= at_most``, as their sources
            have it. None: the source's, 0.25 or 0.01. Refused with ``nas``, as another ``alpha`` is with them.
    """

    alpha: float = masks.ALPHA
    score: Score = "nas"
    at_most: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        masks.check_thresholds(self.alpha, masks.BETA)
        check_choice("score", self.score, SCORES)
        if self.score == "nas":
            if self.at_most is not None:
                raise ValueError(f"at_most is {self.at_most!r}, but the threshold of score 'nas' is alpha. Set that.")
            return
        if self.alpha != masks.ALPHA:
            raise ValueError(
                f"alpha is {self.alpha!r}, but the threshold of score {self.score!r} is at_most. Set that, leave alpha out."
            )
        if self.at_most is not None:
            check_number("at_most", self.at_most, 0)
            if not 0 < self.at_most < 1:
                raise ValueError(
                    f"at_most is {self.at_most!r}; expected 0 < at_most < 1: the mean score of a layer is 1, so average "
                    "units would be chosen (and none of rua is below 0)."
                )

    @property
    def needs_update_activity(self) -> bool:
        return self.score == "rua"

    @property
    def needs_gradient_activity(self) -> bool:
        return self.score == "grama"

    @property
    def dormant_at(self) -> float:
        # The other thresholds are no activation scores: alpha is the default with them.
        return self.alpha

    @property
    def threshold(self) -> float:
        """Of :attr:`score`, the source's own if none was given."""
        if self.score == "nas":
            return self.alpha
        return AT_MOST[self.score] if self.at_most is None else self.at_most

    def silent(self, layer: UnitLayer, context: Context) -> Tensor:
        """[H] bool on the CPU: live units whose score is too low.

        Raises:
            SurgeryRefused: What the score is made from was not measured, or is not finite.
        """
        nas, live = scored(statistics_of(layer.key, context.statistics))
        if self.score == "nas":
            return masks.dormant(nas, self.threshold) & live
        if self.score == "rua":
            activity = activity_of(layer, context.update_activity, "update activity")
            return masks.stagnant(scores.relative_update_activity(activity, live), self.threshold) & live
        gradients = activity_of(layer, context.gradient_activity, "gradient activity")
        return masks.insensitive(scores.grama(gradients, live), self.threshold) & live
