"""DMIX: its loss against a plain loop, draws that every rank and a resumed run repeat, a distribution that it learns."""

import itertools

import numpy as np
import pytest
import torch

from rllib_reborn import DMIXConfig
from rllib_reborn.algorithms import ValueFactorization
from rllib_reborn.algorithms.dmix import FRACTIONS, DMIXLearner, DMIXModule, draw_fractions
from rllib_reborn.callbacks.team_view import measure_team, team_view
from rllib_reborn.losses import quantile_huber
from rllib_reborn.nets.quantile_agent import midpoints
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.plasticity.interventions.apply import apply_intervention
from rllib_reborn.replay import EpisodeBlock, EpisodeReplay
from rllib_reborn.replay.fields import OBSERVATION_FIELDS, field_layout
from rllib_reborn.runtime.spaces import team_spaces
from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows
from tests.algorithms.test_learner import loss_and_gradients, make_sample, module_of, update
from tests.fakes.random_rewards import quantile
from tests.padded import columns, learner_columns, padded_episodes

METHOD = {"quantiles": 5, "target_quantiles": 3, "acting_quantiles": 4, "cosines": 6}


def make_learner(**training) -> DMIXLearner:
    config = quick(DMIXConfig, WALK, **({"algorithm_settings": METHOD} | training))
    config.validate()
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(7)
    learner = config.get_default_learner_class()(config=config, module_spec=spec)
    learner.build()
    with torch.no_grad():  # targets that differ from the online networks
        module = module_of(learner)
        for p in [*module.target_agents.parameters(), *module.target_mixer.parameters()]:
            p.add_(0.1 * torch.randn_like(p))
    return learner


def make_batch(learner, **kwargs):
    batch = padded_episodes(make_sample(learner.config, **kwargs))
    generator = torch.Generator().manual_seed(1)
    return batch | {FRACTIONS: torch.rand(*batch["reward"].shape, 8, generator=generator)}


def all_quantiles(net, h, fractions):
    """[n, A, N] as IQN writes it, from h [n, hidden]."""
    out = []
    for tau in fractions:
        phi = net.phi(torch.cos(torch.pi * torch.arange(net.cosines) * tau).unsqueeze(0))
        out.append(net.head(h * phi))
    return torch.stack(out, dim=2)


@pytest.mark.parametrize("double_q", [False, True])
@pytest.mark.parametrize("sharing", ["all", "none"])
def test_the_loss_equals_a_plain_loop_over_steps_and_episodes(double_q, sharing):
    learner = make_learner(
        double_q=double_q,
        model={"hidden_dim": 8, "parameter_sharing": sharing},
        algorithm_settings=METHOD | {"kappa": 0.7},
    )
    module = module_of(learner)
    batch = make_batch(learner)
    # Half of the actions are forbidden, which greedy ones must heed.
    batch["action_mask"] &= torch.rand(batch["action_mask"].shape, generator=torch.Generator().manual_seed(2)) < 0.5
    batch["action_mask"][..., 3] = True
    loss, _ = loss_and_gradients(learner, batch)
    total, steps = 0.0, 0
    for e, length in enumerate(batch["lengths"].tolist()):
        h = {}
        for name, agents in (("online", module.agents), ("target", module.target_agents)):
            hidden, last, h[name] = torch.zeros(1, 2, agents.state_dim), torch.full((1, 2), -1), []
            for t in range(length + 1):
                _, hidden = agents.step(module.inputs(batch["obs"][e : e + 1, t], last), hidden)
                h[name].append(hidden[0])
                if t < length:
                    last = batch["actions"][e : e + 1, t].long()

        def quantiles(name, t, fractions, h=h):
            nets = (module.agents if name == "online" else module.target_agents).nets
            return torch.cat([all_quantiles(nets[i % len(nets)], h[name][t][i : i + 1], fractions) for i in (0, 1)])

        def z_tot(mixer, z, actions, state):
            z = z[torch.arange(2), actions]  # [n, N]
            q = z.mean(1)
            return z.sum(0) - q.sum() + mixer(q.unsqueeze(0), state.unsqueeze(0))

        for t in range(length):
            fractions, target_fractions = batch[FRACTIONS][e, t].split([5, 3])
            mine = z_tot(
                module.mixer, quantiles("online", t, fractions), batch["actions"][e, t].long(), batch["state"][e, t]
            )
            # Greedy by the mean at the acting fractions.
            q = quantiles("online" if double_q else "target", t + 1, midpoints(4)).mean(2)
            best = q.masked_fill(~batch["action_mask"][e, t + 1], -torch.inf).argmax(1)
            after = z_tot(
                module.target_mixer, quantiles("target", t + 1, target_fractions), best, batch["state"][e, t + 1]
            )
            target = batch["reward"][e, t] + 0.99 * (1 - batch["terminated"][e, t].float()) * after
            total += quantile_huber(mine, target, fractions, kappa=0.7).item()
            steps += 1
    assert loss.item() == pytest.approx(total / steps, rel=1e-5)


