"""Environments of cooperative teams. Needs numpy only; nothing here imports Ray or torch."""

from rllib_reborn.envs.checker import CheckResult, check_team_env
from rllib_reborn.envs.env_entry import EnvEntry
from rllib_reborn.envs.factories import UnknownEnvError
from rllib_reborn.envs.matrix_games import MatrixGame, TwoStepGame
from rllib_reborn.envs.predator_prey import PredatorPrey, PredatorPreyRules
from rllib_reborn.envs.random_baseline import random_policy_returns
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.registry import ENVS, env_names, make_team_env, team_spec
from rllib_reborn.envs.render import record_gif
from rllib_reborn.envs.state_views import StateView
from rllib_reborn.envs.team_env import IllegalActionError, TeamObs, TeamSpec, TeamStep, VectorTeamEnv, check_actions
from rllib_reborn.obs_parts import ObsPart

__all__ = [
    "ENVS",
    "CheckResult",
    "EnvEntry",
    "IllegalActionError",
    "MatrixGame",
    "ObsPart",
    "PredatorPrey",
    "PredatorPreyRules",
    "RandomStreams",
    "StateView",
    "TeamObs",
    "TeamSpec",
    "TeamStep",
    "TwoStepGame",
    "UnknownEnvError",
    "VectorTeamEnv",
    "check_actions",
    "check_team_env",
    "env_names",
    "make_team_env",
    "random_legal_actions",
    "random_policy_returns",
    "record_gif",
    "team_spec",
]
