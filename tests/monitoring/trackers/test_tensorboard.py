"""TensorBoard's event files read back."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rllib_reborn.monitoring.trackers.tensorboard import TensorBoardTracker, log_figures
from tests.monitoring.trackers.event_files import scalars_in, values_in
from tests.monitoring.trackers.runs import a_png, evaluated, new_run, row, train


def test_numbers_stand_at_their_env_steps_and_null_is_left_out(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    train(TensorBoardTracker(), folder, [row(1), evaluated(2)], to_the_end=True)
    assert scalars_in(folder / "tensorboard") == {
        "iteration": [(100, 1.0), (200, 2.0)],
        "env_steps": [(100, 100.0), (200, 200.0)],
        "train/return_mean": [(100, 10.0), (200, 20.0)],
        "eval/return_mean": [(200, 2.0)],
        "final/return_mean": [(200, 7.0)],
        "final/win_rate": [(200, 0.5)],
        "final/random/return_mean": [(200, -1.0)],
    }


def test_lists_are_histograms(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    train(TensorBoardTracker(), folder, [evaluated(2)])
    ((step, value),) = values_in(folder / "tensorboard")["eval/returns"]
    assert (step, value.histo.num, value.histo.min, value.histo.max) == (200, 2, 1.0, 3.0)


def test_the_config_is_a_text_and_hyperparameters(tmp_path: Path) -> None:
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    folder = new_run(tmp_path)
    train(TensorBoardTracker(), folder, [row(1)])
    found = values_in(folder / "tensorboard")
    ((_, text),) = found["config.yaml/text_summary"]
    assert "      lr: 0.001\n" in text.tensor.string_val[0].decode()
    ((_, start),) = found["_hparams_/session_start_info"]
    data = HParamsPluginData()
    data.ParseFromString(start.metadata.plugin_data.content)
    settings = data.session_start_info.hparams
    assert settings["training.lr"].number_value == 0.001
    assert settings["interventions.0.kind"].string_value == "reborn"


def resumed(folder: Path) -> None:
    """Killed in its fourth iteration, two after its last checkpoint, and resumed; other numbers come out."""
    train(TensorBoardTracker(), folder, [row(1), row(2), row(3), row(4)])
    train(TensorBoardTracker(), folder, [row(3) | {"train/return_mean": 33.0}], before=[row(1), row(2)])


def test_a_resumed_run_takes_back_what_is_beyond_its_checkpoint(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    resumed(folder)
    assert scalars_in(folder / "tensorboard")["train/return_mean"] == [(100, 10.0), (200, 20.0), (300, 33.0)]
    assert len(list((folder / "tensorboard").glob("events.*"))) == 2


def test_rows_that_were_not_written_are_at_the_next_start(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    train(TensorBoardTracker(), folder, [row(1)])
    train(TensorBoardTracker(), folder, [row(4)], before=[row(1), row(2), row(3)])
    assert [step for step, _ in scalars_in(folder / "tensorboard")["iteration"]] == [100, 200, 300, 400]


def test_training_that_begins_anew_in_its_folder_takes_all_back(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    train(TensorBoardTracker(), folder, [row(1), row(2)])
    train(TensorBoardTracker(), new_run(folder), [row(1) | {"train/return_mean": 5.0}])
    assert scalars_in(folder / "tensorboard")["train/return_mean"] == [(100, 5.0)]


def test_figures_are_images_of_the_run(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    train(TensorBoardTracker(), folder, [row(1)])
    log_figures(folder, {"report/returns": a_png(tmp_path / "returns.png")}, 100)
    found = values_in(folder / "tensorboard")
    ((step, value),) = found["report/returns"]
    assert (step, value.image.width, value.image.height) == (100, 4, 3)
    assert "train/return_mean" in found, "the earlier file is still there"
    import io

    assert Image.open(io.BytesIO(value.image.encoded_image_string)).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard itself, the viewer, is not installed"
)
def test_tensorboard_itself_shows_the_same(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = new_run(tmp_path)
    resumed(folder)
    shown: Any = EventAccumulator(str(folder / "tensorboard")).Reload()
    points = [(point.step, point.value) for point in shown.Scalars("train/return_mean")]
    assert points == [(100, 10.0), (200, 20.0), (300, 33.0)]
