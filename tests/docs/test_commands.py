"""Every command of README.md, CONTRIBUTING.md and docs/ can be typed: programs, options, names, files, settings.

``tests/docs/programs.py`` says for each program what is checked, and why it is not run. Those of ours that need no training
are run.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from rllib_reborn.cli.main import COMMANDS, main
from tests.docs.programs import NOT_RUN, check, filled_in
from tests.docs.shell import ShellCommand, shell_commands
from tests.docs_code import PAGES, REPOSITORY, code_spans, fenced_blocks, shell_blocks

CONTRIBUTING = REPOSITORY / "CONTRIBUTING.md"
ALL_PAGES = [*PAGES, CONTRIBUTING, REPOSITORY / "RELEASING.md"]
OURS = ("train", "tune", "evaluate", "invariance", "probe", "report", "watch", "envs", "configs", "export", "dashboard")
#: Languages behind a fence, and what holds their blocks.
LANGUAGES = {
    "python": "tests/test_docs_code.py runs it",
    "bash": "here",
    "sh": "here",
    "yaml": "test_yaml_blocks.py",
    "text": "output, a diagram or a formula",
    "": "output, a diagram or a formula",
    "{eval-rst}": "test_reference.py",
}


def ids(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def test_lines_are_taken_apart_into_commands() -> None:
    block = (
        "A=1 ray start \\\n  --head   # why\n"
        "for s in 1 2; do\n  rllib-reborn train x --seed $s && echo 'a # b' > f\ndone\n"
    )
    assert shell_commands(block) == [
        ShellCommand(0, ["ray", "start", "--head"]),
        ShellCommand(3, ["rllib-reborn", "train", "x", "--seed", "$s"]),
        ShellCommand(3, ["echo", "a # b"]),
    ]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("rllib-reborn trian matrix/two_step/qmix", "there is no command 'trian'"),
        ("rllib-reborn train matrix/two_steps/qmix", "two_steps"),
        ("rllib-reborn train matrix/two_step/qmix training.lrr=1", "lrr"),
        ("rllib-reborn train matrix/two_step/qmix --sed 1", "sed"),
        ("rllib-reborn tune no_such_sweep --out x", "no_such_sweep"),
        ("make tset", "tset"),
        ("python -m benchmarks.nothing", "benchmarks.nothing"),
        ("python examples/nothing.py", "nothing.py"),
        ("ray jbo submit", "jbo"),
        ("ray job submit --no-such-option -- ls", "no-such-option"),
        ("pip install '.[nothing]'", "nothing"),
        ("kubectl apply -f docker/nothing.yaml", "nothing.yaml"),
        ("docker compose exec nobody ls", "nobody"),
        ("curl x", "'curl' is a program"),
    ],
)
def test_what_is_wrong_is_found(wrong: str, says: str) -> None:
    with pytest.raises((AssertionError, FileNotFoundError), match=re.escape(says)):
        check(shell_commands(wrong)[0].words, CONTRIBUTING, complete=True)


@pytest.mark.parametrize("page", ALL_PAGES, ids=ids)
def test_commands_in_blocks(page: Path) -> None:
    wrong: list[str] = []
    for block in shell_blocks(page):
        syntax = subprocess.run(["bash", "-n"], input=block.code, text=True, capture_output=True, check=False)
        if syntax.returncode:
            wrong.append(f"{page.name}:{block.line}: {syntax.stderr}")
            continue
        for command in shell_commands(block.code):
            try:
                check(command.words, page, complete=True)
            except AssertionError as mistake:
                wrong.append(f"{page.name}:{block.line + command.line}: {' '.join(command.words)}: {mistake}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", ALL_PAGES, ids=ids)
def test_commands_in_sentences(page: Path) -> None:
    wrong: list[str] = []
    for span in code_spans(page):
        program, _, rest = span.partition(" ")
        if set(span.split()) <= {command.name for command in COMMANDS}:
            continue  # a list of them
        if program in OURS and rest:
            span = f"rllib-reborn {span}"
        elif program not in ("rllib-reborn", "make", "pip", "ray") and not re.match(r"python (-m |[\w./]+\.py)", span):
            continue
        try:
            for command in shell_commands(re.sub(r"<(\w+)>|\[([A-Z]+)\]", r"\1\2", span)):
                check(command.words, page, complete=False)
        except (AssertionError, ValueError) as mistake:
            wrong.append(f"{page.name}: {span}: {mistake}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", ALL_PAGES, ids=ids)
def test_languages_of_blocks_are_known(page: Path) -> None:
    assert [block for block in fenced_blocks(page) if block.language not in LANGUAGES] == []


def test_the_table_of_what_is_not_run_is_the_one_of_contributing() -> None:
    text = CONTRIBUTING.read_text()
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", text[text.index("| program |") :], re.M))
    assert {name: rows.get(name) for name in NOT_RUN} == NOT_RUN


def commands_without_training() -> list[list[str]]:
    """Those of ours that answer in a moment, each once."""
    found: list[list[str]] = []
    for page in ALL_PAGES:
        for block in shell_blocks(page):
            for command in shell_commands(block.code):
                words = [filled_in(word) for word in command.words[1:]]
                quick = command.words[0] == "rllib-reborn" and (
                    words[0] in ("configs", "dashboard") or "--dry-run" in words
                )
                if (quick or words == ["envs"]) and words not in found:
                    found.append(words)
    return found


@pytest.mark.parametrize("words", commands_without_training(), ids=" ".join)
def test_commands_without_training_run(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0


def test_there_are_commands_that_run() -> None:
    assert ["configs", "battle/8m/vdn+redo"] in commands_without_training()
