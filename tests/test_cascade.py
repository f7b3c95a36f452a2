# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.backbone.unet_pseudo3d import UNetPseudo3D, UNetPseudo3DConfig
from dit_jax.cascade import Cascade, Drawn, coarse, enlarge, spread
from dit_jax.denoiser import Denoiser
from dit_jax.diffusion.guidance import guided
from dit_jax.diffusion.objective import DEFAULT, draw, flow_matching_loss
from dit_jax.diffusion.path import as_velocity
from dit_jax.diffusion.sampler import SamplerConfig
from tests.randomise import randomise

CONFIG = UNetPseudo3DConfig(
    in_channels=2,
    width=8,
    depth=1,
    num_heads=2,
    text_width=6,
    channel_multipliers=(1,),
    attention_levels=(),
    time_features=8,
)
THIRDS = dataclasses.replace(DEFAULT, frame_factor=3)
SAMPLER = SamplerConfig(method="euler", num_steps=2)
NULL = {"text_tokens": jnp.zeros((1, 3, 6)), "text_mask": jnp.ones((1, 3), bool)}
PROMPTS = ["a red circle", "a blue square"]
SHAPE = (3, 4, 6, 2)


def network(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    return randomise(lambda: UNetPseudo3D(config, rngs=nnx.Rngs(0)), scale=0.2)


def velocity_of(module):
    return as_velocity(Denoiser(None, module), DEFAULT.output)


def text(prompts):
    """Tokens that tell prompts apart."""
    tokens = np.stack([np.random.default_rng(list(p.encode())).normal(size=(3, 6)) for p in prompts])
    return {"text_tokens": jnp.asarray(tokens, jnp.float32), "text_mask": jnp.ones((len(prompts), 3), bool)}


@pytest.fixture(scope="module")
def cascade():
    make = dict(text=text, shape=SHAPE, sampler=SAMPLER)
    return Cascade(
        base=Drawn(velocity_of(network()), fps=4.0, **make),
        interpolate=Drawn(velocity_of(network(known_channels=True)), fps=12.0, objective=THIRDS, **make),
        upsample=Drawn(guided(velocity_of(network(low_resolution_channels=2)), NULL, 2.0), **make),
        frame_factor=3,
    )


def test_a_cascade_of_networks_draws_more_frames_and_more_pixels(cascade):
    video = cascade(PROMPTS)
    assert video.shape == (2, 7, 8, 12, 2)
    assert np.isfinite(video).all()
    np.testing.assert_array_equal(cascade(PROMPTS), video)
    other = cascade([PROMPTS[0], "a green star"])
    np.testing.assert_allclose(other[0], video[0], rtol=1e-4, atol=1e-4)
    assert np.abs(other[1] - video[1]).max() > 1e-2


def test_interpolation_keeps_the_frames_of_the_first_stage(cascade):
    slow = cascade.base(PROMPTS)
    video = dataclasses.replace(cascade, upsample=None)(PROMPTS)
    np.testing.assert_array_equal(video[:, ::3], slow)
    assert np.abs(video[:, 1::3] - slow[:, :-1]).max() > 1e-2


def test_the_clip_to_refine_is_read(cascade):
    given = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 8, 12, 2)), jnp.float32)
    y, other = (cascade.upsample(PROMPTS, clip, "upsample") for clip in (given, -given))
    assert np.abs(y - other).max() > 1e-2


def test_stages_are_asked_in_turn_and_may_be_left_out():
    asked = []

    def stage(prompts, given, task):
        asked.append((task, None if given is None else given.shape))
        return np.zeros((len(prompts), 3, 4, 6, 3), np.uint8) if given is None else given

    assert Cascade(stage, stage, stage, 2)(PROMPTS).shape == (2, 5, 8, 12, 3)
    assert Cascade(stage, upsample=stage)(PROMPTS).shape == (2, 3, 8, 12, 3)
    assert Cascade(stage)(PROMPTS, np.zeros((2, 1, 2, 2, 3), np.uint8), "connect").shape == (2, 1, 2, 2, 3)
    first = ("none", None)
    assert asked[:3] == [first, ("slow_motion", (2, 5, 4, 6, 3)), ("upsample", (2, 5, 8, 12, 3))]
    assert asked[3:] == [first, ("upsample", (2, 3, 8, 12, 3)), ("connect", (2, 1, 2, 2, 3))]


