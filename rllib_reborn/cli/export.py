"""``export``: a saved team as a portable policy, plain torch without Ray, with a model card; ``--onnx``: as ONNX too."""

from __future__ import annotations

import argparse

from rllib_reborn.cli.command import EXIT_OK, Command, CommandFailed, mistakes, user_path


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=user_path, metavar="CHECKPOINT", help="checkpoint folder, or run folder (its newest)"
    )
    parser.add_argument("--out", type=user_path, required=True, metavar="FOLDER", help="new folder for the policy")
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="write policy.onnx too, which onnxruntime computes without torch; it is compared with the policy first. Needs "
        'pip install "rllib-reborn[onnx]"',
    )


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.checkpoints import CheckpointError, require_folder

    with mistakes(CheckpointError):
        require_folder(args.checkpoint)
    from rllib_reborn.policy import PolicyError
    from rllib_reborn.policy.files import check_free
    from rllib_reborn.policy.to_onnx.packages import require_packages

    with mistakes(PolicyError):
        check_free(args.out)  # before the seconds that loading takes
        if args.onnx:
            require_packages()
    from rllib_reborn.experiments.own_config import use_own_checkpoint
    from rllib_reborn.experiments.ray_session import show_ray_messages
    from rllib_reborn.studies.export import export_team
    from rllib_reborn.studies.trained_policy import load_team
    from rllib_reborn.studies.training_facts import facts_of

    show_ray_messages("error")
    with mistakes(FileNotFoundError, CheckpointError):
        checkpoint, team = use_own_checkpoint(args.checkpoint, load_team)
    try:
        with mistakes(PolicyError, CheckpointError):
            policy = export_team(team, args.out, facts=facts_of(checkpoint), onnx=args.onnx)
    except OSError as error:
        raise CommandFailed(f"{args.out} cannot be written: {error}") from error
    spec = policy.spec
    print(
        f"{spec.algorithm} on {spec.env}: {spec.n_agents} agents, {spec.n_actions} actions, {spec.obs_dim} numbers each"
    )
    for path in sorted(args.out.iterdir()):
        print(f"wrote {path} ({path.stat().st_size:,} bytes)")
    if args.onnx:
        print(
            "policy.onnx was compared with the policy by onnxruntime: equal to 1e-5. README.md has the lines to use it."
        )
    print("To use it, without Ray:")
    print("    from rllib_reborn import Policy")
    print(f"    policy, state = Policy.load({str(args.out)!r}), None")
    print("    actions, state = policy.act(obs, action_mask, state)  # every step; state=None begins an episode")
    return EXIT_OK


COMMAND = Command(
    "export",
    "Write a saved team as a portable policy: plain torch, no Ray; with --onnx as ONNX too.",
    _add_arguments,
    _run,
)
