"""A template: an environment of your own, from its class to a trained, measured and filmed team.

Three agents on a line of seven cells have to meet. Each sees only its own cell, so they must agree beforehand where; the
global state, which only the mixer sees, has all cells. Replace :class:`Rendezvous` by your own game; a PettingZoo
``ParallelEnv``, a Gymnasium env with Tuple spaces or an RLlib ``MultiAgentEnv`` does as well, without a class of this kind
(``docs/your_env.md``).

    python examples/own_game.py --out my_team
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn import QMIXConfig, TeamSpec, load_team
from rllib_reborn.envs import check_team_env, make_team_env
from rllib_reborn.envs.render import record_gif
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame

N_AGENTS, N_CELLS, LIMIT = 3, 7, 12
MOVES = np.array([0, -1, 1])


class Rendezvous(TeamGame):
    """Actions: stay, left, right (not through the walls). +1 when all are in one cell, -0.05 for each step before."""

    def __init__(self) -> None:
        self.spec = TeamSpec(
            n_agents=N_AGENTS,
            n_actions=len(MOVES),
            obs_dim=N_CELLS,
            state_dim=N_AGENTS * N_CELLS,
            episode_limit=LIMIT,
            obs_dtype="uint8",
            state_dtype="uint8",
            has_win=True,
        )
        self._cells = np.zeros(N_AGENTS, np.int64)
        self._time = 0

    def reset(self, seed: int) -> GameObs:
        self._cells = np.random.default_rng(seed).permutation(N_CELLS)[:N_AGENTS]
        self._time = 0
        return self._see()

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> GameStep:
        self._cells = self._cells + MOVES[actions]
        self._time += 1
        met = bool((self._cells == self._cells[0]).all())
        return GameStep(
            self._see(),
            reward=1.0 if met else -0.05,
            terminated=met,
            truncated=not met and self._time == LIMIT,
            won=met,
        )

    def _see(self) -> GameObs:
        one_hot = np.eye(N_CELLS, dtype=np.uint8)[self._cells]
        mask = np.ones((N_AGENTS, len(MOVES)), bool)
        mask[:, 1], mask[:, 2] = self._cells > 0, self._cells < N_CELLS - 1
        return GameObs(one_hot, one_hot.reshape(-1), mask)

    def render(self) -> npt.NDArray[np.uint8]:
        cells = np.full((N_AGENTS, N_CELLS, 3), 255, np.uint8)
        cells[np.arange(N_AGENTS), self._cells] = (200, 60, 40)
        return cells.repeat(24, axis=0).repeat(24, axis=1)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Check, train, measure, film; returns greedy and random mean returns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=None, help="folder of the checkpoint and the film (default: a new one)"
    )
    parser.add_argument("--quick", action="store_true", help="train for seconds only")
    given = parser.parse_args(arguments)
    out = Path(tempfile.mkdtemp(prefix="own_game_")) if given.out is None else given.out

    # module.path:callable; a script is a module of its file's name for whoever imports it from there.
    name = f"{__spec__.name if __spec__ else Path(__file__).stem}:Rendezvous"
    for check in check_team_env(make_team_env(name, num_envs=2), make=lambda games: make_team_env(name, games)):
        print({True: "ok", False: "FAILED", None: "not run"}[check.ok], check.name, check.sentence)
    config = QMIXConfig().environment(name).env_runners(num_env_runners=0, num_envs_per_env_runner=8)
    config.training(lr=1e-3, epsilon={"anneal_env_steps": 3000}, optimizer={"kind": "adam"}).debugging(seed=0)
    algo = config.build_algo()
    while algo.train()["num_env_steps_sampled_lifetime"] < (1_000 if given.quick else 20_000):
        pass
    team = load_team(algo.save_to_path(out / "checkpoint"))
    algo.stop()
    greedy, chance = team.evaluate(64, seed=1), team.evaluate(64, seed=1, epsilon=1.0)
    print(f"greedy {greedy.returns.mean():.2f}, random {chance.returns.mean():.2f}")
    record_gif(team.evaluate(1, seed=2, record=True).frames or [], out / "team.gif", fps=4)
    print(f"checkpoint and team.gif are in {out}")
    return {"greedy": float(greedy.returns.mean()), "random": float(chance.returns.mean())}


if __name__ == "__main__":
    main()
