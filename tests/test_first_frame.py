# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A frame to begin with: noised in training and sampling alike, and seen beside every frame."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import known_world
from dit_jax.backbone.unet_latent import UNetLatent
from dit_jax.backbone.unet_latent_config import UNetLatentConfig
from dit_jax.diffusion.sampler import SamplerConfig
from dit_jax.first_frame import LOG_MEAN, LOG_STD, drawn_frame
from dit_jax.generate import load
from dit_jax.run import run
from tests.randomise import randomise

SIZES = dict(
    in_channels=16,
    width=4,
    depth=1,
    channel_multipliers=(1,),
    attention_levels=(),
    head_dim=4,
    text_width=8,
    num_groups=2,
    micro_features=4,
    known_input="augmented_frame",
    frame_scale=2.0,
)


def config():
    made = known_world.get_config()
    made.data.update(num_clips=8, num_frames=9, height=16, width=16)
    made.loader.batch_size = 2
    made.text.update(max_bytes=16, width=8, num_heads=1)
    made.backbone = {"name": "unet_latent", **SIZES}
    made.evaluate.update(num_clips=2, num_times=2)
    made.train.update(total_steps=6, chunk_steps=1, save_every_steps=6)
    made.optimizer.lr = 0.03
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("animate")
    assert run(config(), folder)["status"] == "finished"
    return load(folder)


def test_a_trained_model_animates_an_image(model):
    """Under guidance, which withholds the frame together with the text."""
    rng, how = np.random.default_rng(0), dict(sampler=SamplerConfig(num_steps=2), seed=1)
    given = rng.integers(0, 256, (1, *model.size, 3), dtype=np.uint8)
    same_frame = np.where(np.arange(9)[:, None, None, None] == 0, given, 255 - given)

    def draw(clip, **micro):
        return model([""], task="image_to_video", given=clip, micro=dict(motion=4.0, **micro), **how)

    clean = draw(given, noise_augmentation=0.0)
    np.testing.assert_array_equal(clean, draw(same_frame, noise_augmentation=0.0))
    assert (clean != draw(255 - given, noise_augmentation=0.0)).any()
    assert (clean != draw(given, noise_augmentation=1.0)).any()
    free = model([""], micro=dict(motion=4.0), **how)
    assert (clean != free).any()


def test_the_frame_is_scaled_and_seen_beside_a_noisy_first_frame():
    config = UNetLatentConfig(**SIZES)
    made = {s: dataclasses.replace(config, frame_scale=s) for s in (1.0, 2.0)}
    nets = {s: randomise(lambda c=c: UNetLatent(c, rngs=nnx.Rngs(0))) for s, c in made.items()}
    rng = np.random.default_rng(0)
    x, frame = (jnp.asarray(rng.normal(size=(2, t, 4, 4, 16)), jnp.float32) for t in (3, 1))
    others = (jnp.array([0.2, 0.7]), jnp.ones((2, 5, 8)), jnp.ones((2, 5), bool))
    apply = jax.jit(lambda net, x, micro: net(x, *others, micro=micro))
    seen = apply(nets[2.0], x, {"first_frame": frame})
    np.testing.assert_array_equal(seen, apply(nets[1.0], x, {"first_frame": 2 * frame}))
    np.testing.assert_array_equal(apply(nets[2.0], x, {"first_frame": 0 * frame}), apply(nets[2.0], x, {}))
    nothing = apply(nets[2.0], x, {})
    assert all(np.abs(seen[:, i] - nothing[:, i]).max() > 1e-3 for i in range(3))


def test_the_noise_is_what_the_network_is_told():
    x0 = jnp.asarray(np.random.default_rng(0).normal(size=(512, 3, 4, 4, 16)), jnp.float32)
    cond = drawn_frame(x0, jax.random.key(0))
    level = cond["noise_augmentation"]
    assert np.log(level).mean() == pytest.approx(LOG_MEAN, abs=0.1)
    assert np.log(level).std() == pytest.approx(LOG_STD, rel=0.1)
    deviation = np.std(cond["first_frame"] - x0[:, :1], axis=(1, 2, 3, 4))
    np.testing.assert_allclose(
        deviation, level, rtol=0.25
    )  # of 256 values each: 4.4 %, and the largest of 512


def test_a_network_that_is_not_told_the_noise_is_refused():
    with pytest.raises(ValueError, match=r"augmented_frame' and micro=.*: add 'noise_augmentation' to micro"):
        UNetLatentConfig(**SIZES, micro=("fps",))
