"""Environments of this package that step many games as arrays, beside the packages whose games they are.

``python -m benchmarks.array_envs lbf|rware|mpe|all`` prints CPU microseconds per env step of both, and the ratio. Each suite
is a module of this package with two names:

- ``NAMES``: names of environments of this package that are measured;
- ``original(name, seconds)``: CPU microseconds per env step of the package's own game of that name, one game stepped in a
  loop with its resets, for about so many seconds; None where the package cannot be played here.
"""