def test_a_stage_of_the_wrong_size_is_named():
    def stage(prompts, given, task):
        return np.zeros((len(prompts), 3, 4, 6, 3), np.uint8)

    with pytest.raises(
        ValueError, match=r"interpolate was given \(2, 5, 4, 6, 3\) and drew \(2, 3, 4, 6, 3\)"
    ):
        Cascade(stage, stage)(PROMPTS)
    with pytest.raises(ValueError, match="frame_factor=1 must be at least 2"):
        Cascade(stage, frame_factor=1)


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_frames_and_pixels_are_repeated(as_array):
    video = as_array(np.arange(2 * 3 * 4 * 5 * 1, dtype=np.uint8).reshape(2, 3, 4, 5, 1))
    np.testing.assert_array_equal(spread(video, 3), np.repeat(video, 3, 1)[:, :7])
    np.testing.assert_array_equal(enlarge(video), np.repeat(np.repeat(video, 2, 2), 2, 3))
    assert spread(video, 3).dtype == video.dtype


def test_tasks_without_clips_and_unknown_ones_are_refused(cascade):
    with pytest.raises(ValueError, match="task='slow_motion' needs one clip for each of the 2 prompts"):
        cascade.interpolate(PROMPTS, None, "slow_motion")
    with pytest.raises(ValueError, match="task='sharpen' is not one of none, image_to_video"):
        cascade.base(PROMPTS, np.zeros((2, *SHAPE), np.float32), "sharpen")


def test_other_tasks_keep_what_they_give(cascade):
    given = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    video = cascade.base(PROMPTS, given, "image_to_video")
    np.testing.assert_array_equal(video[:, 0], given[:, 0])
    assert np.abs(video[:, 1:] - given[:, 1:]).max() > 1e-2


def test_frames_that_a_network_sees_alone_do_not_flicker_from_shared_noise():
    module = network(temporal=False, low_resolution_channels=2)
    make = dict(text=text, shape=SHAPE, sampler=SAMPLER, noise_augmentation=0.0)
    still = np.repeat(np.random.default_rng(0).normal(size=(2, 1, *SHAPE[1:])), 3, 1).astype(np.float32)
    shared = Drawn(velocity_of(module), shared_noise=True, **make)(PROMPTS, still, "upsample")
    np.testing.assert_allclose(shared[:, 1:], shared[:, :-1], rtol=1e-4, atol=1e-4)
    own = Drawn(velocity_of(module), **make)(PROMPTS, still, "upsample")
    assert np.abs(own[:, 1:] - own[:, :-1]).max() > 1e-2


def test_coarse_clips_are_means_that_are_noised():
    x0 = jnp.asarray(np.random.default_rng(0).normal(size=(64, *SHAPE)), jnp.float32)
    clean = coarse(x0, jax.random.key(0), most_noise=0.0)
    means = np.asarray(x0).reshape(64, 3, 2, 2, 3, 2, 2).mean((3, 5))
    np.testing.assert_allclose(clean["low_resolution"], enlarge(means), rtol=1e-5, atol=1e-6)
    assert not clean["noise_augmentation"].any()
    noised = coarse(x0, jax.random.key(0))
    level = noised["noise_augmentation"]
    assert 0 <= level.min() < 0.1
    assert 0.4 < level.max() < 0.5
    share = (1 - level)[:, None, None, None, None] * clean["low_resolution"]
    deviation = np.std(noised["low_resolution"] - share, axis=(1, 2, 3, 4))
    np.testing.assert_allclose(deviation, level, rtol=0.3)  # of 144 normal values: 6 % and its largest of 64
    with pytest.raises(ValueError, match=r"factor=3 must divide the height and width \(4, 6\)"):
        coarse(x0, jax.random.key(0), factor=3)


def test_super_resolution_learns_from_coarse_clips():
    """Its finetuning begins at inputs of zero, so these get a gradient."""
    module = network(low_resolution_channels=2)
    x0 = jnp.asarray(np.random.default_rng(0).normal(size=(2, *SHAPE)), jnp.float32)
    cond = text(PROMPTS) | coarse(x0, jax.random.key(1))
    draws = draw(jax.random.key(2), x0, cond, DEFAULT)
    graph, state = nnx.split(module)

    @jax.jit
    @jax.grad
    def gradient(state):
        velocity = velocity_of(nnx.merge(graph, state))
        return flow_matching_loss(velocity, x0, cond, NULL, draws, DEFAULT)

    found = nnx.to_pure_dict(gradient(state))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    for name in ("embed_low_resolution", "noise_embedding"):
        assert all(leaf.any() for leaf in jax.tree.leaves(found[name]))
