# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Causal layers given a video in chunks, and convolutions whose windows lie apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.layers.causal_conv import (
    CausalConv3d,
    StridedConv3d,
    depth_to_space_time,
    space_time_to_depth,
    stream_through,
)
from tests.randomise import randomise

LAYOUT = ("NDHWC", "DHWIO", "NDHWC")


def video(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def conv(kernel_size, before):
    make = lambda: CausalConv3d(4, 4, kernel_size, rngs=nnx.Rngs(0), before=before)  # noqa: E731
    return randomise(make)


def strided(kernel_size, stride, features=4):
    return randomise(lambda: StridedConv3d(features, kernel_size, stride, rngs=nnx.Rngs(0)))


def test_before_a_video_there_may_be_nothing():
    layer, x = conv((3, 3, 3), "zero"), video(2, 4, 5, 3, 4)
    expected = jax.lax.conv_general_dilated(
        x, layer.kernel[...], (1, 1, 1), [(2, 0), (1, 1), (1, 1)], dimension_numbers=LAYOUT
    )
    np.testing.assert_allclose(layer(x), expected + layer.bias[...], atol=2e-5)


@pytest.mark.parametrize("before", ["still", "zero"])
def test_chunks_are_convolved_as_the_whole(before):
    layers, x = [conv((3, 1, 1), before), conv((2, 3, 3), before)], video(1, 6, 3, 3, 4)
    whole, _ = stream_through(layers, x, None)
    cache, parts = None, []
    for chunk in jnp.split(x, [1, 2, 4], axis=1):
        part, cache = stream_through(layers, chunk, cache)
        parts.append(part)
        assert [history.shape[1] for history in cache] == [2, 1]
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-5)


def test_a_chunk_without_frames_changes_nothing():
    layer, x = conv((3, 1, 1), "zero"), video(1, 2, 3, 3, 4)
    y, cache = layer.stream(x[:, :0], None)
    assert y.shape == (1, 0, 3, 3, 4)
    np.testing.assert_allclose(layer.stream(x, cache)[0], layer(x), atol=1e-6)


@pytest.mark.parametrize(
    ("kernel_size", "stride"), [((1, 3, 3), (1, 2)), ((3, 1, 1), (2, 1)), ((1, 1, 1), (1, 2))]
)
def test_windows_apart(kernel_size, stride):
    layer, x = strided(kernel_size, stride), video(2, 7, 4, 6, 4)
    border = [(0, 0), *[(0, max(size - stride[1], 0)) for size in kernel_size[1:]]]
    expected = jax.lax.conv_general_dilated(
        x, layer.kernel[...], (stride[0], stride[1], stride[1]), border, dimension_numbers=LAYOUT
    )
    assert expected.shape == (2, (7 - kernel_size[0]) // stride[0] + 1, 4 // stride[1], 6 // stride[1], 4)
    np.testing.assert_allclose(layer(x), expected + layer.bias[...], atol=2e-5)


@pytest.mark.parametrize(("kernel_size", "stride"), [((1, 3, 3), (1, 2)), ((3, 1, 1), (2, 1))])
def test_flops_of_windows_apart_are_those_inside(kernel_size, stride):
    layer = strided(kernel_size, stride, 1)
    layer.kernel[...] = jnp.ones_like(layer.kernel[...])
    layer.bias[...] = jnp.zeros_like(layer.bias[...])
    y = layer(jnp.ones((1, 7, 4, 6, 1)))  # every product inside adds one
    assert layer.flops(y.shape[1:4]) == 2 * y.sum()
    assert strided(kernel_size, stride, 3).flops(y.shape[1:4]) == 18 * y.sum()


def test_later_chunks_fold_and_unfold_as_the_whole():
    x = video(1, 9, 2, 2, 3)
    whole = space_time_to_depth(x, (2, 1))
    parts = [space_time_to_depth(x[:, :3], (2, 1)), space_time_to_depth(x[:, 3:], (2, 1), begins=False)]
    np.testing.assert_array_equal(jnp.concatenate(parts, 1), whole)
    back = depth_to_space_time(parts[1], (2, 1), begins=False)
    np.testing.assert_array_equal(back, x[:, 3:])
    with pytest.raises(ValueError, match="T=5 frames: T must be a multiple of 2"):
        space_time_to_depth(x[:, :5], (2, 1), begins=False)
