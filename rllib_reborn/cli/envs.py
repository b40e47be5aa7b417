"""``envs``: the environments, and a check of one."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rllib_reborn.cli.command import EXIT_FAILED, EXIT_OK, Command, mistakes

CHECK_SEED = 0
MARKS = {True: "ok", False: "FAILED", None: "not run"}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="check this one, e.g. predator_prey/small")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(args: argparse.Namespace) -> int:
    return _list_all(args.json) if args.name is None else _check_one(args.name, args.json)


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
    return EXIT_OK


def _check_one(name: str, as_json: bool) -> int:
    from rllib_reborn.envs.checker import check_team_env
    from rllib_reborn.envs.registry import UnknownEnvError, make_team_env

    with mistakes(UnknownEnvError):
        sizes = _sizes(name)
    env = make_team_env(name, num_envs=2)
    try:
        checks = check_team_env(env, CHECK_SEED, make=lambda games: make_team_env(name, games))
    finally:
        env.close()
    if as_json:
        content = [{"name": check.name, "ok": check.ok, "sentence": check.sentence} for check in checks]
        print(json.dumps({**sizes, "checks": content}))
    else:
        for key, value in sizes.items():
            print(f"{key:<14} {value}")
        for check in checks:
            print(f"{MARKS[check.ok]:<7}  {check.name}: {check.sentence}")
    return EXIT_FAILED if any(check.ok is False for check in checks) else EXIT_OK


def _sizes(name: str) -> dict[str, Any]:
    from rllib_reborn.envs.registry import team_spec

    spec = team_spec(name)
    return {
        "name": name,
        "n_agents": spec.n_agents,
        "n_actions": spec.n_actions,
        "obs_dim": spec.obs_dim,
        "state_dim": spec.state_dim,
        "episode_limit": spec.episode_limit,
    }


COMMAND = Command("envs", "List the environments, or check one.", _add_arguments, _run)
