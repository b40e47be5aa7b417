"""A battle simulator: SMAC's and SMACv2's scenarios and rules, physics of our own. What is played on it is never SMAC.

===================== ==================================================================================================
``battle_env.py``     ``BattleTeamEnv``: battles and SMAC's rules as a team environment; ``names.py``: ``battle/<scenario>``
``battlefield.py``    ``Battlefield``: units, orders, time for B battles
``unit_stats.py``     facts of the units
``field_state.py``    everything that decides how battles go on; ``field_rules.py``: numbers and switches
``physics_numpy.py``  one game loop as array operations, with ``enemy_script.py`` (whom the enemy attacks), ``attacks.py``
                      (attacks that hit) and ``collisions.py`` (units in each other's way)
``physics_numba.py``  the same loop compiled (``numba_kernels.py``), the same bits; needs numba
``terrains.py``       the terrain; ``pathfinding.py``: ways around walls; ``formations.py``: where units stand at the start
``scripted.py``       teams that follow a script; ``drawing.py``: pictures
===================== ==================================================================================================
"""
