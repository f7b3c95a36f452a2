# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.backbone.pseudo3d_blocks import Context, halve
from dit_jax.backbone.unet_pseudo3d import (
    UNetPseudo3D,
    UNetPseudo3DConfig,
    is_temporal,
    unet_pseudo3d_flops,
)
from dit_jax.train.state import inherit
from tests.randomise import randomise

CONFIG = UNetPseudo3DConfig(
    in_channels=3,
    width=8,
    depth=1,
    num_heads=2,
    text_width=6,
    channel_multipliers=(1, 2),
    attention_levels=(),  # but the middle's, which compiles in half the time
    time_features=8,
)
SHAPE = (2, 3, 5, 6, 3)  # of an odd height, which levels round up
EVERY_INPUT = dict(known_channels=True, low_resolution_channels=2)
ONE_LEVEL = dict(channel_multipliers=(1,))
RNG = np.random.default_rng(0)
LOW = {"low_resolution": jnp.asarray(RNG.normal(size=(*SHAPE[:-1], 2)), jnp.float32)}
KNOWN = jnp.broadcast_to((jnp.arange(3) % 2 == 0)[:, None, None, None], (2, 3, 5, 6, 1))
apply = jax.jit(lambda model, *inputs: model(*inputs))


def network(**changes):
    """One whose parameters are all random."""
    config = dataclasses.replace(CONFIG, **changes)
    return randomise(lambda: UNetPseudo3D(config, rngs=nnx.Rngs(0)), scale=0.2)


def inputs(shape=SHAPE):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    text = jnp.asarray(rng.normal(size=(shape[0], 5, 6)), jnp.float32)
    mask = jnp.asarray([[True] * 5, [True] * 3 + [False] * 2])[: shape[0]]
    return x, jnp.linspace(0.2, 0.7, shape[0]), text, mask


def by_frame(x, *others):
    """Clips as clips of one frame."""
    frames = x.shape[1]
    return x.reshape(-1, 1, *x.shape[2:]), *(jnp.repeat(other, frames, 0) for other in others)


def params(module):
    return nnx.to_pure_dict(nnx.state(module))


@pytest.fixture(scope="module")
def new():
    """A network with all there is, as it is at initialisation."""
    config = dataclasses.replace(CONFIG, **EVERY_INPUT)
    return jax.jit(lambda: UNetPseudo3D(config, rngs=nnx.Rngs(0)))()


def grown(new, small):
    """`new`, with the parameters of `small`."""
    graph, state = nnx.split(new)
    return nnx.merge(graph, nnx.State(inherit(nnx.to_pure_dict(state), params(small))))


@pytest.fixture(scope="module")
def video():
    return network()


@pytest.fixture(scope="module")
def image(video):
    """The image network in `video`."""
    module = network(temporal=False)
    nnx.update(module, nnx.state(video, lambda path, _: not is_temporal(path)))
    return module


def test_a_new_video_network_is_the_image_network_of_each_frame(new, image):
    clip = inputs()
    expected = apply(image, *by_frame(*clip)).reshape(SHAPE)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(apply(image, *clip), expected, rtol=1e-4, atol=1e-5)
    video = grown(new, image)
    for fps in (8.0, 60.0):
        y = apply(video, *clip, None, LOW | {"fps": jnp.full(2, fps)})
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_one_frame_skips_whatever_is_temporal(video, image):
    picture = inputs((2, 1, 5, 6, 3))
    y = apply(video, *picture, None, {"fps": jnp.full(2, 60.0)})
    np.testing.assert_array_equal(y, apply(image, *picture))
    clip = inputs()
    assert np.abs(apply(video, *clip) - apply(image, *clip)).max() > 0.1


def test_every_frame_depends_on_every_other_of_its_clip(video):
    x, *others = inputs()
    y = apply(video, x, *others)
    for frame in range(3):
        change = np.abs(apply(video, x.at[0, frame, 2].add(1.0), *others) - y)
        assert (change[0].max((1, 2, 3)) > 1e-4).all()
        np.testing.assert_allclose(change[1], 0, atol=1e-5)


def gradients(module):
    x, *others = inputs()
    target = jnp.asarray(np.random.default_rng(2).normal(size=x.shape), jnp.float32)
    graph, state = nnx.split(module)
    loss = jax.jit(jax.grad(lambda s: jnp.square(nnx.merge(graph, s)(x, *others) - target).mean()))
    return nnx.to_pure_dict(loss(state))


