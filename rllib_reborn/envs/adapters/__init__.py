"""Foreign environments as teams: PettingZoo, Gymnasium suites with tuple spaces, RLlib's MultiAgentEnv.

Nothing is imported here: each adapter needs the library whose environments it adapts. Names such as
``pettingzoo:mpe2.simple_spread_v3`` are resolved by :func:`rllib_reborn.envs.make_team_env`.
"""
