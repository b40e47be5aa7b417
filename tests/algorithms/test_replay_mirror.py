"""A mirror of the replay, on the CPU: its batches are the replay's to the bit, and a run goes as without it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.algorithms.value_factorization import replay_mirror, setup
from rllib_reborn.algorithms.value_factorization.captured_updates import uncaptured
from rllib_reborn.algorithms.value_factorization.learner_updates import learner_batches, packed_columns
from rllib_reborn.algorithms.value_factorization.replay_mirror import (
    ReplayMirror,
    on_device,
    one_copy,
    room_for_mirror,
)
from rllib_reborn.replay import EpisodeBlock, EpisodeReplay, ReplayMemoryError
from rllib_reborn.replay.age_weighting import AgeWeightedReplay
from rllib_reborn.replay.fields import OBSERVATION_FIELDS, field_layout
from rllib_reborn.replay.reward_scaling import RewardScaler
from rllib_reborn.runtime.spaces import replay_layout
from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows
from tests.algorithms.test_captured_updates import capturing, distance, make_learner, weights
from tests.callbacks.test_plasticity_callbacks import SETTINGS

CPU = torch.device("cpu")
LAYOUT = field_layout(2, 3, 4, 5, "uint8", "float16")
LIMIT = 6
CLOCK = {"num_env_steps_sampled_lifetime": 0, "num_episodes_lifetime": 0}


def block_of(lengths, rng, layout=LAYOUT) -> EpisodeBlock:
    episodes = []
    for length in lengths:
        episode = {}
        for name, (shape, dtype) in layout.items():
            size = (length + (name in OBSERVATION_FIELDS), *shape)
            numbers = rng.standard_normal(size) if dtype.kind == "f" else rng.integers(0, 2, size)
            episode[name] = numbers.astype(dtype)
        episodes.append(episode)
    return EpisodeBlock.of(episodes)


class Twins:
    """Two equal replays, the second one with a mirror; everything is done to both."""

    def __init__(self, capacity=7, device=CPU, **weighting):
        make = AgeWeightedReplay if weighting else EpisodeReplay
        self.plain, self.truth = (make(capacity, LAYOUT, LIMIT, seed=5, **weighting) for _ in range(2))
        self.mirror = ReplayMirror(self.truth, device)
        self.rng = np.random.default_rng(0)

    def add(self, *lengths):
        block = block_of(lengths, self.rng)
        self.plain.add(block)
        self.truth.add(block)

    def do(self, change):
        change(self.plain)
        change(self.truth)

    def assert_alike(self, episodes=5):
        expected, found = self.plain.sample(episodes), self.mirror.sample(episodes)
        assert np.array_equal(found.indices, expected.indices)
        assert np.array_equal(found.lengths, expected.lengths)
        assert found.env_steps == expected.env_steps
        packed = self.mirror.packed(found.block.slots, found.lengths)
        assert packed.keys() == expected.block.fields.keys()
        for name, array in expected.block.fields.items():
            held = packed[name].cpu().numpy()
            assert held.dtype == array.dtype
            assert np.array_equal(held, array), name


@pytest.mark.parametrize("weighting", [{}, {"decay_env_steps": 12, "min_weight": 0.1}])
def test_batches_are_those_of_the_replay_while_episodes_come_and_go(weighting):
    twins = Twins(**weighting)
    twins.add(3, 6, 1)
    twins.assert_alike()  # fewer than are drawn
    for number in range(6):  # more than twice around
        twins.add(*(1 + (number * k) % LIMIT for k in range(1, 4)))
        twins.assert_alike()
    twins.add(*([2] * 20))  # more than the replay holds, at once
    twins.assert_alike(7)


def test_a_cleared_replay_and_episodes_that_left_before_they_were_copied():
    twins = Twins()
    twins.add(4, 4, 4, 4, 4)
    twins.assert_alike()
    twins.add(6, 6)  # not asked for
    twins.do(EpisodeReplay.clear)
    twins.add(1, 2)
    twins.assert_alike(2)


@pytest.mark.parametrize("more", [0, 2, 9])
def test_after_a_restore_the_episodes_are_those_of_the_saved_state(more):
    twins = Twins()
    twins.add(1, 2, 3, 4)
    twins.assert_alike()
    saved = twins.plain.get_state()
    if more:
        twins.add(*([6] * more))
    twins.assert_alike()
    twins.do(lambda replay: replay.set_state(saved))
    if more:
        twins.add(*([5] * more))  # as many as before, of another time line
    twins.assert_alike()


def test_large_blocks_are_copied_in_parts(monkeypatch):
    monkeypatch.setattr(replay_mirror, "BLOCK_BYTES", 200)
    copies = []
    monkeypatch.setattr(replay_mirror, "one_copy", lambda arrays, device: copies.append(1) or one_copy(arrays, device))
    twins = Twins()
    twins.add(3, 6, 1, 2, 2)
    twins.mirror.catch_up()
    assert len(copies) > 1
    taken = len(copies)
    twins.mirror.catch_up()
    assert len(copies) == taken  # nothing is copied twice
    twins.assert_alike()


def test_a_mirror_takes_as_many_bytes_as_the_replay_can():
    replay = EpisodeReplay(7, LAYOUT, LIMIT)
    assert ReplayMirror(replay, CPU).nbytes == replay.largest_nbytes


def test_one_copy_keeps_every_number_dtype_and_shape():
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.random((3, 2), np.float32),
        "b": rng.integers(0, 2, 5).astype(bool),
        "c": np.arange(12, dtype=np.int16).reshape(3, 4)[:, ::2],
        "d": np.zeros((0, 3), np.float16),
        "e": rng.random(3),
        "f": np.array(7, np.int64),
        "g": np.arange(3, dtype=np.uint8),
    }
    moved = one_copy(arrays, CPU)
    assert moved.keys() == arrays.keys()
    for name, array in arrays.items():
        assert moved[name].numpy().dtype == array.dtype
        assert np.array_equal(moved[name].numpy(), array)
    assert one_copy({}, CPU) == {}


# ---------------------------------------------------------------------- a learner's updates


class TwoLearners:
    """A learner that is given batches of a replay, and one that reads a mirror of it."""

    def __init__(self, algorithm="QMIX", captured=False):
        self.plain, self.reading = (make_learner(algorithm, as_on_gpu=False) for _ in range(2))
        if captured:
            self.plain, self.reading = capturing(self.plain, uncaptured), capturing(self.reading, uncaptured)
        spec = self.plain.config.team_spec
        layout = replay_layout(spec)
        self.replays = [EpisodeReplay(12, layout, spec.episode_limit, seed=5) for _ in range(2)]
        self.mirror = self.reading.replay_mirror = ReplayMirror(self.replays[1], CPU)
        self.scaler = RewardScaler(0.3, standardise=True)
        self.rng = np.random.default_rng(3)
        self.add(8)

    def add(self, episodes):
        lengths = self.rng.integers(1, self.replays[0].episode_limit + 1, episodes)
        block = block_of(lengths, self.rng, self.replays[0].layout)
        block.fields["action_mask"][:] = True
        self.scaler.observe(block.fields["reward"])
        for replay in self.replays:
            replay.add(block)

    def batches(self):
        found = []
        for sample in (self.replays[0].sample(8), self.mirror.sample(8)):
            rng = np.random.default_rng(len(self.replays[0]))
            columns = {}
            if self.plain.config.algorithm_name == "DMIX":
                columns = {"quantile_fractions": rng.random((sample.env_steps, 16), np.float32)}
            amplitude = {"amplitude": rng.random(8, np.float32)}
            (batch,) = learner_batches(sample, 1, scaler=self.scaler, episode_columns=amplitude, step_columns=columns)
            found.append(batch)
        return found


def test_a_learner_reads_the_columns_that_it_would_be_given():
    two = TwoLearners()
    given, named = two.batches()
    assert "obs" not in named["default_policy"]
    assert np.array_equal(two.scaler(np.float32([1.5])), np.float32([1.5]) * np.float32(two.scaler.factor))
    expected = packed_columns(given["default_policy"])
    for batch in (on_device(named, CPU, two.mirror), on_device(given, CPU, None)):
        assert batch.env_steps() == given.env_steps()
        found = packed_columns(batch["default_policy"])
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert found[name].numpy().dtype == array.dtype
            assert np.array_equal(found[name].numpy(), array), name


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("algorithm", ["QMIX", "DMIX"])
def test_updates_from_a_mirror_are_those_from_the_replay(algorithm, captured):
    two = TwoLearners(algorithm, captured)
    before = weights(two.plain)
    for _ in range(6):
        given, named = two.batches()
        logged = []
        for learner, batch in ((two.plain, given), (two.reading, named)):
            results = learner.update(batch=batch, timesteps=CLOCK)["default_policy"]
            logged.append({name: float(results[name].peek()) for name in ("total_loss", "grad_norm")})
        assert logged[0] == logged[1]
        two.add(3)
    assert distance(weights(two.plain), weights(two.reading)) == 0
    assert distance(before, weights(two.plain)) > 0
    if captured:
        assert two.reading.captured.replays


@pytest.mark.usefixtures("ray_session")
def test_a_run_with_a_mirror_is_the_run_without_it_and_so_is_one_resumed_from_its_checkpoint(tmp_path):
    entry = {"kind": "reborn", "every": 12, "unit": "updates", "scope": "all", "scoring_episodes": 4}
    settings = {
        "buffer_episodes": 20,
        "replay_weighting": {"kind": "age", "decay_env_steps": 30, "min_weight": 0.1},
        "reward": {"standardise": True},
        "interventions": [entry | SETTINGS["reborn"]],
        "dormancy": {"every": 9, "unit": "updates"},
    }
    config = quick(env=WALK, seed=3, updates_per_episode=1.0, **settings)
    plain, mirrored = config.build_algo(), config.copy(copy_frozen=False).build_algo()
    try:
        assert mirrored.mirror is None  # a learner on the CPU
        mirrored.mirror = ReplayMirror(mirrored.replay, CPU)
        mirrored.learner_group.foreach_learner(lambda learner: setattr(learner, "replay_mirror", mirrored.mirror))
        assert rows(mirrored, 2) == rows(plain, 2)
        mirrored.save_to_path(tmp_path)
        expected = rows(plain, 2)
        assert rows(mirrored, 2) == expected
        assert equal(learner_weights(plain), learner_weights(mirrored))
        mirrored.restore_from_path(tmp_path)
        assert rows(mirrored, 2) == expected
        assert equal(learner_weights(plain), learner_weights(mirrored))
    finally:
        plain.stop()
        mirrored.stop()


# ---------------------------------------------------------------------- where there is one


@pytest.mark.parametrize(
    ("resources", "value", "message"),
    [
        ({}, "off", "replay_device is 'off', but the learner is on the CPU; leave it out, or"),
        (
            {},
            "cuda",
            "replay_device is 'cuda', but the learner is on the CPU; leave it out, or set num_gpus_per_learner",
        ),
        ({"num_learners": 1, "num_gpus_per_learner": 1}, "cuda", r"with num_learners 1, .* or set num_learners to 0"),
        ({"num_learners": 2, "num_gpus_per_learner": 1}, "off", "with num_learners 2"),
        ({"num_gpus_per_learner": 1}, "cpu", "replay_device is 'cpu'; expected 'auto', 'cuda' or 'off'"),
    ],
)
def test_what_has_no_effect_is_refused(resources, value, message):
    config = quick(env=WALK, replay_device=value).learners(**resources)
    with pytest.raises(ValueError, match=message):
        config.validate()


@pytest.mark.parametrize(("free", "gpus", "most"), [(100, 1, 50), (100, 0.1, 10), (10, 0.1, 5), (30, 2, 15)])
def test_a_mirror_may_take_half_of_what_is_free_of_the_learners_share(free, gpus, most):
    assert room_for_mirror(free, 200, gpus) == most


def made(monkeypatch, capfd, *, replay_device, free, is_local=True):
    """(The mirror, what the learner was given, what was printed) with ``free`` times the replay's size free on a GPU."""
    config = quick(env=WALK, replay_device=replay_device).learners(num_gpus_per_learner=1)
    config.debugging(log_level="WARN")
    replay = setup.make_replay(config)
    capfd.readouterr()
    memory = (int(free * replay.largest_nbytes), 10 * replay.largest_nbytes)
    monkeypatch.setattr(setup.torch.cuda, "mem_get_info", lambda device: memory)
    monkeypatch.setattr(setup, "ReplayMirror", lambda replay, device: ReplayMirror(replay, CPU))
    learner = SimpleNamespace(device=torch.device("cuda"), replay_mirror=None)
    answers = [SimpleNamespace(get=lambda: learner)]
    group = SimpleNamespace(is_local=is_local, foreach_learner=lambda ask: answers)
    mirror = setup.make_mirror(config, group, replay)
    assert mirror is learner.replay_mirror
    return mirror, capfd.readouterr().err


def test_auto_makes_a_mirror_where_it_fits_and_says_where_it_does_not(monkeypatch, capfd):
    mirror, printed = made(monkeypatch, capfd, replay_device="auto", free=2.1)
    assert mirror is not None
    assert "a copy on the GPU takes" in printed
    mirror, printed = made(monkeypatch, capfd, replay_device="auto", free=1.9)
    assert mirror is None
    assert "not on the GPU, since a copy of the replay takes" in printed


@pytest.mark.parametrize("given", [{"replay_device": "off"}, {"replay_device": "auto", "is_local": False}])
def test_no_mirror_is_made_unasked_or_for_learners_in_other_processes(given, monkeypatch, capfd):
    assert made(monkeypatch, capfd, free=9, **given) == (None, "")


def test_a_mirror_that_was_asked_for_and_does_not_fit_is_an_error_with_the_remedy(monkeypatch, capfd):
    with pytest.raises(
        ReplayMemoryError, match=r"set training.buffer_episodes to at most 32, or training.replay_device"
    ):
        made(monkeypatch, capfd, replay_device="cuda", free=1)


def test_every_algorithm_has_the_option():
    assert {config_class().replay_device for config_class in ALGORITHMS.values()} == {"auto"}