def test_gradients_are_finite_and_reach_every_parameter(video):
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients(video)):
        assert np.isfinite(leaf).all(), path
        assert jnp.abs(leaf).max() > 0, path


def test_what_is_temporal_is_named_by_its_path(video, image):
    def names(module, keep=lambda path: True):
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params(module))]
        return {jax.tree_util.keystr(path) for path in paths if keep(path)}

    assert names(video, is_temporal) == names(video) - names(image)
    assert not names(image, is_temporal)


def test_parameters_that_do_not_fit_are_not_inherited(video, image):
    with pytest.raises(ValueError, match=r"the new network has no .*temporal"):
        inherit(params(image), params(video))
    with pytest.raises(ValueError, match=r"conv1.* has shape \(8,\), and the new network's \(16,\): match"):
        inherit(params(network(width=16)), params(video))


def test_known_latents_see_time_zero(video):
    x, t, text, mask = inputs()
    everywhere = jnp.ones((2, 3, 5, 6, 1), bool)
    np.testing.assert_allclose(
        apply(video, x, t, text, mask, everywhere), apply(video, x, 0 * t, text, mask), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        apply(video, x, t, text, mask, ~everywhere), apply(video, x, t, text, mask), rtol=1e-4, atol=1e-4
    )
    some = everywhere.at[:, 1:, :3].set(False)
    assert np.abs(apply(video, x, t, text, mask, some) - apply(video, x, t, text, mask)).max() > 1e-3


def test_a_cell_is_known_when_all_of_it_is():
    known = jnp.ones((1, 1, 3, 4, 1), bool).at[0, 0, 0, 1].set(False)
    np.testing.assert_array_equal(halve(known)[0, 0, ..., 0], [[False, True], [True, True]])


def test_additional_inputs_begin_as_none(new, video):
    clip = inputs()
    noised = LOW | {"noise_augmentation": jnp.asarray([0.0, 0.5])}
    expected = apply(video, *clip, KNOWN)
    np.testing.assert_allclose(apply(grown(new, video), *clip, KNOWN, noised), expected, rtol=1e-5, atol=1e-5)


def test_additional_inputs_are_read():
    clip, trained = inputs(), network(**EVERY_INPUT)
    clean = LOW | {"noise_augmentation": jnp.zeros(2)}
    noised = LOW | {"noise_augmentation": jnp.asarray([0.0, 0.5])}
    y = apply(trained, *clip, KNOWN, clean)
    for known, micro in ((~KNOWN, clean), (KNOWN, clean | {"low_resolution": -LOW["low_resolution"]})):
        assert np.abs(apply(trained, *clip, known, micro) - y).max() > 1e-2
    change = np.abs(apply(trained, *clip, KNOWN, noised) - y)
    np.testing.assert_allclose(change[0], 0, atol=1e-5)
    assert change[1].max() > 1e-3
    without = apply(trained, *clip, None, LOW)
    np.testing.assert_allclose(without, apply(trained, *clip, KNOWN & False, clean), rtol=1e-5, atol=1e-5)


def test_the_frame_rate_conditions_and_has_a_default(video):
    clip = inputs()
    y = apply(video, *clip)
    default = {"fps": jnp.full(2, CONFIG.default_fps)}
    np.testing.assert_allclose(apply(video, *clip, None, default), y, rtol=1e-5, atol=1e-6)
    assert np.abs(apply(video, *clip, None, {"fps": jnp.full(2, 30.0)}) - y).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "micro", "message"),
    [
        ({}, {"FPS": (2,)}, "micro has FPS; this network reads fps alone"),
        ({}, {"low_resolution": SHAPE}, "micro has low_resolution"),
        ({"low_resolution_channels": 3}, {"fps": (2,)}, "has shape None: resize it to"),
        ({"low_resolution_channels": 3}, {"low_resolution": (2, 3, 2, 3, 3)}, "resize it to .2, 3, 5, 6, 3"),
    ],
)
def test_conditions_that_are_not_read_or_lack_are_named(changes, micro, message):
    with pytest.raises(ValueError, match=message):
        network(**changes)(*inputs(), None, {name: jnp.zeros(shape) for name, shape in micro.items()})


def test_prediction_depends_on_time_and_text_but_not_on_padding(video):
    x, t, text, mask = inputs()
    y = apply(video, x, t, text, mask)
    for changed in (apply(video, x, t + 0.1, text, mask), apply(video, x, t, text + 1, mask)):
        assert np.abs(changed - y).max() > 1e-3
    padded = apply(video, x, t, jnp.where(mask[..., None], text, 9.0), mask)
    np.testing.assert_allclose(padded, y, rtol=1e-5, atol=1e-5)


