# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.backbone.unet_latent import UNetLatent, is_temporal, log_sigma, unet_latent_flops
from dit_jax.backbone.unet_latent_config import MICRO, UNetLatentConfig
from dit_jax.denoiser import Denoiser
from tests.randomise import randomise

CONFIG = UNetLatentConfig(
    in_channels=4,
    width=8,
    depth=1,
    channel_multipliers=(1, 2),
    attention_levels=(),  # what lies between down and up has its transformer
    head_dim=4,
    text_width=12,
    num_groups=4,
    micro_features=8,
)
SHAPE = (2, 3, 5, 6, 4)  # rows do not halve evenly
SMALL = dict(channel_multipliers=(1,))  # compiles faster
OVER_TIME = {"time", "time_mlp", "time_norm", "position"}  # modules that images do not need
RNG = np.random.default_rng(0)
jitted = jax.jit(lambda model, *arguments: model(*arguments))


def make(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    return randomise(lambda: UNetLatent(config, rngs=nnx.Rngs(0)))


def inputs(shape=SHAPE):
    x = jnp.asarray(RNG.normal(size=shape), jnp.float32)
    text = jnp.asarray(RNG.normal(size=(shape[0], 5, 12)), jnp.float32)
    mask = jnp.asarray([[True] * 5, [True] * 3 + [False] * 2])[: shape[0]]
    return x, jnp.linspace(0.2, 0.7, shape[0]), text, mask


def run(model, x, t, text, mask, known=None, image_only=None, **micro):
    """With every argument given, so that one compile serves all calls."""
    names = model.config.micro
    values = {n: jnp.full((len(x),), MICRO[n].default, jnp.float32) for n in names} | micro
    known = jnp.zeros((*x.shape[:-1], 1), bool) if known is None else known
    image_only = jnp.zeros((len(x),), bool) if image_only is None else image_only
    return jitted(model, x, t, text, mask, known, values, image_only)


def frames_as_clips(x, t, text, mask):
    """Every frame as a clip of one frame."""
    count = x.shape[1]
    return x.reshape(-1, 1, *x.shape[2:]), *(jnp.repeat(a, count, axis=0) for a in (t, text, mask))


def is_over_time(path):
    return bool(OVER_TIME & {str(getattr(part, "key", getattr(part, "name", ""))) for part in path})


def replace_over_time(model, other):
    """`model` with the parameters over time, and the blends, of `other`."""
    graph, params = nnx.split(model)
    chosen = jax.tree_util.tree_map_with_path(
        lambda p, a, b: b if is_over_time(p) else a, params, nnx.split(other)[1]
    )
    return nnx.merge(graph, chosen)


@pytest.fixture(scope="module")
def first():
    """As initialised."""
    return UNetLatent(CONFIG, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def model():
    return make()


def test_prediction_is_zero_at_initialisation_and_has_the_shape_of_the_latents(first):
    y = run(first, *inputs())
    assert y.shape == SHAPE
    assert not y.any()


def test_time_is_the_identity_at_initialisation(model, first):
    """With the parameters of a trained 2-D network, a clip's frames come out as its images do."""
    given = inputs()
    images = run(model, *frames_as_clips(*given)).reshape(SHAPE)
    trained_on_images = replace_over_time(model, first)
    np.testing.assert_allclose(run(trained_on_images, *given), images, rtol=1e-4, atol=1e-4)
    assert np.abs(run(model, *given) - images).max() > 0.1  # what was drawn over time is not


def test_an_image_is_a_clip_of_one_frame(model, first):
    """Parameters over time have no part in it, and clips said to be images are as many of them."""
    given = inputs()
    images = run(model, *frames_as_clips(*given)).reshape(SHAPE)
    without_time = run(replace_over_time(model, first), *frames_as_clips(*given)).reshape(SHAPE)
    np.testing.assert_array_equal(images, without_time)
    together = run(model, *given, image_only=jnp.array([True, True]))
    np.testing.assert_allclose(together, images, rtol=1e-4, atol=1e-4)
    one = run(model, *given, image_only=jnp.array([True, False]))
    np.testing.assert_allclose(one[0], images[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one[1], run(model, *given)[1], rtol=1e-4, atol=1e-4)


def test_the_denoiser_passes_on_which_clips_are_images(model):
    x, t, text, mask = inputs()
    image_only = jnp.array([True, False])
    cond = {"text_tokens": text, "text_mask": mask, "image_only": image_only, "fps": jnp.full((2,), 7.0)}
    through = jitted(Denoiser(None, model), x, t, cond)
    np.testing.assert_allclose(
        through, run(model, x, t, text, mask, image_only=image_only), rtol=1e-4, atol=1e-4
    )


def test_no_gradient_of_images_reaches_what_is_temporal(model):
    x, *others = frames_as_clips(*inputs())
    graph, state = nnx.split(model)
    found = jax.jit(jax.grad(lambda s: jnp.square(nnx.merge(graph, s)(x, *others)).sum()))(state)
    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(found)):
        assert leaf.any() != is_temporal(path), path


def test_prediction_depends_on_everything_it_is_given(model):
    x, t, text, mask = inputs()
    y = run(model, x, t, text, mask)
    for changed in (run(model, x, t + 0.1, text, mask), run(model, x, t, text + 1, mask)):
        assert np.abs(changed - y).max() > 1e-3
    backwards = run(model, x[:, ::-1], t, text, mask)[:, ::-1]
    assert np.abs(backwards - y).max() > 1e-3


def test_padded_text_and_other_clips_cannot_be_seen(model):
    x, t, text, mask = inputs()
    y = run(model, x, t, text, mask)
    padded = run(model, x, t, jnp.where(mask[..., None], text, 9.0), mask)
    np.testing.assert_allclose(padded, y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run(model, x.at[1].set(0.0), t, text, mask)[0], y[0], rtol=1e-4, atol=1e-4)


def test_micro_conditions_are_seen(model):
    given = inputs()
    y = run(model, *given)
    for name in MICRO:
        assert np.abs(run(model, *given, **{name: jnp.array([3.0, 9.0])}) - y).max() > 1e-3


def test_what_is_left_out_takes_its_default():
    model, given = make(**SMALL), inputs()
    y = jitted(model, *given)
    np.testing.assert_allclose(y, run(model, *given), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"micro=\['fsp'\] is not among the config's micro=\('fps', "):
        model(*given, micro={"fsp": jnp.ones((2,))})


@pytest.mark.parametrize("known_input", ["none", "first_frame", "mask"])
def test_what_is_known_is_seen_as_the_config_says(known_input):
    model, given = make(known_input=known_input, micro=(), **SMALL), inputs()
    nothing = jnp.zeros((*SHAPE[:-1], 1), bool)
    y = run(model, *given, nothing)
    for frame, where in ((0, ("first_frame", "mask")), (2, ("mask",))):
        known = nothing.at[:, frame].set(True)
        sees = bool(np.abs(run(model, *given, known) - y).max() > 1e-3)
        assert sees is (known_input in where)


def test_the_first_frame_is_seen_beside_every_frame():
    model = make(micro=(), **SMALL)
    x = inputs()[0]
    known = jnp.zeros((*SHAPE[:-1], 1), bool).at[:, 0, :, :3].set(True)
    seen = model._with_known(x, known)
    np.testing.assert_array_equal(seen[..., :4], x)
    for frame in range(SHAPE[1]):
        np.testing.assert_array_equal(seen[:, frame, :, :3, 4:], x[:, 0, :, :3])
        assert not seen[:, frame, :, 3:, 4:].any()


def test_logarithm_of_sigma_is_told_instead_of_time():
    t = jnp.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(log_sigma(t), np.log([1 / 9, 1, 9]), rtol=1e-5, atol=1e-6)
    assert np.isfinite(log_sigma(jnp.array([0.0, 1.0]))).all()
    a, b = make(**SMALL), make(time_input="log_sigma", **SMALL)
    t = jnp.array([0.3, 0.8])
    np.testing.assert_allclose(b._embed(t, None), a._embed(log_sigma(t) / 4000, None), rtol=1e-4, atol=1e-5)


def test_remat_changes_no_number_and_gradients_are_finite():
    given = inputs()

    def loss_and_gradients(remat):
        graph, params = nnx.split(make(remat=remat, **SMALL))
        loss = jax.value_and_grad(lambda p: jnp.square(nnx.merge(graph, p)(*given)).mean())
        return jax.jit(loss)(params)

    plain, again = loss_and_gradients("none"), loss_and_gradients("full")
    for expected, found in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_remat_keeps_less():
    """What the backward pass is given: all that is computed, or the input of each block."""
    given = inputs()

    def residuals(remat):
        graph, params = nnx.split(make(remat=remat, **SMALL))
        pulled = jax.eval_shape(lambda p: jax.vjp(lambda p: nnx.merge(graph, p)(*given), p)[1], params)
        return sum(leaf.size for leaf in jax.tree.leaves(pulled))

    assert residuals("full") < 0.5 * residuals("dots") < 0.5 * residuals("none")


@pytest.mark.parametrize(("width", "shape"), [(1024, (4, 7, 8, 16)), (512, (1, 12, 16, 16))])
def test_flops_agree_with_a_compile(width, shape):
    """XLA counts elementwise work too, so the sizes here are such that products dominate."""
    sizes = dict(in_channels=16, width=width, depth=1, head_dim=64, text_width=128, num_groups=32)
    config = UNetLatentConfig(channel_multipliers=(1, 2), attention_levels=(0,), **sizes)
    graph, params = nnx.split(nnx.eval_shape(lambda: UNetLatent(config, rngs=nnx.Rngs(0))))
    arguments = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, *shape), (1,), (1, 32, 128))]
    forward = jax.jit(lambda p, *a: nnx.merge(graph, p)(*a))
    lowered = forward.lower(params, *arguments, jax.ShapeDtypeStruct((1, 32), bool))
    counted, parts = lowered.compile().cost_analysis()["flops"], unet_latent_flops(config, shape, 32)
    assert set(parts) == {"convolution", "attention", "mlp", "text", "modulation"}
    assert sum(parts.values()) < counted
    assert sum(parts.values()) == pytest.approx(counted, rel=0.01)


