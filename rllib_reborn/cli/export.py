"""``export``: a saved team as a portable policy, plain torch without Ray."""

from __future__ import annotations

import argparse

from rllib_reborn.cli.command import EXIT_OK, Command, CommandFailed, mistakes, user_path


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=user_path, metavar="CHECKPOINT", help="checkpoint folder, or run folder (its newest)"
    )
    parser.add_argument("--out", type=user_path, required=True, metavar="FOLDER", help="new folder for the policy")


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.checkpoints import CheckpointError, require_folder

    with mistakes(CheckpointError):
        require_folder(args.checkpoint)
    from rllib_reborn.policy import PolicyError
    from rllib_reborn.policy.files import SETTINGS_NAME, WEIGHTS_NAME, check_free

    with mistakes(PolicyError):
        check_free(args.out)  # before the seconds that loading takes
    from rllib_reborn.experiments.own_config import use_own_checkpoint
    from rllib_reborn.experiments.ray_session import show_ray_messages
    from rllib_reborn.studies.trained_policy import load_team

    show_ray_messages("error")
    with mistakes(FileNotFoundError, CheckpointError):
        _, team = use_own_checkpoint(args.checkpoint, load_team)
    try:
        with mistakes(PolicyError):
            policy = team.portable()
            policy.save(args.out)
    except OSError as error:
        raise CommandFailed(f"{args.out} cannot be written: {error}") from error
    spec = policy.spec
    print(
        f"{spec.algorithm} on {spec.env}: {spec.n_agents} agents, {spec.n_actions} actions, {spec.obs_dim} numbers each"
    )
    for name in (SETTINGS_NAME, WEIGHTS_NAME):
        path = args.out / name
        print(f"wrote {path} ({path.stat().st_size:,} bytes)")
    print("To use it, without Ray:")
    print("    from rllib_reborn import Policy")
    print(f"    policy, state = Policy.load({str(args.out)!r}), None")
    print("    actions, state = policy.act(obs, action_mask, state)  # every step; state=None begins an episode")
    return EXIT_OK


COMMAND = Command("export", "Write a saved team as a portable policy: plain torch, no Ray.", _add_arguments, _run)
