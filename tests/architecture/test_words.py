"""Words that may not return, in the package, docs, tests, configs and examples; see ``banned_words.py``."""

from __future__ import annotations

import pytest

from tests.architecture.banned_words import WORDS
from tests.architecture.made_up import package
from tests.architecture.shared_names import shared_class_names
from tests.architecture.source_files import PACKAGE, PROJECT
from tests.architecture.words import LITERAL, NAME, TEXT, Found, Word, banned_in_project, banned_in_text, project_files


@pytest.fixture(scope="module")
def in_project() -> list[Found]:
    """Every banned word of the project; one reading of all files for all words."""
    return banned_in_project(PROJECT, WORDS)


@pytest.mark.parametrize("word", WORDS, ids=[f"{word.kind}-{word.pattern[:40]}" for word in WORDS])
def test_not_there(word: Word, in_project: list[Found]):
    found = [one for one in in_project if one.word == word]
    assert not found, "\n".join(map(str, found[:20])) + f"\n{len(found)} places"


def test_two_things_never_share_a_name():
    assert shared_class_names(PACKAGE) == {}


def test_shared_names_are_seen(tmp_path):
    files = {
        "a.py": "class Outcome: ...\nclass _Own: ...\nclass A:\n    class B: ...",
        "b/c.py": "try:\n    class Outcome: ...\nexcept E: ...\nclass _Own: ...\nclass B: ...",
    }
    assert shared_class_names(package(tmp_path, files)) == {"Outcome": ["a.py", "b/c.py"]}


def test_the_whole_project_is_read():
    places = {path.relative_to(PROJECT).as_posix() for path in project_files(PROJECT)}
    assert {"README.md", "docs/architecture.md", "rllib_reborn/__init__.py", "tests/conftest.py", "Makefile"} <= places
    assert any(place.startswith("configs/") for place in places)
    assert not any(place.startswith("tests/architecture/") or place == "CHANGELOG.md" for place in places)


P = "rllib_reborn/plasticity/x.py"
A = "rllib_reborn/algorithms/x.py"
E = "rllib_reborn/envs/smac/x.py"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (P, "units = 1"),
        (P, "class UnitLayer: ..."),
        (P, "# dormant units"),
        (P, "'''Share of over-active\nunits.'''"),
        ("docs/plasticity.md", "all units of a layer"),
        (P, "rule = 'released'"),
        (P, "released_rule = 1"),
        ("README.md", "as the released\ncode does"),
        ("configs/interventions/x.yaml", "  layers: released"),
        ("configs/interventions/x.yaml", "  targets: mirror"),
        ("configs/interventions/x.yaml", "  score: nas"),
        (P, "f(score='nas')"),
        ("docs/algorithms.md", "`training(lr=1e-3, method={'a': 1})`"),
        ("configs/algorithms/qmix.yaml", "  method:\n    risk: 1"),
        (A, "config.parse_method()"),
        (A, "from x import rehearse"),
        (A, "class Prober: ..."),
        (A, "probe = Probe()"),
        (A, "held = 1"),
        (P, "scoring = 1"),
        (P, "subject.perform()"),
        (P, "perform(1)"),
        (P, "Tap(1)"),
        (P, "'''Is it operable?'''"),
        (P, "live = mask"),
        (P, "# live neurons"),
        (A, "told = seen"),
        (A, "for said in x: ..."),
        (A, "Team()"),
        (A, "play_greedy()"),
        (A, "team.play()"),
        (A, "push_weights()"),
        (A, "Progress()"),
        ("rllib_reborn/envs/lift/x.py", ""),
        (E, "LiftedTeamEnv()"),
        (E, "class StarCraftCrew: ..."),
        ("rllib_reborn/envs/adapters/x.py", "members = 1"),
        (E, "referee.tally"),
        (E, "class Arena: ..."),
        (E, "'''The referee says so.'''"),
        (E, "ground = 1"),
        (E, "quirks = 1"),
        (E, "'''A quirk of SMAC.'''"),
        ("docs/starcraft.md", "`rllib-reborn sc2-loopback`"),
        (E, "make_loopback_install()"),
        (E, "starts_programs = True"),
        (A, "final_booking = 1"),
        (A, "raise UserMistake"),
        (A, "'''How to mend it.'''"),
        ("docs/architecture.md", "The house"),
        ("rllib_reborn/experiments/library.py", ""),
        (A, "'''(method\nreference 3.1)'''"),
        (A, "# as the method\n# reference says"),
        ("tests/x.py", "# what the issue names"),
        ("README.md", "played for ever"),
        ("README.md", "units that never said anything"),
        ("README.md", "starts anew, silently"),
    ],
)
def test_banned(place, text):
    assert banned_in_text(place, text, WORDS)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (P, "unit = 'env_steps'  # the unit of `every`"),
        (P, "'''What the network has seen, said and told; neurons that are not live on the batch.'''"),
        (E, "units = 1  # dead units keep their place"),
        ("docs/starcraft.md", "dead units stay in the arrays; a Probe builds"),
        (A, "class LiveDisplay: ..."),
        ("rllib_reborn/cli/x.py", "live = LiveDisplay()"),
        (A, "targets = td_targets()"),
        (A, "'''Method resolution; a probe for plasticity; performs the step.'''"),
        ("rllib_reborn/cli/probe.py", "probe = 1"),
        ("rllib_reborn/evaluation/x.py", "frame.corr(method='spearman'); room = 1"),
        ("README.md", "The lock is released. It lifts the limit. A library. An issue. Room for 3. Recommended"),
        (E, "listen('127.0.0.1')  # the loopback address"),
        (E, "unit_types = 1; separation_radius = 2"),
        (A, "class ProgressBar: ..."),
        (A, "players = displayed"),
    ],
)
def test_allowed(place, text):
    assert banned_in_text(place, text, WORDS) == []


def test_where_and_line():
    words = [Word(NAME, "bad", "good"), Word(TEXT, "two words", "one"), Word(LITERAL, "bad", "fine", where=("a/",))]
    text = "'''bad'''\nbad = 'bad'\n# two\n# words"
    assert [str(one) for one in banned_in_text("b/x.py", text, words)] == [
        "b/x.py:2 has 'bad'; write good",
        "b/x.py:3 has 'two # words'; write one",
    ]
    assert [one.word.instead for one in banned_in_text("a/x.py", text, words)] == ["fine", "good", "one"]
