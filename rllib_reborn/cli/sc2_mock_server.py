"""``sc2-mock-server``: the server that speaks StarCraft II's protocol and is not StarCraft II, for debugging."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rllib_reborn.cli.command import EXIT_FAILED, EXIT_OK, Command, UsageError, mistakes, whole_number

if TYPE_CHECKING:
    from rllib_reborn.envs.starcraft.mock_server.faults import FaultPlan

DEFAULT_PORT = 5000


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=whole_number, default=DEFAULT_PORT, metavar="N", help=f"default {DEFAULT_PORT}; 0: a free one"
    )
    parser.add_argument("--map", metavar="NAME", help="play this map, e.g. 3m, whatever map a client asks for")
    parser.add_argument(
        "--faults", metavar="FILE", help="JSON: what is to go wrong, see envs/starcraft/mock_server/faults.py"
    )
    parser.add_argument(
        "--install",
        metavar="FOLDER",
        help="write an installation that starts this server instead of the game, and serve nothing now",
    )


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.envs.starcraft.errors import InstallationError
    from rllib_reborn.envs.starcraft.mock_server import NOTICE
    from rllib_reborn.envs.starcraft.mock_server.faults import FaultPlan, PlanError, read_plan
    from rllib_reborn.envs.starcraft.mock_server.maps import MAPS
    from rllib_reborn.envs.starcraft.packages import protocol
    from rllib_reborn.suggestions import did_you_mean

    with mistakes(PlanError, InstallationError):
        plan = read_plan(args.faults) if args.faults else FaultPlan()
        protocol()
    if args.map is not None and args.map not in MAPS:
        raise UsageError(f"there is no map {args.map!r}.{did_you_mean(args.map, MAPS)}")
    print(NOTICE, flush=True)
    if args.install is not None:
        return _install(args.install, plan if args.faults else None)
    from rllib_reborn.envs.starcraft.mock_server.server import Options, serve

    status = serve(Options(port=args.port, map_name=args.map), plan)
    return EXIT_OK if status == 0 else EXIT_FAILED


def _install(folder: str, plan: FaultPlan | None) -> int:
    from rllib_reborn.envs.starcraft.mock_server.install import make_mock_install

    root = make_mock_install(folder, faults=plan)
    print(f"{root} now starts this server wherever StarCraft II would be started from it: export SC2PATH={root}")
    return EXIT_OK


COMMAND = Command(
    "sc2-mock-server",
    "Serve StarCraft II's protocol from the battle simulator, to debug what talks to the game. It is not the game.",
    _add_arguments,
    _run,
)
