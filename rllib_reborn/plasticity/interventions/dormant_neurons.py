"""Kinds that look for neurons that do too little: the score that finds them is a setting, what is done about them the
kind."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from torch import Tensor

from rllib_reborn.plasticity import masks, scores
from rllib_reborn.plasticity.interventions.activity import activity_of, scored, statistics_of
from rllib_reborn.plasticity.interventions.base import Context, Intervention, check_choice, check_either, check_number
from rllib_reborn.plasticity.neuron_layers import NeuronLayer

#: ``activation``: activation (docs/method.md 1). ``rua``: update activity (9.1). ``grama``: gradient
#: (9.2).
Score = Literal["activation", "rua", "grama"]
SCORES: tuple[Score, ...] = get_args(Score)

#: Thresholds of the sources of the scores other than ``activation``, whose threshold is ``alpha``.
AT_MOST: dict[Score, float] = {"rua": masks.STAGNANT_BELOW, "grama": masks.GRAMA_AT_MOST}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DormantNeurons(Intervention):
    """An intervention on neurons of low score. All scores are relative to their layer: the mean over its neurons is 1.

    Attributes:
        alpha: Threshold of ``activation``: dormant at ``s <= alpha``, 0 <= alpha < 1.
        score: ``activation``: normalised activation score; dormant neurons. ``rua``: relative update activity, averaged
            over the updates since the last time; stagnant neurons (docs/method.md 9.1). ``grama``: relative gradient
            of the pre-activation at the update at which it is due (docs/method.md 9.2).
        alpha_quantile: In place of a number: of whatever ``score``, the ``floor(alpha_quantile * H)`` lowest neurons of each
            layer, ties included, of those below the mean (:func:`~rllib_reborn.plasticity.masks.lowest`; ours). In 0..1,
            exclusive. Refused beside another ``alpha`` or ``at_most``. The report's dormant fractions stay those at 0.1.
        at_most: Threshold of the other two, 0 < at_most < 1: ``rua < at_most`` or ``grama <= at_most``, as their
            sources have it. None: the source's, 0.25 or 0.01. Refused with ``activation``, as another ``alpha`` is with
            them.
    """

    alpha: float = masks.ALPHA
    score: Score = "activation"
    at_most: float | None = None
    alpha_quantile: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_either("alpha", self.alpha, masks.ALPHA, "alpha_quantile", self.alpha_quantile)
        check_either("at_most", self.at_most, None, "alpha_quantile", self.alpha_quantile)
        masks.check_thresholds(self.alpha, masks.BETA)
        check_choice("score", self.score, SCORES)
        if self.score == "activation":
            if self.at_most is not None:
                raise ValueError(
                    f"at_most is {self.at_most!r}, but the threshold of score 'activation' is alpha. Set that."
                )
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
                    "neurons would be chosen (and none of rua is below 0)."
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
        """Of :attr:`score` where there is no quantile, the source's own if none was given."""
        if self.score == "activation":
            return self.alpha
        return AT_MOST[self.score] if self.at_most is None else self.at_most

    def below_threshold(self, layer: NeuronLayer, context: Context) -> Tensor:
        """[H] bool on the CPU: active neurons whose score is too low.

        Raises:
            SurgeryRefused: What the score is made from was not measured, or is not finite.
        """
        values, active = scored(statistics_of(layer.key, context.statistics))
        if self.score == "rua":
            activity = activity_of(layer, context.update_activity, "update activity")
            values = scores.relative_update_activity(activity, active)
        elif self.score == "grama":
            values = scores.grama(activity_of(layer, context.gradient_activity, "gradient activity"), active)
        if self.alpha_quantile is not None:
            return masks.lowest(values, self.alpha_quantile, active)
        below = {"activation": masks.dormant, "rua": masks.stagnant, "grama": masks.insensitive}[self.score]
        return below(values, self.threshold) & active
