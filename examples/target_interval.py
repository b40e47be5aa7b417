"""The ReBorn paper's target-interval experiment (Fig. 2b): dormant units of QMIX's mixer by target-update interval.

Runs QMIX once for each interval (in episodes) and draws the share of dormant units of the mixer over env steps. The paper's
claim is that shorter intervals, so targets that move more, give more dormant units. Three things differ from the paper, and
so may what comes out: it varies the interval of the mixer's target alone, here agents and mixer share it; its runs have
500,000 env steps, the default here is 40,000 (267 episodes, so the longest interval never updates its targets); and this is
one seed. For the paper's length:

    python examples/target_interval.py --env-steps 500000 --check-every 10000 --out target_interval.png
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from rllib_reborn import QMIXConfig

#: Env steps of checks, and the mixer's dormant fraction at each.
Curve = tuple[list[int], list[float]]


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
    panel.set(title=f"QMIX, {env}", xlabel="env steps", ylabel="dormant units of the mixer (%)", ylim=(0, 100))
    panel.legend(title="target update", fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> dict[int, Curve]:
    """Run the example; returns the curves by interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="predator_prey/small", help="default predator_prey/small")
    parser.add_argument("--env-steps", type=int, default=40_000, help="of each run (default 40000)")
    parser.add_argument("--check-every", type=int, default=2_000, help="env steps between two checks (default 2000)")
    parser.add_argument("--intervals", type=int, nargs="+", default=[10, 50, 250, 1000], help="episodes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("target_interval.png"), help="figure to write")
    parser.add_argument("--quick", action="store_true", help="a matrix game, 1200 env steps, two intervals")
    options = parser.parse_args(arguments)
    if options.quick:
        options.env, options.env_steps, options.check_every = "matrix/two_step", 1_200, 200
        options.intervals = [10, 1000]
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
                f"targets every {interval} episodes: dormant units of the mixer {fractions[0]:.1%} at {steps[0]} env steps, "
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
