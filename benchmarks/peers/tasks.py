"""What is played: names on both sides, and the settings that both sides have."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
    """One game.

    Attributes:
        env: Our name of it; ``<env>/qmix`` is a shipped experiment.
        key, time_limit: EPyMARL's ``env_args``; the limit is that of our game too.
        first, last: Env steps between which training is measured, ``last`` > ``first``. Updates begin with the 32nd episode,
            so ``first`` lies behind it.
        packages: Modules that EPyMARL needs for it -> what to install for each.
    """

    env: str
    key: str
    time_limit: int
    first: int
    last: int
    packages: dict[str, str]


TASKS = {
    "lbf": Task(
        "lbf/8x8-2p-3f", "lbforaging:Foraging-8x8-2p-3f-v3", 50, 2_500, 10_000, {"lbforaging": "lbforaging==2.0.0"}
    ),
    "mpe": Task(
        "mpe/simple_spread",
        "pz-mpe-simple-spread-v3",
        25,
        2_500,
        10_000,
        {"pettingzoo.mpe.simple_spread_v3": '"pettingzoo[mpe]==1.25.0"'},
    ),
    "rware": Task("rware/tiny-2ag", "rware:rware-tiny-2ag-v2", 500, 17_500, 25_000, {"rware": "rware==2.0.0"}),
}

#: Of EPyMARL, over its ``default.yaml``, ``gymma.yaml`` and ``qmix.yaml``. Its test before training is one episode.
EPYMARL_SETTINGS = {"use_rnn": True, "use_cuda": False, "test_nepisode": 1}

#: Ours, over the shipped experiment: what those three files say.
SETTINGS = (
    "training.lr=5e-4",
    "training.gamma=0.99",
    "training.bootstrap_at_limit=false",
    "training.td_lambda=null",
    "training.buffer_episodes=5000",
    "training.target_update={every: 200, unit: episodes, tau: null}",
    "training.epsilon={start: 1.0, end: 0.05, anneal_env_steps: 50000}",
    "training.optimizer.kind=adam",
    "training.reward.standardise=true",
    "training.model.last_action=false",
    "training.batch_episodes=32",
    "training.updates_per_episode=1.0",
)