def test_blocks_are_the_identity_at_initialisation(new):
    x, t, text, mask = inputs()
    assert not apply(new, x, t, text, mask, None, LOW).any()
    context = new._context(x, t, text, mask, None, {})
    features = jnp.asarray(RNG.normal(size=(2, 3, 3, 3, 16)), jnp.float32)
    block = new.middle[0]
    np.testing.assert_array_equal(apply(block, features, context), features)


def test_remat_changes_no_number():
    kept, recomputed = (gradients(network(**ONE_LEVEL, remat=remat)) for remat in ("none", "full"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), kept, recomputed)


def test_bfloat16_is_close_to_float32(video):
    clip = inputs()
    half = network(dtype="bfloat16")
    nnx.update(half, nnx.state(video))
    expected = apply(video, *clip)
    error = np.linalg.norm(apply(half, *clip) - expected) / np.linalg.norm(expected)
    assert 1e-5 < error < 0.1


@pytest.mark.parametrize(
    ("frames", "changes"), [(4, dict(known_channels=True, low_resolution_channels=16)), (1, {})]
)
def test_flops_agree_with_a_compile(frames, changes):
    """XLA counts elementwise work too, so the sizes here are such that products dominate."""
    sizes = dict(in_channels=16, width=128, depth=1, num_heads=4, text_width=128, channel_multipliers=(1, 2))
    config = UNetPseudo3DConfig(**sizes, attention_levels=(1,), **changes)
    graph, state = nnx.split(nnx.eval_shape(lambda: UNetPseudo3D(config, rngs=nnx.Rngs(0))))

    def float32(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    shape, known, micro = (1, frames, 7, 8, 16), None, {}
    if changes:
        known = jax.ShapeDtypeStruct((*shape[:-1], 1), bool)
        micro = {"low_resolution": float32(*shape), "noise_augmentation": float32(1), "fps": float32(1)}
    clip = float32(*shape), float32(1), float32(1, 32, 128), jax.ShapeDtypeStruct((1, 32), bool)
    forward = jax.jit(lambda p, *a: nnx.merge(graph, p)(*a))
    compiled = forward.lower(state, *clip, known, micro).compile().cost_analysis()["flops"]
    parts = unet_pseudo3d_flops(config, shape[1:], 32)
    assert set(parts) == {"convolution", "attention", "mlp", "text", "modulation"}
    assert sum(parts.values()) == pytest.approx(compiled, rel=0.01)
    assert sum(parts.values()) < compiled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(num_heads=3), "num_heads=3 does not cut width=8"),
        (dict(remat="some"), "remat='some' is not one of none, dots"),
        (dict(dtype="float16"), "dtype='float16' is not one of float32, bfloat16"),
        (dict(depth=0), "depth=0 must be at least 1"),
        (dict(time_features=7), "time_features=7 must be even"),
        (dict(channel_multipliers=()), r"channel_multipliers=\(\) must be one or more"),
        (dict(attention_levels=(2,)), r"attention_levels=\(2,\) must be among the 2 levels"),
        (dict(default_fps=0.0), "default_fps=0.0 must be positive"),
    ],
)
def test_wrong_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **change)


# --- the blocks against PyTorch ---


def context(frames):
    """What blocks of 8 channels read, with text."""
    half = 2
    angle = np.arange(frames)[:, None] * 100.0 ** (-np.arange(half) / half)
    rotation = tuple(jnp.asarray(turn(angle), jnp.float32) for turn in (np.cos, np.sin))
    _, _, text, mask = inputs()
    time = jnp.asarray(RNG.normal(size=(1, 2, 32)), jnp.float32)
    return Context(time, (), text, mask, rotation), angle


def to_torch(module):
    torch = pytest.importorskip("torch")
    return jax.tree.map(lambda a: torch.tensor(np.asarray(a)), params(module))


def torch_conv(x, space, time):
    """`B C t h w`, by PyTorch's own convolutions."""
    functional = pytest.importorskip("torch.nn.functional")
    b, c, t, h, w = x.shape
    y = x.transpose(1, 2).reshape(b * t, c, h, w)
    y = functional.conv2d(y, space["kernel"].permute(3, 2, 0, 1), space["bias"], padding=1)
    y = y.reshape(b, t, -1, h, w).permute(0, 3, 4, 2, 1).reshape(b * h * w, -1, t)
    y = functional.conv1d(y, time["kernel"].permute(2, 1, 0), time["bias"], padding=1)
    return y.reshape(b, h, w, -1, t).permute(0, 3, 4, 1, 2)


