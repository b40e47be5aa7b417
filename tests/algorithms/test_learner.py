"""The learner: padding changes nothing, n learners equal one, bad gradients change nothing, targets follow on time."""

import copy

import numpy as np
import pytest
import torch
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_reborn import QMIXConfig, VDNConfig
from rllib_reborn.algorithms.value_factorization.conditional_step import step_if
from rllib_reborn.algorithms.value_factorization.learner import ValueFactorizationLearner, global_norm, guarded_step
from rllib_reborn.algorithms.value_factorization.learner_setup import NonFiniteTrainingError, make_optimizer
from rllib_reborn.algorithms.value_factorization.learner_updates import learner_batches
from rllib_reborn.callbacks.learner_callback import LearnerCallback
from rllib_reborn.replay import EpisodeBlock, EpisodeReplay
from rllib_reborn.replay.fields import OBSERVATION_FIELDS, field_layout
from rllib_reborn.runtime.spaces import team_spaces
from tests.algorithms.helpers import WALK, quick
from tests.padded import learner_columns, padded_episodes

CLOCK = {"num_env_steps_sampled_lifetime": 100, "num_episodes_lifetime": 10}


def make_learner(config_class=QMIXConfig, callbacks=None, **training) -> ValueFactorizationLearner:
    config = quick(config_class, WALK, **training)
    if callbacks is not None:
        config.callbacks(callbacks)
    config.validate()
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(7)
    learner = ValueFactorizationLearner(config=config, module_spec=spec)
    learner.build()
    return learner


def make_sample(config, lengths=(3, 6, 1, 2), seed=0):
    spec = config.team_spec
    layout = field_layout(spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.obs_dtype, spec.state_dtype)
    rng = np.random.default_rng(seed)
    replay = EpisodeReplay(16, layout, spec.episode_limit, seed=1)
    for length in lengths:
        episode = {}
        for name, (shape, dtype) in layout.items():
            rows = length + (name in OBSERVATION_FIELDS)
            if dtype == np.bool_:
                episode[name] = np.ones((rows, *shape), bool)
            elif dtype == np.int8:
                episode[name] = rng.integers(0, spec.n_actions, (rows, *shape)).astype(dtype)
            elif dtype == np.uint8:
                episode[name] = rng.integers(0, 2, (rows, *shape)).astype(dtype)
            else:
                episode[name] = rng.standard_normal((rows, *shape)).astype(dtype)
        episode["terminated"] = np.arange(length) == length - 1
        replay.add(EpisodeBlock.of([episode]))
    return replay.sample(8)


def module_of(learner):
    return learner.module["default_policy"].unwrapped()


def loss_and_gradients(learner, batch):
    """Of episodes as :func:`padded_episodes` gives them."""
    module, batch = module_of(learner), learner_columns(batch)
    out = module._forward_train(batch)
    loss = learner.compute_loss_for_module(module_id="default_policy", config=learner.config, batch=batch, fwd_out=out)
    names, parameters = zip(*[(n, p) for n, p in module.named_parameters() if p.requires_grad])
    return loss.detach(), dict(zip(names, torch.autograd.grad(loss, parameters)))


@pytest.mark.parametrize("config_class", [QMIXConfig, VDNConfig])
@pytest.mark.parametrize(
    "training", [{}, {"td_lambda": 0.7}, {"n_step": 3}, {"double_q": False}, {"bootstrap_at_limit": False}]
)
def test_padding_changes_neither_loss_nor_gradient(config_class, training):
    learner = make_learner(config_class, **training)
    batch = padded_episodes(make_sample(learner.config))
    loss, gradients = loss_and_gradients(learner, batch)
    padded = {}
    for name, value in batch.items():
        if value.dim() == 1:  # one number per episode
            padded[name] = value
            continue
        extra = torch.full((value.shape[0], 2, *value.shape[2:]), 1, dtype=value.dtype)
        padded[name] = torch.cat([value, extra], 1)  # rubbish, not zeros
    loss_padded, gradients_padded = loss_and_gradients(learner, padded)
    torch.testing.assert_close(loss, loss_padded, rtol=1e-6, atol=1e-7)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, gradients_padded[name], rtol=1e-5, atol=1e-6)


def test_without_bootstrapping_at_limits_it_does_not_matter_how_an_episode_ended():
    learner = make_learner(bootstrap_at_limit=False, td_lambda=0.7)
    batch = padded_episodes(make_sample(learner.config))
    losses = {float(loss_and_gradients(learner, batch | {"terminated": flags})[0]) for flags in _ends_of(batch)}
    assert len(losses) == 1
    learner = make_learner(td_lambda=0.7)
    losses = {float(loss_and_gradients(learner, batch | {"terminated": flags})[0]) for flags in _ends_of(batch)}
    assert len(losses) == 2