def test_bfloat16_is_close_to_float32():
    given = inputs()
    model, half = make(**SMALL), make(dtype="bfloat16", **SMALL)
    expected = run(model, *given)
    error = np.linalg.norm(run(half, *given) - expected) / np.linalg.norm(expected)
    assert 1e-5 < error < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(width=12), "width=12 must be a multiple of num_groups=8"),
        (dict(depth=0), "depth=0 must be at least 1"),
        (dict(micro_features=5), "micro_features=5 must be even"),
        (dict(head_dim=(8, 6)), r"head_dim=\(8, 6\) must be even and divide the 32 channels of level 1"),
        (dict(head_dim=(8,)), r"head_dim=\(8,\) must be one size, or one for each of 2 levels"),
        (dict(attention_levels=(2,)), r"attention_levels=\(2,\) must be among the levels 0 to 1"),
        (dict(channel_multipliers=()), r"channel_multipliers=\(\) must be one or more"),
        (dict(time_input="sigma"), "time_input='sigma' is not one of t, log_sigma"),
        (dict(known_input="all"), "known_input='all' is not one of none, first_frame, mask"),
        (dict(micro=("speed",)), r"micro=\('speed',\) is not one of fps, motion, noise_augmentation"),
        (dict(micro=("fps", "fps")), r"micro=\('fps', 'fps'\) names one condition twice"),
        (dict(remat="some"), "remat='some' is not one of none, dots"),
        (dict(dtype="float16"), "dtype='float16' is not one of float32, bfloat16"),
    ],
)
def test_wrong_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **{"width": 16, "num_groups": 8, **change})


@pytest.mark.parametrize("width", [8, 24, 64])
def test_one_dial_makes_a_ladder(width):
    config = dataclasses.replace(CONFIG, width=width)
    params = nnx.eval_shape(lambda: nnx.state(UNetLatent(config, rngs=nnx.Rngs(0))))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) > 150 * width**2
    assert sum(unet_latent_flops(config, SHAPE[1:], 5).values()) > 0