@pytest.mark.parametrize(
    "training", [{}, {"n_step": 3}, {"model": {"hidden_dim": 8, "recurrent": False}}, {"double_q": True}]
)
def test_padding_changes_neither_loss_nor_gradient(training):
    learner = make_learner(**training)
    batch = make_batch(learner)
    loss, gradients = loss_and_gradients(learner, batch)
    padded = {
        name: value
        if value.dim() == 1
        else torch.cat([value, torch.ones(value.shape[0], 2, *value.shape[2:], dtype=value.dtype)], 1)
        for name, value in batch.items()
    }
    loss_padded, gradients_padded = loss_and_gradients(learner, padded)
    torch.testing.assert_close(loss, loss_padded, rtol=1e-6, atol=1e-7)
    for name, gradient in gradients.items():
        assert gradient is not None  # DDP waits for every one
        torch.testing.assert_close(gradient, gradients_padded[name], rtol=1e-5, atol=1e-6)


def test_the_gradient_of_parts_sums_to_that_of_the_whole():
    learner = make_learner(model={"hidden_dim": 8, "parameter_sharing": "none"})
    batch = make_batch(learner, lengths=(3, 6, 1, 2, 6, 4))
    _, whole = loss_and_gradients(learner, batch)
    parts = [loss_and_gradients(learner, {k: v[at] for k, v in batch.items()})[1] for at in (slice(4), slice(4, 8))]
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, parts[0][name] + parts[1][name], rtol=1e-4, atol=1e-6)


def test_the_mean_is_qmix_of_what_acting_compares():
    """With the acting fractions in the batch: Z_tot's mean is the mixer's value of the agents' means."""
    learner = make_learner(algorithm_settings=METHOD | {"quantiles": 4, "target_quantiles": 4})
    batch = make_batch(learner)
    batch[FRACTIONS][:] = midpoints(4).repeat(2)
    module = module_of(learner)
    z = module._forward_train(learner_columns(batch))["quantiles"]
    episodes = module.packed_episodes(columns(batch))
    q_tot = episodes.dense(module.observe(columns(batch))["q_tot"])
    assert z.std() > 0
    torch.testing.assert_close(z.mean(-1), q_tot, rtol=1e-5, atol=1e-5)
    # A batch that brings no fractions has these.
    del batch[FRACTIONS]
    assert torch.equal(module._forward_train(learner_columns(batch))["quantiles"], z)


def test_the_greedy_joint_action_has_the_best_mean():
    learner = make_learner()
    module = module_of(learner)
    batch = make_batch(learner)
    greedy = module.observe(columns(batch))["greedy"]
    values = {}
    for u in itertools.product(range(4), repeat=2):
        # What a joint action at step t would be worth; the last actions that agents see stay those of the batch.
        episodes = module.packed_episodes(columns(batch))
        q = module.agents.unroll(episodes.x, episodes.layout.obs_sizes)
        everywhere = torch.tensor(u).expand(len(q), 2)
        values[u] = module.mixer.of_actions(q, everywhere, episodes.action_mask, episodes.state)
    best = torch.stack(list(values.values())).max(0).values
    mine = torch.stack([values[tuple(actions.tolist())][row] for row, actions in enumerate(greedy)])
    assert (mine >= best - 1e-5).all()


def test_an_update_moves_every_parameter_and_reports():
    learner = make_learner(optimizer={"kind": "adam"}, model={"hidden_dim": 8, "parameter_sharing": "none"})
    before = {name: p.clone() for name, p in module_of(learner).named_parameters() if p.requires_grad}
    results = update(learner, make_sample(learner.config))
    for name, p in module_of(learner).named_parameters():
        assert name not in before or not torch.equal(p, before[name]), name
    metrics = {k: float(v.peek()) for k, v in results["default_policy"].items() if hasattr(v, "peek")}
    assert {"total_loss", "td_error_abs", "grad_norm", "q_tot_mean"} <= metrics.keys()


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"td_lambda is 0\.6 with DMIX.*use n_step"):
        quick(DMIXConfig, WALK, td_lambda=0.6).validate()
    with pytest.raises(ValueError, match=r"algorithm_settings\.quantiles is 0"):
        quick(DMIXConfig, WALK, algorithm_settings={"quantiles": 0}).validate()
    with pytest.raises(ValueError, match=r"unknown key 'algorithm_settings\.quantile'"):
        quick(DMIXConfig, WALK, algorithm_settings={"quantile": 8}).validate()
    with pytest.raises(ValueError, match="DMIX's mixer needs a global state"):
        quick(DMIXConfig, WALK).environment(env_config={"state_dim": 0}).validate()


