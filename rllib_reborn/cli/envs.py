"""``envs``: the environments, and a check of one."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rllib_reborn.cli.command import EXIT_FAILED, EXIT_OK, Command, UsageError, mistakes
from rllib_reborn.cli.env_options import add_option_arguments, env_options
from rllib_reborn.limits import SAMPLE_S

if TYPE_CHECKING:
    from rllib_reborn.envs.checker import CheckResult

CHECK_SEED = 0
MARKS = {True: "ok", False: "FAILED", None: "not run"}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="check this one, e.g. predator_prey/small or pettingzoo:mpe2.simple_spread_v3",
    )
    add_option_arguments(parser, "options of the environment, values in YAML: max_cycles=50 team.agents=adversary")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(args: argparse.Namespace) -> int:
    return _list_all(args.json) if args.name is None else _check_one(args.name, env_options(args.overrides), args.json)


def _list_all(as_json: bool) -> int:
    from rllib_reborn.envs.registry import ENVS

    rows = [_sizes(name) for name in ENVS]
    if as_json:
        print(json.dumps(rows))
        return EXIT_OK
    width = max(len(row["name"]) for row in rows)
    print(f"{'':<{width}}  agents  actions    obs  state  limit  what")
    for row in rows:
        print(
            f"{row['name']:<{width}}  {row['n_agents']:>6}  {row['n_actions']:>7}  {row['obs_dim']:>5}  "
            f"{row['state_dim']:>5}  {row['episode_limit']:>5}  {ENVS[row['name']].summary}"
        )
    for family in ENVS.families:
        print(f"{family.prefix + '...':<{width}}  {family.summary}")
    return EXIT_OK


def _check_one(name: str, options: dict[str, Any], as_json: bool) -> int:
    from rllib_reborn.envs.checker import UNAVAILABLE
    from rllib_reborn.envs.factories import UnknownEnvError

    # A wrong option and an environment that cannot become a team are ValueErrors, as an unknown name is.
    with mistakes(UnknownEnvError, ValueError):
        sizes = _sizes(name, options)
    checks, advice = _checks(name, options)
    missing = next((check for check in checks if check.name == UNAVAILABLE), None)
    if as_json:
        content = [{"name": check.name, "ok": check.ok, "sentence": check.sentence} for check in checks]
        print(json.dumps({**sizes, "checks": content, "advice": advice}))
    else:
        for key, value in sizes.items():
            print(f"{key:<14} {', '.join(value) if isinstance(value, list) else value}")
        for check in checks:
            # Why not is said once, by the error.
            sentence = "cannot be played on this machine." if check is missing else check.sentence
            if check.ok is False and check.same_as is not None:
                sentence = f"the same as {check.same_as}."
            print(f"{MARKS[check.ok]:<7}  {check.name}: {sentence}")
        for sentence in advice:
            print(f"{'advice':<7}  {sentence}")
    if missing is not None:
        sys.stdout.flush()
        raise UsageError(f"environment {name!r} cannot be played here: {missing.sentence}")
    return EXIT_FAILED if any(check.ok is False for check in checks) else EXIT_OK


def _checks(name: str, options: dict[str, Any]) -> tuple[list[CheckResult], list[str]]:
    """The checks and, where none of them has failed, advice."""
    from rllib_reborn.envs.advice import learning_advice
    from rllib_reborn.envs.checker import UNAVAILABLE, check_team_env
    from rllib_reborn.envs.factories import UnknownEnvError, close_or_warn
    from rllib_reborn.envs.registry import make_team_env

    with mistakes(UnknownEnvError, ValueError):
        env = make_team_env(name, num_envs=2, **options)
    try:
        with _failures_logged_once():
            checks = check_team_env(
                env, CHECK_SEED, make=lambda games: make_team_env(name, games, **options), patience_s=SAMPLE_S
            )
            sound = all(check.ok is not False and check.name != UNAVAILABLE for check in checks)
            return checks, learning_advice(env, name, CHECK_SEED) if sound else []
    finally:
        close_or_warn(env, name)


@contextlib.contextmanager
def _failures_logged_once() -> Iterator[None]:
    """Of the warnings that games fail, the first alone, which shows where: the checks make the same game fail many times."""
    passed: list[logging.LogRecord] = []

    def first(record: logging.LogRecord) -> bool:
        passed.append(record)
        return len(passed) == 1

    logger = logging.getLogger("rllib_reborn.envs.vectorize.executor_env")
    logger.addFilter(first)
    try:
        yield
    finally:
        logger.removeFilter(first)


def _sizes(name: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    from rllib_reborn.envs.registry import team_spec
    from rllib_reborn.envs.state_views import FULL, NONE

    spec = team_spec(name, **(options or {}))
    return {
        "name": name,
        "n_agents": spec.n_agents,
        "n_actions": spec.n_actions,
        "obs_dim": spec.obs_dim,
        "state_dim": spec.state_dim,
        "states": [FULL, NONE, *(view.name for view in spec.state_views)] if spec.state_dim else [],
        "episode_limit": spec.episode_limit,
    }


COMMAND = Command("envs", "List the environments, or check one.", _add_arguments, _run, takes_overrides=True)
