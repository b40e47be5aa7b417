"""The ReBorn paper's target-interval experiment (Fig. 2b): dormant neurons of QMIX's mixer by target-update interval.

Runs QMIX once for each interval (in episodes) and draws the share of dormant neurons of the mixer over env steps. The
paper's claim is that shorter intervals, so targets that move more, give more dormant neurons. Three things differ from
the paper, and
so may what comes out: it varies the interval of the mixer's target alone, here agents and mixer share it; its runs have
500,000 env steps and intervals of up to 1,000 episodes, the default here is 40,000 env steps (at least 267 episodes)
and intervals of up to 125, so that the longest one updates its targets twice too; and this is one seed. An interval
that would update them less than twice is told, as its curve is that of targets which (nearly) never move. For the
paper's length:

    python examples/target_interval.py --env-steps 500000 --intervals 10 50 250 1000 --check-every 10000
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from rllib_reborn import QMIXConfig
from rllib_reborn.envs.registry import make_team_env

#: Env steps of checks, and the mixer's dormant fraction at each.
Curve = tuple[list[int], list[float]]


def target_updates(env: str, interval: int, env_steps: int) -> int:
    """How often targets are updated at least in ``env_steps``: episodes end early or at the env's limit."""
    game = make_team_env(env, num_envs=1)
    try:
        return env_steps // game.spec.episode_limit // interval
    finally:
        game.close()


def run(env: str, interval: int, *, env_steps: int, check_every: int, seed: int) -> Curve:
    """Train QMIX with targets updated every ``interval`` episodes."""
    algorithm = (
        QMIXConfig()
        .environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
        .training(
            target_update={"every": interval, "unit": "episodes"},
            mixer={"embed_dim": 64},  # Table 2 of the paper
            dormancy={"every": check_every, "unit": "env_steps"},
        )
        .reporting(min_sample_timesteps_per_iteration=check_every)
        .debugging(seed=seed, log_level="ERROR")
        .build_algo()
    )
    steps: list[int] = []
    fractions: list[float] = []
    done = 0
    try:
        while done < env_steps:
            result = algorithm.train()
            done = result["team"]["env_steps"]
            for event in result["plasticity"]:
                steps.append(event["clock"]["env_steps"])
                fractions.append(event["metrics"]["dormancy/mixer/dormant_fraction"])
    finally:
        algorithm.stop()
    return steps, fractions


def draw(curves: dict[int, Curve], env: str, path: Path) -> None:
    """Dormant fraction over env steps, a line for each interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(5.5, 3.6))
    for interval, (steps, fractions) in curves.items():
        panel.plot(steps, [100 * fraction for fraction in fractions], label=f"every {interval} episodes")
    panel.set(title=f"QMIX, {env}", xlabel="env steps", ylabel="dormant neurons of the mixer (%)", ylim=(0, 100))
    panel.legend(title="target update", fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="predator_prey/small", help="default predator_prey/small")
    parser.add_argument("--env-steps", type=int, default=40_000, help="of each run (default 40000)")
    parser.add_argument("--check-every", type=int, default=2_000, help="env steps between two checks (default 2000)")
    parser.add_argument("--intervals", type=int, nargs="+", default=[10, 50, 125], help="episodes (default 10 50 125)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("target_interval.png"), help="figure to write")
    parser.add_argument("--quick", action="store_true", help="a matrix game, 1200 env steps, two intervals")
    options = parser.parse_args(arguments)
    if options.quick:
        options.env, options.env_steps, options.check_every = "matrix/two_step", 1_200, 200
        options.intervals = [10, 300]
    return options


def main(arguments: list[str] | None = None) -> dict[int, Curve]:
    """Run the example; returns the curves by interval."""
    options = parse(arguments)
    for interval in options.intervals:
        updates = target_updates(options.env, interval, options.env_steps)
        if updates < 2:
            print(
                f"note: with an update every {interval} episodes, {options.env_steps} env steps assure only {updates} of "
                "the targets; give more --env-steps or shorter --intervals",
                flush=True,
            )
    logging.getLogger("ray").setLevel(logging.ERROR)
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(num_cpus=1, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    curves = {}
    try:
        for interval in options.intervals:
            steps, fractions = curves[interval] = run(
                options.env,
                interval,
                env_steps=options.env_steps,
                check_every=options.check_every,
                seed=options.seed,
            )
            print(
                f"targets every {interval} episodes: dormant neurons of the mixer {fractions[0]:.1%} at {steps[0]} env "
                f"steps, "
                f"{fractions[-1]:.1%} at {steps[-1]}",
                flush=True,
            )
    finally:
        if started_here:
            ray.shutdown()
    draw(curves, options.env, options.out)
    print(f"figure: {options.out}")
    return curves


if __name__ == "__main__":
    main()
