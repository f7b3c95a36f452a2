# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.layers.causal_conv import CausalConv3d, depth_to_space_time, space_time_to_depth
from tests.randomise import randomise

KERNELS = [(1, 1, 1), (1, 3, 3), (3, 1, 1), (3, 3, 3), (2, 5, 1)]


def video(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def conv(kernel_size, in_features=4, out_features=5):
    return randomise(lambda: CausalConv3d(in_features, out_features, kernel_size, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("kernel_size", KERNELS)
def test_it_is_a_3d_convolution_of_a_video_that_stood_still(kernel_size):
    layer, x = conv(kernel_size), video(2, 5, 6, 4, 4)
    still = np.pad(x, ((0, 0), (kernel_size[0] - 1, 0), (0, 0), (0, 0), (0, 0)), mode="edge")
    half = [(size // 2, size // 2) for size in kernel_size[1:]]
    layout = ("NDHWC", "DHWIO", "NDHWC")
    expected = jax.lax.conv_general_dilated(
        still, layer.kernel[...], (1, 1, 1), [(0, 0), *half], dimension_numbers=layout
    )
    np.testing.assert_allclose(jax.jit(layer)(x), expected + layer.bias[...], atol=2e-5)


@pytest.mark.parametrize("kernel_size", [(3, 3, 3), (2, 1, 1)])
def test_a_frame_sees_itself_and_the_frames_before_it(kernel_size):
    layer, x = conv(kernel_size), video(1, 6, 3, 3, 4)
    seen = jax.jit(jax.jacrev(lambda x: layer(x).sum((0, 2, 3, 4))))(x)  # output frame, then the axes of x
    seen = np.asarray(jnp.abs(seen).sum((1, 3, 4, 5))) > 0
    late, early = np.meshgrid(np.arange(6), np.arange(6), indexing="ij")
    np.testing.assert_array_equal(seen, (early <= late) & (late - early < kernel_size[0]))


def test_it_computes_in_the_dtype_of_its_input():
    layer, x = conv((3, 3, 3)), video(1, 3, 4, 4, 4)
    half = jax.jit(layer)(x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), layer(x), atol=0.2)


def test_scale_sets_the_variance_of_what_comes_out():
    x = video(1, 9, 16, 16, 32)
    for scale in (0.0, 1.0, 4.0):
        layer = CausalConv3d(32, 64, (1, 1, 1), rngs=nnx.Rngs(0), scale=scale)
        assert np.var(layer(x)) == pytest.approx(scale, rel=0.1)


@pytest.mark.parametrize("kernel_size", KERNELS)
def test_flops_are_those_of_the_products_that_are_not_with_the_border(kernel_size):
    frames, height, width = 5, 6, 4
    layer = conv(kernel_size, 1, 1)
    layer.kernel[...] = jnp.ones_like(layer.kernel[...])
    layer.bias[...] = jnp.zeros_like(layer.bias[...])
    products = jax.jit(layer)(jnp.ones((1, frames, height, width, 1))).sum()  # every product inside adds one
    assert layer.flops((frames, height, width)) == 2 * products
    assert conv(kernel_size, 3, 7).flops((frames, height, width)) == 2 * 21 * products


@pytest.mark.parametrize("kernel_size", [(3, 2, 3), (1, 3, 4), (0, 1, 1)])
def test_a_kernel_without_a_centre_is_refused(kernel_size):
    with pytest.raises(ValueError, match=r"kernel_size \(.*\) must be positive with odd height and width"):
        conv(kernel_size)


@pytest.mark.parametrize("stride", [(1, 1), (1, 4), (2, 2), (4, 1), (8, 2)])
def test_folding_comes_back(stride):
    x = video(2, 9, 4, 8, 3)
    folded = space_time_to_depth(x, stride)
    r, s = stride
    assert folded.shape == (2, 1 + 8 // r, 4 // s, 8 // s, r * s * s * 3)
    np.testing.assert_array_equal(depth_to_space_time(folded, stride), x)


def test_the_first_group_is_the_first_frame_alone():
    x = jnp.arange(5, dtype=jnp.float32).reshape(1, 5, 1, 1, 1)
    np.testing.assert_array_equal(space_time_to_depth(x, (2, 1))[0, :, 0, 0], [[0, 0], [1, 2], [3, 4]])


def test_two_foldings_group_frames_as_one():
    x = jnp.arange(9, dtype=jnp.float32).reshape(1, 9, 1, 1, 1)
    twice = space_time_to_depth(space_time_to_depth(x, (2, 1)), (2, 1))
    np.testing.assert_array_equal(twice, space_time_to_depth(x, (4, 1)))


@pytest.mark.parametrize(
    ("stride", "message"),
    [((3, 1), "T=9 .* multiple of 3"), ((1, 3), "H=4 .* multiple of 3"), ((2, 4), "W=6 .* multiple of 4")],
)
def test_sizes_that_do_not_divide_are_named(stride, message):
    with pytest.raises(ValueError, match=message):
        space_time_to_depth(video(1, 9, 4, 6, 3), stride)