def _ends_of(batch):
    """``terminated`` of episodes that all ended, and of episodes that were all cut."""
    steps = torch.arange(batch["terminated"].shape[1])
    last = steps == batch["lengths"].unsqueeze(1) - 1
    return [last.to(batch["terminated"].dtype), torch.zeros_like(batch["terminated"])]


@pytest.mark.parametrize("bootstrap_at_limit", [True, False])
def test_the_loss_equals_a_plain_loop_over_steps_and_episodes(bootstrap_at_limit):
    learner = make_learner(bootstrap_at_limit=bootstrap_at_limit)
    module = module_of(learner)
    with torch.no_grad():  # targets that differ from the online networks
        for p in [*module.target_agents.parameters(), *module.target_mixer.parameters()]:
            p.add_(0.1 * torch.randn_like(p))
    batch = padded_episodes(make_sample(learner.config))
    loss, _ = loss_and_gradients(learner, batch)
    total, steps = 0.0, 0
    for e, length in enumerate(batch["lengths"].tolist()):
        values = {}
        for name, agents in (("online", module.agents), ("target", module.target_agents)):
            hidden = torch.zeros(1, 2, agents.state_dim)
            last = torch.full((1, 2), -1)
            q = []
            for t in range(length + 1):
                out, hidden = agents.step(module.inputs(batch["obs"][e : e + 1, t], last), hidden)
                q.append(out[0])
                if t < length:
                    last = batch["actions"][e : e + 1, t].long()
            values[name] = q
        for t in range(length):
            chosen = values["online"][t].gather(1, batch["actions"][e, t].long().unsqueeze(1)).T
            best = values["online"][t + 1].argmax(1, keepdim=True)
            q_tot = module.mixer(chosen, batch["state"][e, t : t + 1])
            after = module.target_mixer(values["target"][t + 1].gather(1, best).T, batch["state"][e, t + 1 : t + 2])
            ended = bool(batch["terminated"][e, t]) or (t == length - 1 and not bootstrap_at_limit)
            target = batch["reward"][e, t] + 0.99 * (not ended) * after
            total += ((q_tot - target) ** 2).item()
            steps += 1
    assert loss.item() == pytest.approx(total / steps, rel=1e-5)


def test_the_gradient_of_parts_sums_to_that_of_the_whole():
    """Each part is divided by the step count of all, which travels with it (DDP itself: test_distributed)."""
    learner = make_learner()
    sample = make_sample(learner.config, lengths=(3, 6, 1, 2, 6, 4))
    batch = padded_episodes(sample)
    _, whole = loss_and_gradients(learner, batch)
    parts = []
    for rows in (slice(0, 4), slice(4, 8)):
        part = {k: v[rows] for k, v in batch.items()}
        parts.append(loss_and_gradients(learner, part)[1])
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, parts[0][name] + parts[1][name], rtol=1e-4, atol=1e-6)


def update(learner, sample, clock=CLOCK):
    return learner.update(batch=learner_batches(sample, 1)[0], timesteps=clock)


def parameters_of(learner):
    return {k: v.clone() for k, v in module_of(learner).state_dict().items()}


def test_an_update_reports_what_it_did():
    learner = make_learner()
    results = update(learner, make_sample(learner.config))
    mine = {k: float(v.peek()) for k, v in results["default_policy"].items() if hasattr(v, "peek")}
    assert {"total_loss", "td_error_abs", "grad_norm", "q_tot_mean", "num_updates"} <= mine.keys()
    assert mine["num_updates"] == 1
    assert mine["num_nonfinite_steps"] == 0


def test_an_update_of_plain_numbers_is_the_same_update():
    learner, other = make_learner(), make_learner()
    batch = learner_batches(make_sample(learner.config), 1)[0]
    scalars = [learner.update(batch=batch, timesteps=CLOCK, scalars_only=True) for _ in range(3)]
    results = [other.update(batch=batch, timesteps=CLOCK)["default_policy"] for _ in range(3)]
    for numbers, result in zip(scalars, results):
        assert set(numbers) == {"total_loss", "td_error_abs", "grad_norm", "q_tot_mean"}
        assert all(type(number) is float and number == float(result[name].peek()) for name, number in numbers.items())
    assert all(torch.equal(mine, parameters_of(other)[name]) for name, mine in parameters_of(learner).items())
    left = learner.take_metrics()
    assert float(left["default_policy"]["num_updates"].peek()) == 3
    assert float(left["__all_modules__"]["num_env_steps_trained"].peek()) == 3 * batch.env_steps()
    # What is not asked for is not there twice, and nothing is left for the next.
    assert not set(scalars[0]) & set(left["default_policy"])
    again = learner.take_metrics()
    assert float(again["__all_modules__"]["num_env_steps_trained_lifetime"].peek()) == 0
    assert not set(scalars[0]) & set(again["default_policy"])


