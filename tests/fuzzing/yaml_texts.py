"""Hostile YAML: changed experiments, and texts by the grammar."""

from __future__ import annotations

import random

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.yaml_text import parse_yaml
from tests.fuzzing.changes import changed_bytes
from tests.fuzzing.running import Target

SOUND = (
    "algorithm: qmix\nenv: matrix/two_step\nenv_config: {}\ntraining:\n  lr: 5e-4\n  gamma: 0.99\n  batch_episodes: 8\n"
    "  epsilon: {start: 1.0, end: 0.05, anneal_env_steps: 1e3}\ninterventions:\n  - {kind: redo, every: 100}\n"
    "stop: {env_steps: 1_000, time_s: null}\nseed: 3\n",
    "env: battle/8m\nresources:\n  num_env_runners: 2 # two\n  custom_resources_per_env_runner: {'sc2': 8.0}\n",
    "base: &b {a: 1, list: [1, 2.5, 'x', \"y\\n\"]}\nmore: {<<: *b, a: 2}\nlast: |\n  text\n  on lines\n"
    "fold: >-\n  a\n\n  b\n",
    "algorithm: vdn\nenv: matrix/two_step\nstop:\n  iterations: 2\n",
)
_TAGGED = "int float bool null str map seq set omap timestamp binary python/name:os.system python/tuple"
TOKENS = tuple(
    token.encode()
    for token in (
        *(f"!!{tag} " for tag in _TAGGED.split()),
        *(
            "&a ",
            "*a ",
            "<<: ",
            "!x ",
            "!<tag:yaml.org,2002:int> ",
            "? ",
            ": ",
            "- ",
            ", ",
            "[",
            "]",
            "{",
            "}",
            "'",
            '"',
        ),
        *(
            "|",
            ">-",
            "\n",
            "\n  ",
            "\t",
            "#",
            "%YAML 1.1\n---\n",
            "%TAG ! x\n---\n",
            "...\n",
            "---\n",
            "\ufeff",
            "\u2028",
        ),
        *("1:60:60", "1_000", "0x_", "0b1", "0777", ".inf", ".nan", "1e999", "2026-99-99", "2026-01-01T99:99:99Z", "="),
        *('"\\UFFFFFFFF"', '"\\uD800"', '"\\x41"', "\x85", "\0", "~"),
    )
)
_ATOMS = (
    *(
        "1",
        "-3",
        "0.5",
        "1e3",
        "x",
        "'y'",
        '"z"',
        "~",
        "true",
        "''",
        "[]",
        "{}",
        "1:1:1",
        "0x1F",
        "5e-4",
        "2026-01-01",
        "=",
    ),
)
_TAGS = ("", "", "", "", "!!int ", "!!str ", "!!seq ", "!!map ", "!!float ", "!!bool ", "!!binary ", "!!set ", "!y ")


def make(rng: random.Random) -> bytes:
    """One text."""
    kind = rng.random()
    if kind < 0.6:
        return changed_bytes(rng.choice(SOUND).encode(), rng, TOKENS)
    if kind < 0.9:
        anchors: list[str] = []
        return "\n".join(f"k{n}: {_value(rng, anchors, 0)}" for n in range(rng.randint(1, 8))).encode()
    if kind < 0.95:
        return _bomb(rng).encode()
    return b"".join(rng.choices(TOKENS, k=rng.randint(1, 40)))


def _value(rng: random.Random, anchors: list[str], depth: int) -> str:
    """A value in brackets, which may name itself, one before it, or nothing."""
    if anchors and rng.random() < 0.3:
        return f"*{rng.choice(anchors)}"
    name = ""
    if rng.random() < 0.4:
        anchors.append(f"a{rng.randint(0, 9)}")
        name = f"&{anchors[-1]} "
    name += rng.choice(_TAGS)
    shape = rng.random()
    if depth > 5 or shape < 0.4:
        return name + rng.choice(_ATOMS)
    below = [_value(rng, anchors, depth + 1) for _ in range(rng.randint(0, 3))]
    if shape < 0.65:
        return f"{name}[{', '.join(below)}]"
    return name + "{" + ", ".join(f"{rng.choice(('<<', 'a', 'b', '? [x]', '1'))}: {one}" for one in below) + "}"


def _bomb(rng: random.Random) -> str:
    levels, width = rng.randint(2, 30), rng.randint(1, 9)
    form = rng.choice(("[{}]", "{{<<: [{}]}}", "{{<<: [{}], k{n}: 1}}", "{{a: [{}]}}", "{{a: {{<<: [{}]}}}}"))
    lines = ["a0: &a0 " + rng.choice(("[x]", "{k: v}", "x"))]
    lines += [f"a{n}: &a{n} " + form.format(", ".join([f"*a{n - 1}"] * width), n=n) for n in range(1, levels + 1)]
    repeated = rng.choice(("[", "{a: ", "- ", "? ", "1:", "9", "&a ", "!!str ", "'", "\\", "#", "%a b\n", "k: 1\n"))
    return "\n".join(lines) if rng.random() < 0.7 else repeated * rng.choice((50, 3_000, 30_000))


def read(text: bytes) -> None:
    """As a file is read, and checked where it is a mapping."""
    data = parse_yaml(text, "fuzz.yaml")
    if isinstance(data, dict):
        experiment_from_dict(data, "fuzz.yaml").to_dict()


TARGET = Target(make, read, (ExperimentError,))
