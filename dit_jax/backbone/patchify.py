# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Latents to patches and back, and where the patches lie."""

import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Shaped

Patch = tuple[int, int, int]  # latent frames, rows and columns of a patch


def token_grid(latent_shape: tuple[int, ...], patch: Patch) -> tuple[int, int, int]:
    """Patches along time, height and width of latents `(..., t, h, w, c)`.

    Raises:
      ValueError: the patch does not divide the latents.
    """
    size = tuple(latent_shape[-4:-1])
    if any(s % p for s, p in zip(size, patch, strict=True)):
        raise ValueError(
            f"patch={tuple(patch)} does not divide the latents' (t, h, w)={size}: "
            "choose a patch that does, or another clip size"
        )
    return tuple(s // p for s, p in zip(size, patch, strict=True))


def patchify(latents: Shaped[Array, "B t h w c"], patch: Patch) -> Shaped[Array, "B N D"]:
    """`B t h w c` to `B N D` with `D = c * patch volume`, ordered by time, row, column."""
    token_grid(latents.shape, patch)
    pt, ph, pw = patch
    pattern = "b (t pt) (h ph) (w pw) c -> b (t h w) (pt ph pw c)"
    return rearrange(latents, pattern, pt=pt, ph=ph, pw=pw)


def unpatchify(
    tokens: Shaped[Array, "B N D"], patch: Patch, grid: tuple[int, int, int]
) -> Shaped[Array, "B t h w c"]:
    """The inverse of `patchify` for a token `grid`."""
    (t, h, w), (pt, ph, pw) = grid, patch
    pattern = "b (t h w) (pt ph pw c) -> b (t pt) (h ph) (w pw) c"
    return rearrange(tokens, pattern, t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)


def grid_positions(grid: tuple[int, int, int]) -> Float[Array, "N 3"]:
    """Time, row and column of each token, in cells."""
    axes = jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in grid), indexing="ij")
    return jnp.stack(axes, -1).reshape(-1, 3)