def test_metrics_hold_no_number_that_the_driver_logs_itself():
    """RLlib refuses to aggregate what was logged; an update of the other kind leaves its names behind."""
    learner = make_learner()
    batch = learner_batches(make_sample(learner.config), 1)[0]
    learner.update(batch=batch, timesteps=CLOCK)
    numbers = learner.update(batch=batch, timesteps=CLOCK, scalars_only=True)
    driver = MetricsLogger(root=True)
    for name, value in numbers.items():
        driver.log_value(("learners", "default_policy", name), value, reduce="mean", window=10)
    driver.aggregate([learner.take_metrics()], key="learners")
    found = driver.reduce(compile=True)["learners"]["default_policy"]
    assert {name: float(found[name]) for name in numbers} == numbers
    assert found["num_updates"] == 2


def test_a_gradient_that_lies_otherwise_in_memory_is_taken_as_it_is():
    parameters = [torch.nn.Parameter(torch.randn(3, 4)) for _ in range(2)]
    parameters[1].data.copy_(parameters[0].data)
    gradient = torch.randn(4, 3)
    parameters[0].grad, parameters[1].grad = gradient.t(), gradient.t().contiguous()
    config = quick(QMIXConfig, optimizer={"kind": "adam"})
    for parameter in parameters:
        optimizer = make_optimizer(config, [parameter])
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        guarded_step(optimizer, global_norm([parameter.grad]), 1.0)
    assert torch.equal(*parameters)


def test_plain_numbers_of_minibatches_are_refused():
    learner = make_learner()
    batch = learner_batches(make_sample(learner.config), 1)[0]
    with pytest.raises(ValueError, match="scalars_only is True"):
        learner.update(batch=batch, timesteps=CLOCK, num_epochs=2, scalars_only=True)
    assert learner.num_updates == 0


def test_a_bad_batch_changes_no_weight_and_no_optimizer_state():
    learner = make_learner(optimizer={"kind": "adam"})
    sample = make_sample(learner.config)
    update(learner, sample)
    before = parameters_of(learner)
    optimizer = copy.deepcopy(learner.get_optimizer("default_policy").state_dict()["state"])
    bad = copy.deepcopy(sample)
    bad.batch["reward"][0] = np.nan
    results = update(learner, bad)
    for name, value in parameters_of(learner).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    for index, state in learner.get_optimizer("default_policy").state_dict()["state"].items():
        for key, value in state.items():
            torch.testing.assert_close(value, optimizer[index][key], rtol=0, atol=0)
    assert float(results["default_policy"]["num_nonfinite_steps"].peek()) == 1


@pytest.mark.parametrize("kind", ["adam", "rmsprop"])
def test_a_learning_rate_may_follow_a_schedule(kind):
    """RLlib gives its values to the optimizer as tensors."""
    learner = make_learner(optimizer={"kind": kind}, lr=[[0, 1e-3], [100, 1e-3], [101, 0.0]])
    sample = make_sample(learner.config)
    before = parameters_of(learner)
    update(learner, sample, CLOCK | {"num_env_steps_sampled_lifetime": 0})
    moved = parameters_of(learner)
    assert any(not torch.equal(value, before[name]) for name, value in moved.items())
    update(learner, sample, CLOCK | {"num_env_steps_sampled_lifetime": 200})  # which sets the rate to 0
    still = parameters_of(learner)
    update(learner, sample, CLOCK | {"num_env_steps_sampled_lifetime": 300})
    for name, value in parameters_of(learner).items():
        torch.testing.assert_close(value, still[name], rtol=0, atol=0)


def test_training_stops_after_too_many_bad_updates_and_dumps_the_batch():
    learner = make_learner(nonfinite_patience=2)
    bad = make_sample(learner.config)
    bad.batch["reward"][:] = np.inf
    update(learner, bad)
    with pytest.raises(NonFiniteTrainingError, match="2 updates in a row") as caught:
        update(learner, bad)
    path = str(caught.value).split("the last batch is in ")[1].split(". The largest")[0]
    assert "obs 2.37, state 2.4, reward inf." in str(caught.value)
    assert torch.isinf(torch.load(path, weights_only=True)["reward"]).all()


def test_one_good_update_in_between_resets_the_patience():
    learner = make_learner(nonfinite_patience=2)
    good, bad = make_sample(learner.config), make_sample(learner.config)
    bad.batch["reward"][:] = np.inf
    for sample in (bad, good, bad, good):
        update(learner, sample)


