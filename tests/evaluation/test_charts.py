"""Panels of one width, none alone in its row, and nothing that is wider than its figure."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from rllib_reborn.evaluation.analysis import analyse
from rllib_reborn.evaluation.charts import panel_columns
from rllib_reborn.evaluation.runs import load_runs
from rllib_reborn.evaluation.style import FigureSpec, wrapped

from .synthetic import DORMANCY, REBORN, config, final, plasticity, rows, write_run

LONG = "a_name_of_an_algorithm_that_goes_on_for_much_longer_than_a_figure_is_wide"


@pytest.mark.parametrize(
    ("panels", "most", "columns"),
    [
        (1, 3, 1),
        (2, 3, 2),
        (3, 3, 3),
        (4, 3, 2),
        (5, 3, 3),
        (6, 3, 2),
        (7, 3, 4),
        (9, 3, 3),
        (3, 2, 3),
        (5, 2, 3),
        (8, 2, 2),
    ],
)
def test_columns(panels: int, most: int, columns: int) -> None:
    assert panel_columns(panels, most=most) == columns


@pytest.mark.parametrize("panels", range(2, 40))
@pytest.mark.parametrize("most", [2, 3])
def test_no_panel_is_alone_in_its_row(panels: int, most: int) -> None:
    if panels not in (13, 25, 37):  # one more than multiples of 2, 3 and 4: more than any figure has
        assert panels % panel_columns(panels, most=most) != 1


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("", [""]),
        ("two words here", ["two words", "here"]),
        ("family/a_long_name", ["family/a_", "long_name"]),
        ("abcdefghijklmno", ["abcdefghij", "klmno"]),
    ],
)
def test_lines_are_broken_where_names_have_joints(text: str, lines: list[str]) -> None:
    assert wrapped(text, 10) == lines


@pytest.fixture(scope="module", params=[1, 2, 3, 5])
def specs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[FigureSpec, ...]:
    """Figures of so many groups, one of them with a long name, on a task with a long name."""
    top = tmp_path_factory.mktemp("groups")
    for at in range(request.param):
        algorithm = LONG if at == 0 else f"algorithm_{at}"
        lines, events = plasticity(seed=1, lines=rows(iterations=8), treated=at == 1)
        settings = config(
            algorithm=algorithm,
            env=f"family/{LONG}",
            training={"dormancy": DORMANCY},
            interventions=[REBORN] if at == 1 else [],
        )
        write_run(top / f"run_{at}", settings=settings, lines=lines, end=final(), events=events)
    (task,) = analyse(load_runs(top)[0], reps=5).tasks
    return task.figures


def test_panels_are_equal_and_the_drawing_is_the_largest_part(specs: tuple[FigureSpec, ...]) -> None:
    for spec in specs:
        figure = spec.draw(spec)
        renderer = FigureCanvasAgg(figure).get_renderer()
        drawn = [axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]
        assert len({round(axes.get_position().width, 6) for axes in drawn}) == 1, spec.stem
        rows_of_panels = [round(axes.get_position().y0, 6) for axes in drawn]
        assert len(drawn) == 1 or rows_of_panels.count(min(rows_of_panels)) > 1, spec.stem
        left, right = (
            min(axes.get_position().x0 for axes in drawn),
            max(axes.get_position().x1 for axes in drawn),
        )
        # In inches: names and headings must not take more room than what they name.
        assert (right - left) * figure.get_figwidth() > 0.5 * figure.get_tightbbox(renderer).width, spec.stem
