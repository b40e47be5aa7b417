"""The rules of predator-prey (stag hunt) as parameters, and the named presets.

Origins, by the short names used below:

* **DCG**: Boehmer, Kurin, Whiteson, "Deep coordination graphs", ICML 2020, and the rules of its stag hunt.
* **ReBorn**: Qin et al., "The dormant neuron phenomenon in multi-agent reinforcement learning value
  factorization", NeurIPS 2024, Table 4 and its appendix on environments.
* **GradPS**: the stag-hunt settings of the same group's later paper (ICML 2025).
* **inferred**: ReBorn does not say; the value is the nearest documented one. Results on ``small``, ``middle``
  and ``large`` are therefore not an exact reproduction of the paper's environment.
"""

from __future__ import annotations

import dataclasses
import math
from types import MappingProxyType
from typing import Any

from rllib_reborn.envs.predator_prey.small_states import state_views
from rllib_reborn.envs.team_env import TeamSpec

N_CHANNELS = 3  # predators, stags, hares

#: What an agent's action numbers mean (DCG).
ACTION_NAMES = ("right", "down", "left", "up", "stay", "catch")
STAY = ACTION_NAMES.index("stay")
CATCH = ACTION_NAMES.index("catch")
#: (down, right) of the four moves, in the order of :data:`ACTION_NAMES`.
MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredatorPreyRules:
    """Everything that decides how predator-prey is played.

    One step: the predators act one after the other in random order (a move into an occupied cell does
    nothing); then the prey, in random order: a prey that enough neighbouring predators catch is removed, any
    other moves to a random free neighbouring cell, or stays where there is none. Neighbours are the 4 cells
    right, down, left and up. No cell ever holds two entities, unless ``prey_block_predators`` is False.

    Attributes:
        height: Rows of the grid, >= 1 cells. Origin: ReBorn Table 4 (20, 30, 40), DCG (10), GradPS (20, 25,
            30).
        width: Columns of the grid, >= 1 cells. Origin: as ``height``.
        n_predators: Agents, >= 1. Origin: ReBorn Table 4 (6, 12, 18), DCG (8), GradPS (6, 10, 15).
        n_stags: Prey of the first kind, >= 0. Origin: ReBorn Table 4 (12, 24, 36), DCG (8), GradPS (6, 10,
            15).
        n_hares: Prey of the second kind, >= 0; at least one prey in all. Origin: GradPS (6, 10, 15); none in
            ReBorn, DCG.
        reward_stag: Team reward per caught stag. Origin: 10 in ReBorn, DCG and GradPS.
        reward_hare: Team reward per caught hare. Origin: 1 in DCG, 2 in GradPS.
        catchers_stag: Neighbouring predators that must catch in the same step, 1..4. Origin: 2 in ReBorn and
            DCG.
        catchers_hare: The same for a hare, 1..4. Origin: 1 in DCG.
        miscapture_punishment: Added to the team reward for each prey that some, but too few, predators tried
            to catch; <= 0. Origin: -2 in DCG, 0 in GradPS; 0 for ReBorn is inferred.
        time_reward: Added to the team reward once per step, whether or not anybody moved; any number,
            negative is a penalty. Origin: -0.1 in ReBorn (per step, not per moving agent: inferred), 0 in DCG
            and GradPS.
        capture_freezes: Whether the predators of a successful catch leave the game: they are taken off the
            grid, see zeros, and can only stay. One predator then counts for one prey only. Otherwise they
            play on, and one catch counts for every prey beside it. Origin: True in DCG, False in GradPS;
            False for ReBorn is inferred.
        capture_ends_episode: Whether the first capture terminates the episode. Origin: False in DCG and
            GradPS; inferred for ReBorn, which ends when all prey are caught.
        prey_block_predators: Whether a predator cannot enter the cell of a prey (it never enters another
            predator's). False: both may share a cell; the prey then does not rest there in that step, and a
            predator does not catch a prey of its own cell. Origin: True in ReBorn, DCG and GradPS.
        toroidal: Whether the edges are joined, for moving, catching and seeing. Needs height and width
            >= 2 * obs_radius + 1. Origin: False in DCG and GradPS; inferred for ReBorn. (DCG's option neither
            catches nor sees across the joined edges; here it does.)
        rest_probability_stag: Probability in 0..1 that a stag which could move does not. Origin: 0 in DCG and
            GradPS; inferred for ReBorn.
        rest_probability_hare: The same for a hare. Origin: as ``rest_probability_stag``.
        obs_radius: Cells that a predator sees to each side, >= 1: a window of (2 * obs_radius + 1) squared.
            Origin: 2 in DCG, 3 in GradPS; 3 for ReBorn is inferred from its "3x3", which may also mean a
            window of 3x3 cells: radius 1.
        observe_walls: Whether a predator sees where the grid ends: -1 in the plane of predators on every cell of its window
            off the grid, and observations are stored as int8. Not on a torus, which has no walls. Origin: the hunt of
            PyMARL2 and GradPS has it on in its class and off in its YAML files, with which the papers were run; there is no
            such option in DCG.
        episode_limit: Steps until truncation, >= 1. Origin: 200 in DCG, 150 in GradPS; 150 for ReBorn is
            inferred (the paper gives none).

    Raises:
        ValueError: A value is outside its range, or the values do not fit together; the message names value
            and remedy.
    """

    height: int
    width: int
    n_predators: int
    n_stags: int
    n_hares: int = 0
    reward_stag: float = 10.0
    reward_hare: float = 1.0
    catchers_stag: int = 2
    catchers_hare: int = 1
    miscapture_punishment: float = 0.0
    time_reward: float = 0.0
    capture_freezes: bool = False
    capture_ends_episode: bool = False
    prey_block_predators: bool = True
    toroidal: bool = False
    rest_probability_stag: float = 0.0
    rest_probability_hare: float = 0.0
    obs_radius: int = 2
    observe_walls: bool = False
    episode_limit: int = 200

    def __post_init__(self) -> None:
        _whole(self.height, "height", 1)
        _whole(self.width, "width", 1)
        _whole(self.n_predators, "n_predators", 1)
        _whole(self.n_stags, "n_stags", 0)
        _whole(self.n_hares, "n_hares", 0)
        _whole(self.catchers_stag, "catchers_stag", 1, 4)
        _whole(self.catchers_hare, "catchers_hare", 1, 4)
        _whole(self.obs_radius, "obs_radius", 1)
        _whole(self.episode_limit, "episode_limit", 1)
        _number(self.reward_stag, "reward_stag")
        _number(self.reward_hare, "reward_hare")
        _number(self.time_reward, "time_reward")
        _number(self.rest_probability_stag, "rest_probability_stag", 0.0, 1.0)
        _number(self.rest_probability_hare, "rest_probability_hare", 0.0, 1.0)
        _flag(self.capture_freezes, "capture_freezes")
        _flag(self.capture_ends_episode, "capture_ends_episode")
        _flag(self.prey_block_predators, "prey_block_predators")
        _flag(self.toroidal, "toroidal")
        _flag(self.observe_walls, "observe_walls")
        _number(self.miscapture_punishment, "miscapture_punishment")
        if self.miscapture_punishment > 0:
            raise ValueError(
                f"miscapture_punishment is {self.miscapture_punishment}; it is added to the reward as it is, "
                f"so give a number <= 0, here {-self.miscapture_punishment}."
            )
        if self.n_prey == 0:
            raise ValueError("n_stags and n_hares are both 0; give at least one prey.")
        entities = self.n_predators + self.n_prey
        if entities > self.height * self.width:
            raise ValueError(
                f"{entities} predators and prey do not fit on {self.height} x {self.width} = "
                f"{self.height * self.width} cells; enlarge the grid or lower the numbers."
            )
        if self.observe_walls and self.toroidal:
            raise ValueError(
                "observe_walls is True on a torus, which has no walls; leave out observe_walls or toroidal."
            )
        window = 2 * self.obs_radius + 1
        if self.toroidal and min(self.height, self.width) < window:
            raise ValueError(
                f"toroidal with obs_radius {self.obs_radius} sees {window} cells across, more than the grid "
                f"of {self.height} x {self.width} has; lower obs_radius or enlarge the grid."
            )

    @property
    def n_prey(self) -> int:
        """Stags and hares together."""
        return self.n_stags + self.n_hares

    @property
    def obs_dim(self) -> int:
        """Numbers in one agent's observation: its window, 3 channels per cell."""
        return (2 * self.obs_radius + 1) ** 2 * N_CHANNELS

    @property
    def state_dim(self) -> int:
        """Numbers in the state: the whole grid, 3 channels per cell."""
        return self.height * self.width * N_CHANNELS

    def spec(self) -> TeamSpec:
        """The team that these rules make."""
        return TeamSpec(
            n_agents=self.n_predators,
            n_actions=len(ACTION_NAMES),
            obs_dim=self.obs_dim,
            state_dim=self.state_dim,
            episode_limit=self.episode_limit,
            agent_ids=tuple(f"predator_{i}" for i in range(self.n_predators)),
            agent_groups=("predator",) * self.n_predators,
            obs_dtype="int8" if self.observe_walls else "uint8",
            state_dtype="uint8",
            has_win=True,
            state_views=state_views(
                self.height, self.width, (self.n_predators, self.n_stags, self.n_hares), self.capture_freezes
            ),
        )


