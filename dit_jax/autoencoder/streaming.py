# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Video too long or too large for one pass: chunks of time, which are exact, and tiles of space, which blend."""

import abc
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dit_jax.arrays import Latents, Video
from dit_jax.autoencoder.tiling import Chunk, Tiling, step_tiles
from dit_jax.layers.causal_conv import Cache

Shape = tuple[int, int, int]
VideoChunk = Float[Array, "B _ H W C"]
LatentsChunk = Float[Array, "B _ h w c"]


def latent_shape(shape: Shape, temporal_compression: int, spatial_compression: int) -> Shape:
    """(t, h, w) of the latents of a (T, H, W) video whose first frame stands alone.

    Raises:
      ValueError: where T is not 1 + a multiple of `temporal_compression`, or H or W not a multiple of
        `spatial_compression`.
    """
    frames, height, width = shape
    if (frames - 1) % temporal_compression:
        raise ValueError(
            f"T={frames} frames: T must be 1 + a multiple of temporal_compression={temporal_compression}"
        )
    for name, size in (("H", height), ("W", width)):
        if size % spatial_compression:
            raise ValueError(f"{name}={size} must be a multiple of spatial_compression={spatial_compression}")
    return (
        1 + (frames - 1) // temporal_compression,
        height // spatial_compression,
        width // spatial_compression,
    )


@runtime_checkable
class Sizes(Protocol):
    """What is asked of the config of a `CausalAutoencoder`."""

    @property
    def temporal_compression(self) -> int: ...

    @property
    def spatial_compression(self) -> int: ...

    def latent_shape(self, shape: Shape) -> Shape: ...


class CausalAutoencoder(nnx.Module):
    """An autoencoder of video that never looks into the future; an image is a video of one frame.

    Latent frame k depends on the frames up to `k * temporal_compression` and no later ones; a decoded frame
    depends on the latents of its own group and earlier ones. Latents are raw: `LatentStats` normalises them.

    A subclass gives `config`, `encode_chunk` and `decode_chunk`; all the rest follows from them.
    """

    config: Sizes

    @abc.abstractmethod
    def encode_chunk(self, video: Video, cache: Cache | None = None) -> tuple[Latents, Cache]:
        """Encodes the next frames of a video.

        Args:
          video: `B T H W C` in [-1, 1]; T is a multiple of `temporal_compression`, and 1 more at the beginning.
          cache: what the chunk before returned; None begins a video.

        Returns:
          The latents of the chunk `B t h w c`, and the cache for the next one, of a size that never grows.
        """

    @abc.abstractmethod
    def decode_chunk(self, latents: Latents, cache: Cache | None = None) -> tuple[Video, Cache]:
        """Decodes the next latents `B t h w c`, of any t; the inverse of `encode_chunk`."""

    def encode(self, video: Video) -> Latents:
        """Video `B T H W C` in [-1, 1] to raw latents `B t h w c`.

        Raises:
          ValueError: where T, H or W do not divide (see `latent_shape`).
        """
        self.config.latent_shape(video.shape[1:4])
        return self.encode_chunk(video)[0]

    def decode(self, latents: Latents) -> Video:
        """Raw latents `B t h w c` to video `B T H W C`."""
        return self.decode_chunk(latents)[0]

    def __call__(self, video: Video) -> Video:
        """Reconstructs `video`."""
        return self.decode(self.encode(video))

    def encode_stream(
        self, chunks: Iterable[VideoChunk], tiling: Tiling | None = None
    ) -> Iterator[LatentsChunk]:
        """The latents of a video that comes in `chunks`, in memory that does not grow with its length.

        Equal to `encode` of the whole (with `tiling`, to `encode_tiled`). Every length of chunk compiles once.

        Args:
          chunks: `B T H W C` of any T; frames that do not yet make a group wait for the next chunk.
          tiling: cuts the picture as well. The caches of all tiles are held; `encode_tiled` holds that of one.

        Raises:
          ValueError: where H or W do not divide, or the frames of all chunks do not (see `latent_shape`).
        """
        chunks = _in_groups(chunks, self.config)
        return _run(type(self).encode_chunk, self, chunks, tiling, (self.config.spatial_compression, 1))

    def decode_stream(
        self, chunks: Iterable[LatentsChunk], tiling: Tiling | None = None
    ) -> Iterator[VideoChunk]:
        """The video whose latents come in `chunks` of any length; as `encode_stream`.

        Equal to `decode` of the whole (with `tiling`, to `decode_tiled`).
        """
        chunks = (chunk for chunk in chunks if chunk.shape[1])
        return _run(type(self).decode_chunk, self, chunks, tiling, (1, self.config.spatial_compression))

    def encode_tiled(self, video: Video, tiling: Tiling) -> Latents:
        """`encode`, one tile at a time and within it one group of frames: only the result is held whole.

        Neighbours fade into each other linearly. Where every tile that covers a cell reaches beyond what the
        cell depends on, the result is that of `encode`. Elsewhere, and everywhere if a layer sees the whole
        frame, as attention does, it is close, and the closer the larger tile and overlap are.

        Raises:
          ValueError: where T, H, W, or the tiling do not divide.
        """
        self.config.latent_shape(video.shape[1:4])
        step = functools.partial(
            _through_time, type(self).encode_chunk, self, self.config.temporal_compression
        )
        return step_tiles(step, video, {}, tiling, (self.config.spatial_compression, 1))

    def decode_tiled(self, latents: Latents, tiling: Tiling) -> Video:
        """`decode`, one tile at a time; as `encode_tiled`."""
        step = functools.partial(_through_time, type(self).decode_chunk, self, 1)
        return step_tiles(step, latents, {}, tiling, (1, self.config.spatial_compression))


Step = Callable[[CausalAutoencoder, Chunk, Cache | None], tuple[Chunk, Cache]]
_compiled = jax.jit(lambda step, model, x, cache: step(model, x, cache), static_argnums=0)


def _in_groups(chunks: Iterable[VideoChunk], config: Sizes) -> Iterator[VideoChunk]:
    """Cuts a stream anew so that every chunk ends where a group of frames does."""
    held, begins = None, True
    for chunk in chunks:
        config.latent_shape((1, *chunk.shape[2:4]))
        held = chunk if held is None else jnp.concatenate([held, chunk], axis=1)
        ready = held.shape[1] - (held.shape[1] - begins) % config.temporal_compression
        if ready > 0:
            yield held[:, :ready]
            held, begins = held[:, ready:], False
    if held is not None and held.shape[1]:
        raise ValueError(
            f"the video ended {held.shape[1]} frames into a group: its length must be "
            f"1 + a multiple of temporal_compression={config.temporal_compression}"
        )


def _run(
    step: Step,
    model: CausalAutoencoder,
    chunks: Iterable[Chunk],
    tiling: Tiling | None,
    scales: tuple[int, int],
) -> Iterator[Chunk]:
    """Chunks through `step` with its cache; for `scales` see `step_tiles`."""
    cache, caches = None, {}
    for chunk in chunks:
        if tiling is None:
            out, cache = _compiled(step, model, chunk, cache)
        else:
            out = step_tiles(functools.partial(_compiled, step, model), chunk, caches, tiling, scales)
        yield out


def _through_time(step: Step, model: CausalAutoencoder, group: int, x: Chunk, _: None) -> tuple[Chunk, Cache]:
    """All of a tile at once, the first frame and then group after group; nothing is left to remember."""
    chunks = jnp.split(x, list(range(1, x.shape[1], group)), axis=1)
    return jnp.concatenate(list(_run(step, model, chunks, None, (1, 1))), axis=1), ()
