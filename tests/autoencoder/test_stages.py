# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A training in stages, with an adversary in the last: one state, resumed bitwise wherever it was stopped."""

import grain
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from configs import known_world
from dit_jax import build
from dit_jax.autoencoder.stages import StageConfig, stage_stops
from dit_jax.data.transforms import Cut
from dit_jax.train.checkpoint import Checkpointer
from dit_jax.train.optimizer import Horizon
from dit_jax.train_autoencoder import CHECKPOINTS, train_autoencoder
from dit_jax.trainee import trainee

STAGES = (
    {"steps": 4, "num_frames": 1, "side": 8, "batch_size": 6, "loss": {"l1": 1.0}},
    {"adversarial": True},
)


def config(stages=STAGES):
    made = known_world.get_config()
    made.data.update(num_clips=24, num_frames=5, height=16, width=16)
    made.text.max_bytes = 8
    made.evaluate.num_clips = 4
    made.autoencoder.update(train=True, steps=8, batch_size=4, stages=stages)
    widths = dict(encoder_widths=(4, 4, 4), decoder_widths=(4, 4, 4))
    made.autoencoder.model.update(
        encoder_blocks=(0, 0, 0), decoder_blocks=(0, 0, 0), latent_channels=4, **widths
    )
    made.discriminator.widths = (4,)
    made.autoencoder_optimizer.warmup_steps = 2
    return made


class Killed(BaseException):
    """What no handler of errors catches."""


def final(folder):
    checkpointer = Checkpointer(folder / CHECKPOINTS)
    state, position = checkpointer.restore(trainee(config()).abstract)
    checkpointer.close()
    return state, position


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder, seen = tmp_path_factory.mktemp("whole"), []
    scores = train_autoencoder(config(), folder, lambda step, loss: seen.append(step))
    return folder, scores, seen


@pytest.mark.parametrize("at", [3, 4, 6])  # within the first stage, at its end, within the second
def test_resumed_is_undisturbed(whole, tmp_path, at):
    def killer(step, loss):
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        train_autoencoder(config(), tmp_path, killer)
    scores = train_autoencoder(config(), tmp_path)
    assert scores == whole[1]
    (one, one_position), (other, other_position) = final(whole[0]), final(tmp_path)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one_position == other_position
    weights = [load_file(folder / "autoencoder.safetensors") for folder in (whole[0], tmp_path)]
    assert weights[0].keys() == weights[1].keys()
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_stages_follow_each_other_in_one_run(whole):
    folder, scores, seen = whole
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8]
    assert scores["steps"] == 8
    state, position = final(folder)
    assert position["position"] == 4 * 6 + 4 * 4  # clips of both stages, none twice
    counts = {name: int(branch_count(state.opt_state[name])) for name in state.opt_state}
    assert counts == {"autoencoder": 8, "discriminator": 4}  # at rest while it is not needed


def branch_count(opt_state):
    (count,) = [leaf for leaf in jax.tree.leaves(opt_state) if leaf.dtype == np.int32]
    return count


def test_a_critic_at_rest_is_as_it_was_drawn():
    trained = trainee(config())
    state = trained.init(jax.random.key(0))
    before = jax.tree.map(np.asarray, state.params)
    horizon = Horizon(lr=1e-3, warmup_steps=1, total_steps=8, seed=0)
    batch = {"video": np.random.default_rng(0).integers(0, 256, (1, 6, 1, 8, 8, 3)).astype(np.uint8)}
    state, metrics = trained.stages[0][2](state, batch, horizon)
    for a, b in zip(jax.tree.leaves(before["discriminator"]), jax.tree.leaves(state.params["discriminator"])):
        np.testing.assert_array_equal(a, b)
    moved = [
        (a != b).any()
        for a, b in zip(jax.tree.leaves(before["autoencoder"]), jax.tree.leaves(state.params["autoencoder"]))
    ]
    assert any(moved)
    assert metrics["grad_norm_discriminator"] == 0 < metrics["grad_norm_autoencoder"]
    assert "discriminator_loss" not in metrics


def test_every_metric_of_the_adversary_is_written(whole):
    data = b"".join(path.read_bytes() for path in (whole[0] / "autoencoder").glob("events.out.tfevents.*"))
    names = ["discriminator_loss", "discriminator_accuracy", "logits_real", "logits_fake", "adaptive_weight"]
    names += [
        "last_layer_error",
        "last_layer_adversarial",
        "grad_norm_discriminator",
        "grad_norm_autoencoder",
    ]
    assert [name for name in names if name.encode() not in data] == []


@pytest.mark.parametrize(
    ("steps", "stops"), [([0], [10]), ([4, 0], [4, 10]), ([4, 6], [4, 10]), ([1, 2, 0], [1, 3, 10])]
)
def test_stages_end_where_they_say(steps, stops):
    assert stage_stops([StageConfig(steps=n) for n in steps], 10) == stops


@pytest.mark.parametrize("steps", [[4], [4, 7], [0, 0], [10, 0], [12]])
def test_stages_that_do_not_add_up_are_refused(steps):
    with pytest.raises(ValueError, match="do not make the 10 of the training"):
        stage_stops([StageConfig(steps=n) for n in steps], 10)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"frames": 1}, r"autoencoder.stages\[0\].frames is unknown; did you mean 'num_frames'"),
        ({"side": -8}, "side=-8 of a stage must not be negative"),
    ],
)
def test_wrong_stages_are_refused(stage, message):
    with pytest.raises(ValueError, match=message):
        build.autoencoder_stages(config((stage,)))


def test_an_unknown_weight_of_a_stage_gets_the_nearest_name():
    with pytest.raises(ValueError, match="structual is unknown; did you mean 'structural'"):
        build.stage_loss(config(), StageConfig(loss={"structual": 1.0}))


class Frames(grain.transforms.RandomMap):
    """Clips whose pixels tell where they come from."""

    def random_map(self, element, rng):
        t, y, x = np.mgrid[:9, :12, :14]
        return {"video": np.stack([t, y, x], -1).astype(np.uint8), "text_ids": np.zeros(2)}


def test_cuts_are_in_one_piece_and_everywhere():
    cut, rng, corners = Cut(Frames(), 3, 4), np.random.default_rng(0), set()
    for _ in range(400):
        video = cut.random_map(None, rng)["video"].astype(int)
        assert video.shape == (3, 4, 4, 3)
        steps = [np.diff(video, axis=axis) for axis in range(3)]
        assert all((step[..., axis] == 1).all() for axis, step in enumerate(steps))
        corners.add(tuple(video[0, 0, 0]))
    assert {t for t, _, _ in corners} == set(range(7))
    assert {y for _, y, _ in corners} == set(range(9))
    assert {x for _, _, x in corners} == set(range(11))


def test_no_cut_is_the_whole_clip_and_too_large_a_one_is_refused():
    rng = np.random.default_rng(0)
    assert Cut(Frames(), 0, 0).random_map(None, rng)["video"].shape == (9, 12, 14, 3)
    with pytest.raises(ValueError, match=r"\(0, 13, 13\) does not fit into clips of \(9, 12, 14\)"):
        Cut(Frames(), 0, 13).random_map(None, rng)