def torch_norm(x, p, groups):
    functional = pytest.importorskip("torch.nn.functional")
    b, c, t, h, w = x.shape
    y = functional.group_norm(x.transpose(1, 2).reshape(b * t, c, h, w), groups, p["gain"], p["bias"])
    return y.reshape(b, t, c, h, w).transpose(1, 2)


def test_the_residual_block_is_pytorchs(video):
    torch = pytest.importorskip("torch")
    block = video.down[1].blocks[0].residual  # 8 channels to 16
    p = to_torch(block)
    x = RNG.normal(size=(2, 3, 5, 6, 8)).astype(np.float32)
    ctx, _ = context(3)
    silu = torch.nn.functional.silu
    y = torch.tensor(x).permute(0, 4, 1, 2, 3)
    z = torch_conv(silu(torch_norm(y, p["norm1"], 2)), p["conv1"], p["temporal_conv1"])
    modulation = (
        silu(torch.tensor(np.asarray(ctx.time[0]))) @ p["modulation"]["kernel"] + p["modulation"]["bias"]
    )
    shift, scale = modulation[:, :, None, None, None].chunk(2, 1)
    z = silu(torch_norm(z, p["norm2"], 4) * (1 + scale) + shift)
    z = torch_conv(z, p["conv2"], p["temporal_conv2"])
    skip = torch.einsum("bcthw,cd->bdthw", y, p["skip"]["kernel"]) + p["skip"]["bias"][:, None, None, None]
    expected = (z + skip).permute(0, 2, 3, 4, 1)
    np.testing.assert_allclose(block(jnp.asarray(x), ctx), expected, rtol=1e-4, atol=1e-4)


def torch_attention(x, p, source=None, mask=None, angle=None, heads=4):
    torch = pytest.importorskip("torch")
    source = x if source is None else source

    def split(y, gain=None):
        y = y.reshape(*y.shape[:-1], heads, -1).transpose(-2, -3)
        return y if gain is None else torch.nn.functional.rms_norm(y, y.shape[-1:], gain, 1e-6)

    def turn(y):
        if angle is None:
            return y
        real, imaginary = y.double().chunk(2, -1)
        turned = torch.complex(real, imaginary) * torch.exp(1j * torch.tensor(angle))
        return torch.cat([turned.real, turned.imag], -1).float()

    q = turn(split(x @ p["query"]["kernel"], p["query_gain"]))
    k = turn(split(source @ p["key"]["kernel"], p["key_gain"]))
    mask = None if mask is None else mask[:, None, None]
    y = torch.nn.functional.scaled_dot_product_attention(q, k, split(source @ p["value"]["kernel"]), mask)
    return y.transpose(-2, -3).reshape(x.shape) @ p["out"]["kernel"] + p["out"]["bias"]


def test_the_attention_block_is_pytorchs(video):
    torch = pytest.importorskip("torch")
    block = video.middle[0].attention
    p = to_torch(block)
    x = RNG.normal(size=(2, 3, 2, 4, 16)).astype(np.float32)
    ctx, angle = context(3)
    text, mask = (torch.tensor(np.asarray(a)) for a in (ctx.text, ctx.text_mask))
    norm = torch.nn.functional.layer_norm
    y = torch.tensor(x)
    within = torch_norm(y.permute(0, 4, 1, 2, 3), p["norm"], 4).permute(0, 2, 3, 4, 1).reshape(6, 8, 16)
    y = y + torch_attention(within, p["spatial_attention"]).reshape(y.shape)
    across = norm(y, (16,), eps=1e-6).permute(0, 2, 3, 1, 4).reshape(16, 3, 16)
    z = torch_attention(across, p["temporal_attention"], angle=angle)
    y = y + z.reshape(2, 2, 4, 3, 16).permute(0, 3, 1, 2, 4)
    z = norm(y, (16,), eps=1e-6).reshape(2, 24, 16)
    y = y + torch_attention(z, p["text_attention"], text, mask).reshape(y.shape)
    z = norm(y, (16,), eps=1e-6) @ p["mlp_up"]["kernel"] + p["mlp_up"]["bias"]
    z = torch.nn.functional.gelu(z, approximate="tanh") @ p["mlp_down"]["kernel"] + p["mlp_down"]["bias"]
    np.testing.assert_allclose(block(jnp.asarray(x), ctx), y + z, rtol=1e-4, atol=1e-4)