@pytest.mark.parametrize(
    ("target_update", "copies"),
    [
        ({"every": 3, "unit": "updates"}, [3, 6]),
        ({"every": 20, "unit": "episodes"}, [2, 4, 6]),  # the clock below gives 10 episodes per update
        ({"tau": 0.5}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_targets_follow_on_time(target_update, copies):
    learner = make_learner(target_update=target_update)
    module = module_of(learner)
    changed = []
    for number in range(1, 7):
        before = module.target_agents.nets[0].head.weight.clone()
        update(learner, make_sample(learner.config), {**CLOCK, "num_episodes_lifetime": 10 * number})
        after = module.target_agents.nets[0].head.weight
        if not torch.equal(before, after):
            changed.append(number)
            online = module.agents.nets[0].head.weight
            expected = online if "tau" not in target_update else 0.5 * before + 0.5 * online
            torch.testing.assert_close(after, expected)
    assert changed == copies


class Recorder(LearnerCallback):
    def __init__(self):
        self.calls = []

    def on_learner_update(self, **kwargs):
        self.calls.append((kwargs["num_updates"], kwargs["timesteps"]["num_env_steps_sampled_lifetime"]))

    def get_learner_state(self):
        return {"calls": list(self.calls)}

    def set_learner_state(self, state):
        self.calls = state["calls"]


def test_learner_callbacks_see_every_gradient_step_and_are_saved():
    learner = make_learner(callbacks=Recorder)
    for _ in range(3):
        update(learner, make_sample(learner.config))
    assert learner.learner_callbacks[0].calls == [(1, 100), (2, 100), (3, 100)]
    again = make_learner(callbacks=Recorder)
    again.set_state(learner.get_state())
    assert again.learner_callbacks[0].calls == learner.learner_callbacks[0].calls
    assert again.num_updates == 3


def test_a_state_in_memory_does_not_change_with_training():
    learner = make_learner()
    update(learner, make_sample(learner.config))
    state = learner.get_state()
    frozen = copy.deepcopy(state)
    update(learner, make_sample(learner.config, seed=1))
    for name, value in state["rl_module"]["default_policy"].items():
        np.testing.assert_array_equal(value, frozen["rl_module"]["default_policy"][name])
    mine, theirs = state["optimizer"], frozen["optimizer"]
    for key in mine:
        for index, tensors_ in mine[key]["state"]["state"].items():
            for name, value in tensors_.items():
                np.testing.assert_array_equal(value, theirs[key]["state"]["state"][index][name])


def test_an_older_state_brings_older_weights():
    learner = make_learner()
    old = learner.get_state()
    for seed in range(3):
        update(learner, make_sample(learner.config, seed=seed))
    learner.set_state(old)
    for name, value in old["rl_module"]["default_policy"].items():
        np.testing.assert_array_equal(value, learner.get_state()["rl_module"]["default_policy"][name])


# ---------------------------------------------------------------------- the guarded step by itself


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop])
@pytest.mark.parametrize("taken", [True, False])
def test_step_if_equals_step_or_nothing(kind, taken):
    torch.manual_seed(0)
    p, q = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    mine, plain = kind([p], lr=0.1), kind([q], lr=0.1)
    for number in range(4):
        gradient = torch.randn(3)
        skip = number == 2 and not taken
        p.grad, q.grad = gradient.clone(), gradient.clone()
        if skip:
            p.grad[0] = torch.nan
        step_if(mine, [p], torch.tensor(not skip))
        if not skip:
            plain.step()
        torch.testing.assert_close(p, q)
    for a, b in zip(mine.state[p].values(), plain.state[q].values()):
        torch.testing.assert_close(a, b)


def test_clipping_is_by_the_global_norm():
    a, b = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([a, b], lr=1.0)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    norm = global_norm([a.grad, b.grad])
    assert norm.item() == 5.0
    assert bool(guarded_step(optimizer, norm, 1.0))
    assert a.item() == pytest.approx(-0.6, rel=1e-5)
    assert b.item() == pytest.approx(-0.8, rel=1e-5)


@pytest.mark.cuda
def test_an_update_on_a_gpu_equals_one_on_the_cpu(no_gpu_skip):
    results = []
    for gpus in (0, 1):
        config = quick(QMIXConfig, WALK).learners(num_gpus_per_learner=gpus)
        spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
        torch.manual_seed(7)
        learner = ValueFactorizationLearner(config=config, module_spec=spec)
        learner.build()
        update(learner, make_sample(config))
        results.append({k: v.cpu() for k, v in parameters_of(learner).items()})
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-3, atol=1e-4)