def test_the_defaults_are_those_of_dfac():
    config = DMIXConfig()
    settings = config.parse_algorithm_settings()
    assert (settings.quantiles, settings.target_quantiles, settings.acting_quantiles, settings.cosines) == (
        8,
        8,
        32,
        64,
    )
    assert (settings.kappa, config.parse_mixer().embed_dim) == (1.0, 32)
    assert (config.lr, config.double_q, config.n_step, config.td_lambda) == (5e-4, False, 1, None)
    assert config.team_optimizer == {"kind": "adam", "eps": 1e-5}


# ---------------------------------------------------------------------- plasticity


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("sharing", ["all", "none"])
def test_every_layer_can_be_scored(recurrent, sharing):
    learner = make_learner(model={"hidden_dim": 8, "recurrent": recurrent, "parameter_sharing": sharing})
    module = module_of(learner)
    layers = module.neuron_layers("full")
    found = measure_team(module, layers, columns(make_batch(learner)))
    assert {layer.key for layer in layers} == set(found)
    embedding = [dormancy for key, dormancy in found.items() if key.endswith("phi.0")]
    assert len(embedding) == (2 if sharing == "none" else 1)
    assert all(dormancy.rows == 4 for dormancy in embedding)  # the acting fractions


@pytest.mark.parametrize("kind", ["reborn", "redo", "reset", "injection", "knife"])
@pytest.mark.parametrize("scope", ["mixer", "agent"])
def test_interventions_treat_it(kind, scope):
    data = {"kind": kind, "scope": scope}
    if kind in ("reborn", "redo"):
        data |= {"alpha": 0.9}
    if kind in ("reborn", "redo", "knife"):
        data |= {"layers": "editable"}
    model = {"hidden_dim": 8, "recurrent": False, "fc_layers": 2}
    learner = make_learner(optimizer={"kind": "adam"}, interventions=[data], model=model)
    module, batch = module_of(learner), make_batch(learner)
    update(learner, make_sample(learner.config))
    before = module.observe(columns(batch))["q_tot"]
    arrays = {name: value.numpy() for name, value in columns(batch).items()}
    optimizer = learner.get_optimizer("default_policy")
    intervention = make_intervention(data)
    layers = module.neuron_layers("editable")
    report = apply_intervention(
        intervention,
        team_view(module, intervention.layers, arrays, arrays, optimizer),
        generator=torch.Generator().manual_seed(0),
        update_activity={layer.key: torch.zeros(layer.width) for layer in layers},
    )
    assert report.neurons > 0
    after = module.observe(columns(batch))["q_tot"]
    assert torch.isfinite(after).all()
    if kind in ("injection", "knife"):  # these keep what the networks say
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    else:
        assert not torch.allclose(after, before)
    update(learner, make_sample(learner.config))
    assert not torch.equal(module.observe(columns(batch))["q_tot"], after)


# ---------------------------------------------------------------------- the algorithm


def fraction_batches(algorithm, updates):
    """The fractions of the next updates, as the learner gets them."""
    fractions = []
    original = algorithm._make_updates

    def make_updates(count):
        for made in original(count):
            (batch,) = made.batches
            fractions.append(batch["default_policy"][FRACTIONS][0].copy())
            yield made

    algorithm._make_updates = make_updates
    while len(fractions) < updates:
        algorithm.train()
    return fractions[:updates]


