"""``probe``: how fast saved nets, treated ones and fresh ones fit new targets."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_reborn.cli.command import EXIT_OK, Command, CommandFailed, UsageError, mistakes, positive_number
from rllib_reborn.cli.command import whole_number as whole
from rllib_reborn.cli.invariance import seed_number

if TYPE_CHECKING:
    from rllib_reborn.studies.probe import ProbeSettings, ProbeStudy

#: Options that only checkpoints take, and those that only experiments take.
_OF_CHECKPOINTS = ("arms", "updates", "scale", "task")
_OF_EXPERIMENTS = ("at", "holdout", "target_every", "set")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="+",
        metavar="CHECKPOINT|RUN|NAME",
        help="checkpoint folders, or run folders (their newest); or experiments: fresh nets on a random policy's episodes",
    )
    parser.add_argument("--seeds", type=positive_number, default=3, metavar="N", help="repetitions; default 3")
    parser.add_argument(
        "--batch", type=positive_number, default=8, metavar="N", help="episodes in an update; default 8"
    )
    parser.add_argument(
        "--episodes",
        type=positive_number,
        metavar="N",
        help="default 128, a quarter of them held out; of an experiment 160, all to learn from",
    )
    parser.add_argument(
        "--seed", type=seed_number, default=0, metavar="N", help="first seed, 0 to 2**31 - 1; default 0"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    saved = parser.add_argument_group("checkpoints")
    saved.add_argument("--arms", metavar="A,B,...", help="what is compared; default all, see docs/probe.md")
    saved.add_argument("--updates", type=positive_number, metavar="N", help="of each net; default 300")
    saved.add_argument("--scale", type=float, metavar="X", help="deviation of the new reward, in Q_tot; default 1")
    saved.add_argument("--task", metavar="ENV", help="learn the returns of this environment of the same shapes instead")
    named = parser.add_argument_group("experiments")
    named.add_argument("--at", metavar="N,N,...", help="updates after which nets are looked at; default 60,120,200")
    named.add_argument("--holdout", type=positive_number, metavar="N", help="further episodes to test on; default 64")
    named.add_argument(
        "--target-every", type=whole, metavar="N", help="updates between copies of target networks; 0: never copied"
    )
    named.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="a setting of the experiment: training.optimizer.eps=1e-8; repeatable",
    )


def _run(args: argparse.Namespace) -> int:
    folders = [text for text in args.what if Path(text).expanduser().is_dir()]
    if folders and len(folders) < len(args.what):
        other = next(text for text in args.what if text not in folders)
        raise UsageError(f"{other!r} is no folder and others are; give checkpoints, or names of experiments, not both.")
    _refuse(args, _OF_EXPERIMENTS if folders else _OF_CHECKPOINTS, "experiments" if folders else "checkpoints")
    from rllib_reborn.experiments.ray_session import show_ray_messages

    show_ray_messages("error")
    return _of_checkpoints(args) if folders else _of_experiments(args)


def _refuse(args: argparse.Namespace, names: tuple[str, ...], of: str) -> None:
    for name in names:
        if getattr(args, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is of {of}, and {args.what[0]} is none; leave it out.")


# ---------------------------------------------------------------------------------------------------------- checkpoints


def _of_checkpoints(args: argparse.Namespace) -> int:
    from rllib_reborn.checkpoints import CheckpointError
    from rllib_reborn.cli.probe_table import as_rows, checkpoint_lines, pooled_lines
    from rllib_reborn.experiments.own_config import use_own_checkpoint
    from rllib_reborn.studies.probe import ProbeSettings

    given = {name: getattr(args, name) for name in ("updates", "episodes", "scale", "task")}
    given["arms"] = None if args.arms is None else tuple(part.strip() for part in args.arms.split(","))
    with mistakes(ValueError):
        settings = ProbeSettings(
            seeds=args.seeds, batch=args.batch, seed=args.seed, **{k: v for k, v in given.items() if v is not None}
        )
    with mistakes(CheckpointError):  # all of them, before the first is studied
        found = [use_own_checkpoint(Path(text).expanduser(), lambda folder: None)[0] for text in args.what]
    results = []
    for number, checkpoint in enumerate(found):
        study = _study(checkpoint, settings)
        print(f"{checkpoint}: {_estimate(study, len(found) - number)}", file=sys.stderr, flush=True)
        result = study.run(lambda arm, seed, curve: _progress(args.json, arm, seed, curve.area))
        lines = [json.dumps(row) for row in as_rows(result)] if args.json else checkpoint_lines(result)
        print("\n".join(lines), flush=True)
        results.append(result)
    if len(results) > 1 and not args.json:
        print("\n".join(pooled_lines(results)))
    return EXIT_OK


def _study(checkpoint: Path, settings: ProbeSettings) -> ProbeStudy:
    from rllib_reborn.envs.contract import EnvContractError
    from rllib_reborn.envs.factories import UnknownEnvError
    from rllib_reborn.studies.probe import ProbeStudy

    with mistakes(FileNotFoundError, UnknownEnvError, EnvContractError, ValueError):
        return ProbeStudy.of_checkpoint(checkpoint, settings)


def _estimate(study: ProbeStudy, left: int) -> str:
    from rllib_reborn.evaluation.text import count, format_time

    settings, seconds = study.settings, study.estimate_seconds()
    whole_of_it = f", {format_time(left * seconds)} for the {left} checkpoints left" if left > 1 else ""
    return (
        f"{count(len(settings.arms), 'arm')} x {count(settings.seeds, 'repetition')} x {count(settings.updates, 'update')}, "
        f"about {format_time(seconds)} of one core{whole_of_it}"
    )


def _progress(quiet: bool, arm: str, seed: int, area: float) -> None:
    if not quiet:
        print(f"  repetition {seed}, {arm}: {area:.3f}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------------- experiments


def _of_experiments(args: argparse.Namespace) -> int:
    from rllib_reborn.cli.probe_table import scratch_lines, scratch_row
    from rllib_reborn.envs.contract import EnvContractError
    from rllib_reborn.experiments.build import build_config
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.experiments.load import load_experiment
    from rllib_reborn.studies.probe.from_scratch import ScratchSettings, learn_from_scratch

    given: dict[str, Any] = {name: getattr(args, name) for name in ("episodes", "holdout", "target_every")}
    given["at"] = None if args.at is None else _numbers(args.at)
    with mistakes(ValueError):
        settings = ScratchSettings(
            seeds=args.seeds, batch=args.batch, seed=args.seed, **{k: v for k, v in given.items() if v is not None}
        )
    configs = []
    for name in args.what:
        try:
            configs.append(build_config(load_experiment(name, args.set or ())))
        except ExperimentError as error:
            raise UsageError(f"{name!r} is no folder of a checkpoint or run, and no experiment: {error}") from error
    for name, config in zip(args.what, configs, strict=True):
        name = " ".join([name, *(args.set or ())])
        rows = []
        try:
            for row in learn_from_scratch(config, settings):
                rows.append(row)
                if args.json:
                    print(json.dumps(scratch_row(name, settings, row)), flush=True)
        except (EnvContractError, ValueError) as error:
            raise CommandFailed(f"{name}: {error}") from error
        if not args.json:
            print("\n".join(scratch_lines(name, settings, rows)), flush=True)
    return EXIT_OK


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--at {text!r} is no list of whole numbers; expected such as --at 60,120,200.")
    return tuple(int(part) for part in parts)


COMMAND = Command(
    "probe",
    "Show how fast saved, treated and fresh nets fit new targets: a measure of lost plasticity.",
    _add_arguments,
    _run,
)
