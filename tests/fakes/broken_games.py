"""One good game, and what its author could have got wrong: one fault each."""

import numpy as np

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame

N, A, D, S, LIMIT = 2, 3, 4, 5, 6


class Good(TeamGame):
    spec = TeamSpec(n_agents=N, n_actions=A, obs_dim=D, state_dim=S, episode_limit=LIMIT)

    def __init__(self):
        self.time = 0
        self.rng = np.random.default_rng(0)

    def reset(self, seed):
        self.rng = np.random.default_rng(seed)
        self.time = 0
        return self.see()

    def step(self, actions):
        self.time += 1
        return GameStep(self.see(), self.reward(), terminated=False, truncated=self.time == LIMIT)

    def see(self):
        mask = np.ones((N, A), bool)
        mask[0, self.time % A] = False
        return GameObs(self.numbers((N, D)), self.numbers((S,)), mask)

    def numbers(self, size):
        return self.rng.random(size).astype(np.float32)

    def reward(self):
        return float(self.rng.random())

    def get_state(self):
        return {"time": self.time, "rng": self.rng.bit_generator.state, "seen": None}

    def set_state(self, state):
        self.time = state["time"]
        self.rng.bit_generator.state = state["rng"]
        return self.see()


class Whole(Good):
    """As :class:`Good`, with a state that also brings back what was last seen."""

    def see(self):
        self.last = super().see()
        return self.last

    def get_state(self):
        return super().get_state() | {"seen": tuple(np.array(part) for part in self.last)}

    def set_state(self, state):
        super().set_state(state)
        self.rng.bit_generator.state = state["rng"]
        self.last = GameObs(*state["seen"])
        return self.last


class NotANumber(Whole):
    def see(self):
        obs = super().see()
        if self.time == 3:
            obs.obs[1, 2] = np.nan
        return obs


class InfiniteReward(Whole):
    def reward(self):
        return np.inf


class WrongSize(Whole):
    def see(self):
        return super().see()._replace(obs=np.zeros((N, D + 1), np.float32))


class GrowsOnTheWay(Whole):
    def see(self):
        obs = super().see()
        return obs if self.time < 2 else obs._replace(state=np.zeros(S + 1, np.float32))


class FractionsAsBytes(Whole):
    spec = TeamSpec(n_agents=N, n_actions=A, obs_dim=D, state_dim=S, episode_limit=LIMIT, obs_dtype="uint8")


class NoActionLeft(Whole):
    def see(self):
        obs = super().see()
        obs.action_mask[1] = self.time < 3
        return obs


class DishonestMask(Whole):
    def step(self, actions):
        if actions[1] == 2:
            raise IndexError("agent 1 cannot do action 2 here")
        return super().step(actions)


class NotSeeded(Whole):
    def numbers(self, size):
        return np.random.random(size).astype(np.float32)


class SharesWithItsNeighbours(Whole):
    played = 0

    def numbers(self, size):
        SharesWithItsNeighbours.played += 1
        return super().numbers(size) + np.float32(SharesWithItsNeighbours.played % 1000)

    def reset(self, seed):
        SharesWithItsNeighbours.played = 0
        return super().reset(seed)


class ForgetsItsRandomness(Whole):
    def set_state(self, state):
        return super().set_state(state | {"rng": np.random.default_rng(99).bit_generator.state})


class DiesLate(Whole):
    def step(self, actions):
        if self.time == LIMIT - 1:
            raise ConnectionError("the simulator has gone away")
        return super().step(actions)
