"""``invariance-table``: what interventions keep of saved teams, on the mixer alone and on all networks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rllib_reborn.cli.command import EXIT_OK, Command, CommandFailed, UsageError, mistakes, positive_number, user_path
from rllib_reborn.cli.invariance import seed_number

#: What is studied if nothing is said: the three interventions of the ReBorn paper's Table 3.
KINDS = ("reborn", "redo", "reset")
SCOPES = ("mixer", "all")

_HEADS = (
    "algorithm",
    "intervention",
    "scope",
    "neurons",
    "Q_tot changed by",
    "strict pairs",
    "orders reversed",
    "greedy actions changed",
    "greedy action beaten",
    "IGM violated, before and after",
)

#: What a reader of the table must know of an algorithm's rows, see docs/invariance.md.
_OF_ALGORITHM = {
    "QPLEX": "the weights of its mixer depend on the joint action, so a changed mixer may reverse orders though the agents "
    "stay as they are; no change of it makes another joint action better than the greedy one. Read 'greedy action beaten', "
    "not 'orders reversed'.",
    "DMIX": "the order is that of the means of its distributions.",
    "RMIX": "the order is that of its agents' risk measures.",
    "WQMIX": "the order is that of Q_tot, by which the agents act; its unrestricted critic, treated in both scopes, is "
    "not counted.",
    "ResQ": "the order is that of Q_tot, by which the agents act; its unrestricted critic and its residual, which both "
    "scopes treat, too, are not counted.",
}
_NOTHING_TREATED = (
    "0 neurons: nothing met the intervention's thresholds; the other numbers of the row say nothing about it."
)
_AGENTS_TREATED = "scope all: the agents' networks are changed, too, and nothing assures that any order is kept."


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoints",
        type=user_path,
        nargs="+",
        metavar="CHECKPOINT",
        help="checkpoint folders, or run folders (their newest); one row for each, intervention and scope",
    )
    parser.add_argument(
        "--interventions",
        type=lambda text: list(dict.fromkeys(kind.strip() for kind in text.split(","))),
        default=KINDS,
        metavar="KIND,...",
        help=f"with their defaults; default {','.join(KINDS)}",
    )
    parser.add_argument("--pairs", type=positive_number, default=20_000, metavar="N", help="default 20000")
    parser.add_argument("--episodes", type=positive_number, default=32, metavar="N", help="default 32")
    parser.add_argument("--seed", type=seed_number, default=0, metavar="N", help="0 to 2**31 - 1; default 0")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row instead of a Markdown table")


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.checkpoints import CheckpointError, require_folder
    from rllib_reborn.plasticity.interventions import make_intervention

    with mistakes(CheckpointError, ValueError):
        for kind in args.interventions:
            make_intervention({"kind": kind})
        for path in args.checkpoints:
            require_folder(path)
    from rllib_reborn.experiments.own_config import use_own_checkpoint
    from rllib_reborn.experiments.ray_session import show_ray_messages

    with mistakes(CheckpointError):  # all of them, before the first is studied
        checkpoints = [use_own_checkpoint(path, lambda checkpoint: None)[0] for path in args.checkpoints]

    show_ray_messages("error")
    if not args.json:
        print(_line(_HEADS))
        print(_line(["---"] * len(_HEADS)))
    rows = []
    for checkpoint in checkpoints:
        for row in _rows(checkpoint, args.interventions, args.pairs, args.episodes, args.seed):
            print(json.dumps(row) if args.json else _line(_cells(row)), flush=True)
            rows.append(row)
    if not args.json:
        print("", *(f"- {note}" for note in _notes(rows)), sep="\n")
    return EXIT_OK


def _rows(checkpoint: Path, kinds: Sequence[str], pairs: int, episodes: int, seed: int) -> Iterator[dict[str, Any]]:
    """A row for each intervention and scope: ``algorithm``, ``env``, ``checkpoint``, ``intervention``, ``scope`` and either
    what the report has or ``refused``, the reason why there is none."""
    from rllib_reborn.envs.contract import EnvContractError
    from rllib_reborn.envs.factories import UnknownEnvError
    from rllib_reborn.plasticity.interventions import make_intervention
    from rllib_reborn.studies.invariance import StudyRefused, draw_sample, study
    from rllib_reborn.studies.trained_policy import load_team

    with mistakes(FileNotFoundError, UnknownEnvError, ValueError):
        team = load_team(checkpoint)
    try:
        sample = draw_sample(team, pairs=pairs, episodes=episodes, seed=seed)
    except (FileNotFoundError, UnknownEnvError, EnvContractError, StudyRefused) as error:
        raise UsageError(f"{checkpoint}: {error}") from error
    except ValueError as error:
        raise CommandFailed(f"the study of {checkpoint} could not be finished: {error}") from error
    for kind in kinds:
        for scope in SCOPES:
            row = {
                "algorithm": team.module.algorithm,
                "env": team.played,
                "checkpoint": str(checkpoint),
                "intervention": kind,
                "scope": scope,
            }
            try:
                yield row | study(team, make_intervention({"kind": kind, "scope": scope}), sample).to_dict()
            except ValueError as error:  # refused, or the networks are such that nothing can be counted
                yield row | {"refused": str(error)}


def _cells(row: dict[str, Any]) -> list[str]:
    from rllib_reborn.evaluation.text import format_number

    cells = [row["algorithm"], row["intervention"], row["scope"]]
    if "refused" in row:
        return [*cells, row["refused"], *[""] * (len(_HEADS) - len(cells) - 1)]
    if row["mixer_neurons"] == 0 and row["scope"] == "mixer":
        return [*cells, "no mixer to treat", *[""] * (len(_HEADS) - len(cells) - 1)]
    igm = "too many joint actions"
    if row["igm_checked"]:
        igm = f"{row['igm_violations_before']} and {row['igm_violations']} of {row['igm_checked']}"
    return [
        *cells,
        f"{row['neurons_touched']}",
        f"{format_number(100 * row['function_drift'])} %",
        f"{row['strict_pairs']:,}",
        f"{row['order_flips']:,}",
        f"{row['greedy_changed']:,} ({row['greedy_changed_share']:.1%})",
        f"{row['greedy_beaten']:,} of {row['greedy_pairs']:,}",
        igm,
    ]


def _notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What has to be known to read these rows."""
    counted = [row for row in rows if "refused" not in row]
    there = {row["algorithm"] for row in counted}
    notes = [f"{algorithm}: {note}" for algorithm, note in _OF_ALGORITHM.items() if algorithm in there]
    if any(row["neurons_touched"] == 0 and (row["mixer_neurons"] or row["scope"] == "all") for row in counted):
        notes.append(_NOTHING_TREATED)
    if any(row["scope"] == "all" for row in counted):
        notes.append(_AGENTS_TREATED)
    return notes


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


COMMAND = Command(
    "invariance-table",
    "Table of what ReBorn, ReDo and ReSet keep of saved teams, on the mixer and on all networks.",
    _add_arguments,
    _run,
)
