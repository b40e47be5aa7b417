"""The rules of the rooms (docs/architecture.md): who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rllib_reborn"
MAY_IMPORT_RAY = ("algorithms", "callbacks", "experiments", "checkpoints", "cli", "envs/adapters/rllib.py")
#: Room -> rooms of this package that it must not import.
FORBIDDEN = {
    "nets": ("envs", "algorithms", "policy", "replay", "losses", "experiments", "cli"),
    "policy": (
        "envs",
        "algorithms",
        "replay",
        "losses",
        "callbacks",
        "experiments",
        "cli",
        "evaluation",
        "checkpoints",
    ),
    "losses": ("envs", "algorithms", "replay", "nets", "experiments", "cli"),
    "replay": ("envs", "algorithms", "nets", "losses", "experiments", "cli"),
    "envs": ("algorithms", "replay", "nets", "losses", "experiments", "cli"),
    "evaluation": ("algorithms", "replay", "nets", "losses", "experiments", "cli"),
    "plasticity": ("envs", "algorithms", "replay", "nets", "losses", "callbacks", "experiments", "cli", "evaluation"),
    "callbacks": ("algorithms", "experiments", "cli", "evaluation"),
    "algorithms": ("experiments", "cli", "evaluation"),
    "checkpoints": ("algorithms", "experiments", "cli"),
    "experiments": ("cli",),
}


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, inside functions too (type-checking blocks aside)."""
    found = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_only_what_they_may(path):
    place = path.relative_to(PACKAGE).as_posix()
    used = imports(path)
    if not place.startswith(MAY_IMPORT_RAY):
        assert not {m for m in used if m == "ray" or m.startswith("ray.")}
    room = place.split("/")[0]
    for other in FORBIDDEN.get(room, ()):
        assert not {m for m in used if m.startswith(f"rllib_reborn.{other}")}, f"{place} imports {other}"
    if room in ("envs", "evaluation") and "adapters" not in place:
        assert not {m for m in used if m == "torch" or m.startswith("torch.")}


@pytest.mark.parametrize("name", ["units", "statistics", "scores", "masks", "history", "discovery", "dormancy_check"])
def test_what_measures_knows_nothing_of_what_acts(name):
    assert not {m for m in imports(PACKAGE / "plasticity" / f"{name}.py") if "interventions" in m}


def test_private_ray_names_stay_in_one_file():
    """No attribute of the form ``x._name`` on Ray's objects outside ray_internals.py (own underscores on self are fine)."""
    private = (
        "_weights_seq_no",
        "_check_component",
        "callbacks_class",
        "_metrics_num_env_steps_sampled",
        "_rl_modules",
        "_worker_manager",
        "_local_env_runner",
    )
    for path in FILES:
        if path.name == "ray_internals.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in private:
                own = isinstance(node.value, ast.Name) and node.value.id == "self"
                assert own, f"{path.name}:{node.lineno} uses {node.attr}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("rllib_reborn", ("ray", "torch", "gymnasium", "matplotlib")),
        ("rllib_reborn.envs", ("ray", "torch", "gymnasium", "PIL", "pettingzoo", "pygame")),
        ("rllib_reborn.envs.adapters.opponents", ("ray", "torch", "pettingzoo")),
        ("rllib_reborn.evaluation", ("ray", "torch", "matplotlib")),
        ("rllib_reborn.nets.agents", ("ray",)),
        ("rllib_reborn.policy", ("ray", "pydantic", "gymnasium", "pandas")),
        ("rllib_reborn.plasticity", ("ray", "pydantic", "pandas")),
        ("rllib_reborn.plasticity.interventions", ("ray", "pydantic", "pandas")),
        ("rllib_reborn.replay", ("ray", "torch")),
        ("rllib_reborn.cli.main", ("ray", "torch", "pandas", "matplotlib")),
    ],
)
def test_a_fresh_import_stays_light(module, absent):
    code = f"import sys, {module}; print([m for m in {absent!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