def test_an_episode_has_its_fractions_however_many_learners_there_are():
    layout = field_layout(1, 2, 1, 1, "float32", "float32")
    batches = []
    for shards in (1, 2):
        replay = EpisodeReplay(16, layout, 9, seed=3)
        for length in (3, 9, 1, 5, 7):
            rows_of = {name: length + (name in OBSERVATION_FIELDS) for name in layout}
            fields = {name: np.zeros((rows_of[name], *shape), dtype) for name, (shape, dtype) in layout.items()}
            fields["terminated"][-1] = True
            replay.add(EpisodeBlock.of([fields]))
        sample = replay.sample(8, shards=shards)
        fractions = draw_fractions(sample.lengths, 16, shards, np.random.default_rng(0))
        assert fractions.shape == (sample.env_steps, 16)
        of_episodes = np.split(fractions, np.cumsum(sample.lengths)[:-1])
        batches.append(sorted((one[0, 0], index, one.tolist()) for index, one in zip(sample.indices, of_episodes)))
    assert batches[0] == batches[1]
    assert len({index for _, index, _ in batches[0]}) > 2


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
class TestAlgorithm:
    def test_fractions_are_drawn_anew_for_every_transition_and_repeated_after_a_restore(self, tmp_path):
        config = quick(DMIXConfig, WALK)
        algorithm = config.build_algo()
        rows(algorithm, 2)
        algorithm.save_to_path(tmp_path)
        first = fraction_batches(algorithm, 3)
        assert first[0].dtype == np.float32
        assert first[0].shape[1] == 16
        assert 0 <= first[0].min() < 0.01 < 0.99 < first[0].max() < 1
        assert len(np.unique(np.concatenate([one.ravel() for one in first]))) > 0.99 * sum(one.size for one in first)
        again = ValueFactorization.from_checkpoint(tmp_path)
        for mine, theirs in zip(first, fraction_batches(again, 3)):
            np.testing.assert_array_equal(mine, theirs)
        algorithm.stop()
        again.stop()

    @pytest.mark.parametrize(
        "training", [{}, {"model": {"hidden_dim": 8, "recurrent": False, "parameter_sharing": "none"}, "n_step": 2}]
    )
    def test_resumed_equals_uninterrupted_to_the_bit(self, training, tmp_path):
        whole = quick(DMIXConfig, WALK, target_update={"tau": 0.1}, **training).build_algo()
        rows(whole, 3)
        whole.save_to_path(tmp_path)
        rest = rows(whole, 2)
        resumed = ValueFactorization.from_checkpoint(tmp_path)
        assert rows(resumed, 2) == rest
        assert equal(learner_weights(whole), learner_weights(resumed))
        whole.stop()
        resumed.stop()

    @pytest.mark.parametrize(
        ("noise", "seed"),
        [
            ("uniform", 0),
            pytest.param("uniform", 1, marks=pytest.mark.long),
            pytest.param("three", 2, marks=pytest.mark.long),
        ],
    )
    def test_it_learns_the_distribution_of_a_random_return(self, noise, seed):
        """The learnt quantiles are the game's, for every joint action, within 0.35 (measured: 0.21). The best joint action's
        spread over 4: to learn one value, as by a squared error or D25's loss, would be off by 1.8."""
        algorithm = (
            quick(
                DMIXConfig,
                "tests.fakes.random_rewards:RandomRewards",
                seed=seed,
                lr=3e-3,
                batch_episodes=256,
                buffer_episodes=4000,
                learning_starts_episodes=1000,
                updates_per_episode=0.1,
                epsilon={"start": 1.0, "end": 1.0},
                model={"hidden_dim": 16},
                mixer={"embed_dim": 8, "hypernet_dim": 16},
                algorithm_settings={"kappa": 0.1, "cosines": 16},
            )
            .environment(env_config={"noise": noise})
            .env_runners(num_envs_per_env_runner=64)
            .reporting(min_sample_timesteps_per_iteration=1000)
            .build_algo()
        )
        for _ in range(8):
            algorithm.train()
        module = algorithm.learner_group._learner.module["default_policy"].unwrapped()
        algorithm.stop()
        assert isinstance(module, DMIXModule)
        fractions = torch.tensor([0.05, 0.1, 0.15, 0.4, 0.5, 0.6, 0.85, 0.95])
        for u in itertools.product((0, 1), repeat=2):
            batch = {
                "obs": torch.ones(2, 2, 1),
                "state": torch.ones(2, 1),
                "action_mask": torch.ones(2, 2, 2, dtype=torch.bool),
                "actions": torch.tensor([u]),
                "lengths": torch.tensor([1]),
                FRACTIONS: fractions.repeat(2).view(1, 16),
            }
            batch = {name: column.unsqueeze(0) for name, column in batch.items()}
            learnt = module._forward_train(batch)["quantiles"][0, 0].detach().numpy()
            np.testing.assert_allclose(learnt, quantile(noise, fractions, sum(u)), atol=0.35)
