"""What encoders of observations are good for: QMIX on two small games of pictures, with and without, in minutes.

Trains each game flat (``model.encoder: null``) and with the shipped encoder that fits it, and prints a JSON line for each
run and a table: greedy returns after training, means over seeds with their 95% interval (Student's t), and at random.
The games are in ``tests/fakes/glyph_game.py``. One thread, one process beside Ray's.

    python -m benchmarks.encoders --out encoders.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rllib_reborn.evaluation.statistics import mean_interval

#: By the game's class: the encoder for it, and the env steps of a run.
GAMES = {"Glyphs": ("cnn", 8_000), "Cued": ("per_field", 3_000)}
EPISODES = 256


def config_of(game: str, encoder: str | None, seed: int, env_steps: int) -> Any:
    """QMIX with Adam and a learning rate of 3e-3, for a short run. Discount 0: no action changes what comes next, so that
    the reward of the step is all there is to learn."""
    from rllib_reborn import QMIXConfig

    config = QMIXConfig().environment(f"tests.fakes.glyph_game:{game}", env_config={"team": {"state": "observations"}})
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=8)
    config.training(
        lr=3e-3,
        gamma=0.0,
        optimizer={"kind": "adam"},
        epsilon={"anneal_env_steps": env_steps // 2},
        model={"encoder": encoder},
    )
    return config.debugging(seed=seed, log_level="ERROR")


def measure(game: str, encoder: str | None, seed: int, env_steps: int) -> dict[str, Any]:
    """One run: trained for ``env_steps``, then 256 greedy and 256 random episodes."""
    from rllib_reborn.studies.trained_policy import team_from_algo

    algorithm = config_of(game, encoder, seed, env_steps).build_algo()
    start = time.process_time()
    try:
        while (result := algorithm.train())["num_env_steps_sampled_lifetime"] < env_steps:
            pass
        seconds = time.process_time() - start
        team = team_from_algo(algorithm)
    finally:
        algorithm.stop()
    parameters = sum(parameter.numel() for parameter in team.module.agents.parameters())
    return {
        "game": game,
        "encoder": encoder,
        "seed": seed,
        "env_steps": int(result["num_env_steps_sampled_lifetime"]),
        "updates": int(result["team"]["updates"]),
        "cpu_seconds": round(seconds, 1),
        "parameters_of_agents": parameters,
        "greedy": float(team.evaluate(EPISODES, seed=10_000 + seed).returns.mean()),
        "random": float(team.evaluate(EPISODES, seed=10_000 + seed, epsilon=1.0).returns.mean()),
    }


def table(runs: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown: one for each game and encoder."""
    lines = ["| game | encoder | greedy return | random | parameters of the agents |", "|---|---|---|---|---|"]
    for game, encoder in dict.fromkeys((run["game"], run["encoder"]) for run in runs):
        of = [run for run in runs if (run["game"], run["encoder"]) == (game, encoder)]
        cells = [_shown([run[key] for run in of]) for key in ("greedy", "random")]
        lines.append(f"| {game} | {encoder or 'none'} | {' | '.join(cells)} | {of[0]['parameters_of_agents']:,} |")
    return lines


def _shown(values: list[float]) -> str:
    found = mean_interval(values)
    return f"{found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Trains, prints and returns the runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--env-steps", type=int, help="of each run (default 8,000 for Glyphs, 3,000 for Cued)")
    parser.add_argument("--games", nargs="+", choices=sorted(GAMES), default=list(GAMES))
    parser.add_argument("--out", type=Path, help="file of JSON lines; runs in it are not repeated")
    given = parser.parse_args(arguments)
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out and given.out.exists() else []
    runs = []
    for seed in given.seeds:
        for game in given.games:
            fitting, env_steps = GAMES[game]
            for encoder in (None, fitting):
                asked = given.env_steps or env_steps
                key = {"game": game, "encoder": encoder, "seed": seed, "asked_env_steps": asked}
                run = next((one for one in done if key.items() <= one.items()), None)
                if run is None:
                    run = measure(game, encoder, seed, asked) | {"asked_env_steps": asked}
                    if given.out:
                        with given.out.open("a") as file:
                            file.write(f"{json.dumps(run)}\n")
                print(json.dumps(run), flush=True)
                runs.append(run)
    print("\n".join(table(runs)))
    return runs


if __name__ == "__main__":
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    main()
