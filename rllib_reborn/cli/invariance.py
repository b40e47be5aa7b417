"""``invariance``: what an intervention would do to a saved team's values, its order of joint actions and its choices."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from rllib_reborn.cli.command import (
    EXIT_OK,
    Command,
    CommandFailed,
    UsageError,
    mistakes,
    positive_number,
    user_path,
    whole_number,
)

if TYPE_CHECKING:
    from rllib_reborn.studies.invariance import InvarianceReport


#: Largest seed; games and generators take 32 bits, and a study uses the next one too.
MOST_SEED = 2**31 - 1


def seed_number(text: str) -> int:
    """Argument type: a whole number in 0..2**31 - 1."""
    if whole_number(text) > MOST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is too large for a seed; expected at most {MOST_SEED}")
    return int(text)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=user_path, metavar="CHECKPOINT", help="checkpoint folder, or run folder (its newest)"
    )
    parser.add_argument("--intervention", default="reborn", metavar="KIND", help="what to apply; default reborn")
    parser.add_argument("--rule", choices=("paper", "official_code"), help="ReBorn's rule; default paper")
    parser.add_argument("--alpha", type=float, metavar="X", help="dormant: score <= X; default 0.1")
    parser.add_argument("--beta", type=float, metavar="X", help="over-active: score >= X; default 3")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="any other setting of the intervention, the value in YAML; repeatable: --set scope=all --set which=all",
    )
    parser.add_argument("--pairs", type=positive_number, default=20_000, metavar="N", help="default 20000")
    parser.add_argument("--episodes", type=positive_number, default=32, metavar="N", help="default 32")
    parser.add_argument("--seed", type=seed_number, default=0, metavar="N", help="0 to 2**31 - 1; default 0")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.checkpoints import CheckpointError, require_folder

    with mistakes(CheckpointError):
        require_folder(args.checkpoint)
    from rllib_reborn.envs.contract import EnvContractError
    from rllib_reborn.envs.factories import UnknownEnvError
    from rllib_reborn.experiments.own_config import use_own_checkpoint
    from rllib_reborn.experiments.ray_session import show_ray_messages
    from rllib_reborn.plasticity.interventions import SurgeryRefused, make_intervention
    from rllib_reborn.studies.invariance import (
        StudyRefused,
        check_can_be_studied,
        draw_sample,
        study,
    )
    from rllib_reborn.studies.trained_policy import load_team

    show_ray_messages("error")
    with mistakes(ValueError):
        intervention = make_intervention(_settings(args))
    with mistakes(FileNotFoundError, UnknownEnvError, ValueError):
        checkpoint, team = use_own_checkpoint(args.checkpoint, load_team)
    try:
        check_can_be_studied(intervention)
        sample = draw_sample(team, pairs=args.pairs, episodes=args.episodes, seed=args.seed)
        report = study(team, intervention, sample)
    except (FileNotFoundError, UnknownEnvError, EnvContractError, StudyRefused, SurgeryRefused) as error:
        raise UsageError(str(error)) from error
    except ValueError as error:
        # What was asked for is fine, and the game or the networks are not.
        raise CommandFailed(f"the study of {checkpoint} could not be finished: {error}") from error
    if args.json:
        print(json.dumps(report.to_dict()))
    else:
        print(f"{team.played}, {args.episodes} episodes, seed {args.seed}: {checkpoint}")
        print(_as_text(report))
    return EXIT_OK


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the intervention is made of: only what was given; other interventions have other settings, and say so
    themselves.

    Raises:
        UsageError: A ``--set`` is not KEY=VALUE, its value is not YAML, or it says what another option says.
    """
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.experiments.yaml_text import parse_yaml

    options = {name: value for name in ("rule", "alpha", "beta") if (value := vars(args)[name]) is not None}
    found: dict[str, Any] = {}
    for text in args.settings:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key or not value.strip():
            raise UsageError(f"--set {text!r} is no setting; expected KEY=VALUE, e.g. --set scope=all.")
        if key == "kind":
            raise UsageError(f"--set {text!r}: say --intervention {value.strip()} instead.")
        if key in options:
            raise UsageError(f"--set {text!r}: --{key} was given too; keep one of them.")
        with mistakes(ExperimentError):
            found[key] = parse_yaml(value, f"--set {text!r}")
    return {"kind": args.intervention, **options, **found}


def _as_text(report: InvarianceReport) -> str:
    """A table of the intervention beside its two controls, and a sentence."""
    heads = ("", report.intervention, "mixer reset", "agents' last layer reset")
    control = report.control_strict_pairs
    rows = [
        (
            "neurons with new weights",
            f"{report.neurons_touched}",
            "all" if report.mixer_neurons else "0",
            f"{report.control_neurons_touched}",
        ),
        ("strict pairs", f"{report.strict_pairs:,}", f"{report.strict_pairs:,}", f"{control:,}"),
        (
            "orders reversed",
            f"{report.order_flips:,}",
            f"{report.mixer_reset_order_flips:,}",
            f"{report.control_order_flips:,}",
        ),
        (
            "greedy actions changed",
            f"{report.greedy_changed:,} ({report.greedy_changed_share:.1%})",
            f"{report.mixer_reset_greedy_changed:,} ({report.mixer_reset_greedy_changed / report.states:.1%})",
            f"{report.control_greedy_changed:,} ({report.control_greedy_changed_share:.1%})",
        ),
        (
            "Q_tot changed by",
            f"{100 * report.function_drift:.3g} %",
            f"{100 * report.mixer_reset_function_drift:.3g} %",
            f"{100 * report.control_function_drift:.3g} %",
        ),
    ]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [heads, *rows]]
    lines.append(f"greedy action beaten in {report.greedy_beaten:,} of {report.greedy_pairs:,} strict pairs with it")
    if report.igm_checked:
        lines.append(
            f"IGM violated in {report.igm_violations:,} of {report.igm_checked:,} states (all joint actions tried)"
        )
    else:
        lines.append("IGM not enumerated: too many joint actions")
    lines.append(f"agents' networks: {'equal to the bit' if report.agents_identical else 'changed'}")
    return "\n".join([*lines, report.verdict])


COMMAND = Command(
    "invariance", "Show what an intervention on a saved team keeps: function, order, choices.", _add_arguments, _run
)