def _whole(value: Any, name: str, low: int, high: int | None = None) -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= low
    if not good or (high is not None and value > high):
        expected = f">= {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} is {value!r}; give a whole number {expected}.")


def _number(value: Any, name: str, low: float = -math.inf, high: float = math.inf) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= value <= high:
        expected = "a finite number" if low == -math.inf else f"a number in {low:g}..{high:g}"
        raise ValueError(f"{name} is {value!r}; give {expected}.")


def _flag(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; give True or False.")


def _reborn(size: int, n_predators: int, n_stags: int) -> PredatorPreyRules:
    return PredatorPreyRules(
        height=size,
        width=size,
        n_predators=n_predators,
        n_stags=n_stags,
        time_reward=-0.1,
        obs_radius=3,
        episode_limit=150,
    )


def _gradps(size: int, each: int) -> PredatorPreyRules:
    return PredatorPreyRules(
        height=size,
        width=size,
        n_predators=each,
        n_stags=each,
        n_hares=each,
        reward_hare=2.0,
        obs_radius=3,
        episode_limit=150,
    )


#: Name -> rules. The origin of every value is in :class:`PredatorPreyRules`.
PRESETS = MappingProxyType(
    {
        "small": _reborn(20, 6, 12),
        "middle": _reborn(30, 12, 24),
        "large": _reborn(40, 18, 36),
        "gradps_small": _gradps(20, 6),
        "gradps_medium": _gradps(25, 10),
        "gradps_large": _gradps(30, 15),
        "stag_hunt": PredatorPreyRules(
            height=10,
            width=10,
            n_predators=8,
            n_stags=8,
            miscapture_punishment=-2.0,
            capture_freezes=True,
            obs_radius=2,
            episode_limit=200,
        ),
    }
)
