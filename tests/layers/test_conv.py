# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.layers.conv import Conv2d, GroupNorm, TemporalConv, taps_inside, upsample
from tests.randomise import randomise

LAYOUT = ("NDHWC", "DHWIO", "NDHWC")


def clip(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def conv3d(x, kernel, stride=1):
    """The same convolution as XLA does it in three dimensions."""
    border = [(size // 2,) * 2 for size in kernel.shape[:3]]
    return jax.lax.conv_general_dilated(x, kernel, (1, stride, stride), border, dimension_numbers=LAYOUT)


@pytest.mark.parametrize(("kernel_size", "stride", "shape"), [(3, 1, (4, 6)), (3, 2, (5, 6)), (5, 1, (3, 2))])
def test_frames_are_convolved_one_by_one(kernel_size, stride, shape):
    layer = randomise(lambda: Conv2d(4, 6, kernel_size, rngs=nnx.Rngs(0), stride=stride))
    x = clip(2, 3, *shape, 4)
    expected = conv3d(x, layer.kernel[...][None], stride) + layer.bias[...]
    assert expected.shape[2:4] == tuple(-(-size // stride) for size in shape)
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)


@pytest.mark.parametrize(("kernel_size", "frames"), [(3, 5), (3, 1), (5, 2)])
def test_pixels_are_convolved_over_time(kernel_size, frames):
    layer = randomise(lambda: TemporalConv(4, 6, kernel_size, rngs=nnx.Rngs(0)))
    x = clip(2, frames, 2, 3, 4)
    expected = conv3d(x, layer.kernel[...][:, None, None]) + layer.bias[...]
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)


def test_initialisation():
    x = clip(1, 9, 12, 12, 32)
    for make in (Conv2d, TemporalConv):
        for scale in (0.0, 1.0, 4.0):
            layer = make(32, 64, rngs=nnx.Rngs(0), scale=scale)
            assert np.var(layer(x)[:, 1:-1, 1:-1, 1:-1]) == pytest.approx(scale, rel=0.15)
    np.testing.assert_array_equal(TemporalConv(32, 32, rngs=nnx.Rngs(0), identity=True)(x), x)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_taps_inside_are_the_products_with_ones(kernel_size, stride, length):
    line, kernel = jnp.ones((1, 1, 1, length, 1)), jnp.ones((1, 1, kernel_size, 1, 1))
    border = [(0, 0), (0, 0), (kernel_size // 2,) * 2]
    y = jax.lax.conv_general_dilated(line, kernel, (1, 1, stride), border, dimension_numbers=LAYOUT)
    assert taps_inside(kernel_size, length, stride) == y.sum()


@pytest.mark.parametrize("layer", [Conv2d(32, 48, rngs=nnx.Rngs(0)), TemporalConv(32, 48, rngs=nnx.Rngs(0))])
def test_flops_are_those_that_xla_counts(layer):
    counted = jax.jit(layer.__call__).lower(clip(1, 4, 6, 5, 32)).compile().cost_analysis()["flops"]
    assert layer.flops((4, 6, 5)) <= counted <= 1.02 * layer.flops((4, 6, 5))


@pytest.mark.parametrize(("axes", "num_groups"), [(0, 1), (2, 4), (3, 2)])
def test_groups_have_zero_mean_and_unit_variance(axes, num_groups):
    layer = GroupNorm(8, num_groups, axes=axes)
    x = 3 + 2 * clip(2, 3, 4, 5, 8)
    groups = np.asarray(layer(x)).reshape(2, 3, 4, 5, num_groups, -1)
    over = (*range(4 - axes, 4), 5)
    np.testing.assert_allclose(groups.mean(over), 0, atol=1e-5)
    np.testing.assert_allclose(groups.var(over), 1, atol=1e-3)
    drawn = randomise(lambda: layer)
    np.testing.assert_allclose(drawn(x), layer(x) * drawn.gain[...] + drawn.bias[...], atol=1e-5)


def test_statistics_are_in_float32():
    x = 100 + clip(1, 1, 8, 8, 8)
    half = GroupNorm(8, 2)(x.astype(jnp.bfloat16))
    expected = GroupNorm(8, 2)(x.astype(jnp.bfloat16).astype(jnp.float32))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), expected, rtol=1e-2)


def test_upsampling_undoes_halving():
    x = jnp.arange(6, dtype=jnp.float32).reshape(1, 1, 2, 3, 1)
    y = upsample(x, (3, 6))[0, 0, :, :, 0]
    np.testing.assert_array_equal(y, [[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5]])


@pytest.mark.parametrize("make", [Conv2d, TemporalConv])
def test_they_compute_in_their_dtype(make):
    layer = make(4, 4, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
    assert layer(clip(1, 2, 4, 4, 4)).dtype == jnp.bfloat16
    assert layer.kernel.dtype == jnp.float32


def test_wrong_sizes_are_refused():
    for make in (Conv2d, TemporalConv):
        with pytest.raises(ValueError, match="kernel_size=2 has no centre: use an odd one"):
            make(4, 4, 2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="identity needs 4 channels out, not 6"):
        TemporalConv(4, 6, rngs=nnx.Rngs(0), identity=True)
    with pytest.raises(ValueError, match="num_groups=32 does not divide channels=48"):
        GroupNorm(48)
