"""What to write in place of a callback that a Learner of RLlib's own does not call."""

from __future__ import annotations

#: Attribute of a Learner class: whether its settings of plasticity are in ``learner_config_dict``.
TAKES_PLASTICITY_SETTINGS = "takes_plasticity_settings"


def stock_learner_hint(learner_class: type, settings: str) -> str:
    """Sentences: how ``learner_class`` gets ``settings`` (what ``learner_config_dict`` has to hold, as code)."""
    if getattr(learner_class, TAKES_PLASTICITY_SETTINGS, False):
        return (
            f"This learner takes its settings from learners(learner_config_dict={settings}); write them there and leave the "
            "callback out."
        )
    return (
        "Leave it out and give the algorithm a learner that does it: learners(learner_class=with_plasticity("
        f"{learner_class.__name__}), learner_config_dict={settings}); with_plasticity is in rllib_reborn.callbacks.stock."
    )
