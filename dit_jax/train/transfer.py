# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Hyperparameters that hold at every width and depth: the maximal update parametrisation.

Yang et al. 2022, "Tensor Programs V", arXiv 2203.03466, table 3, for the width; Yang et al. 2023, "Tensor
Programs VI", arXiv 2310.02244, table 1 (Depth-muP), for the depth. What is tuned on a small model, the base,
is then right for a large one.

No model knows of it. What a parameter is follows from its shape in larger models, and under Adam a factor m
in the forward pass is the same as m in the initial value and m in the learning rate (the former, appendix
J.2.1). So the factor `sqrt(base_depth / depth)` of the residual branches lies in the initial value and the
rate of their last layers, and the output's `base_width / width` in those of its kernel.

Asked of a model is no more than this: kernels are named so, end in the axes (in, out), and are drawn with a
variance that falls with the fan-in, or are zero; the last layer of a residual branch is named in
`LAST_LAYERS`, and what every block uses but none owns in `SHARED`; heads grow in number, not in width (else
1 / head_dim would have to be attention's scale).
"""

import dataclasses
import math
from collections import defaultdict

import jax
from jaxtyping import PyTree

GROWTH = 3  # of the larger models
LAST_LAYERS = ("out", "down", "mlp_down", "conv2", "conv_out", "leave")
SHARED = ("shared_modulation",)
KINDS = {(True, True): "hidden", (True, False): "output", (False, True): "input", (False, False): "fixed"}

Path = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class ParameterScale:
    """What a parameter is, and what of it must differ from the base model's.

    Attributes:
      kind: `hidden` (a kernel whose input and output grow with the width), `output` (its input alone grows),
        `input` (its output alone), `fixed` (neither), or `vector`: a bias, a gain, a table of embeddings.
      width: the base's fan-in over this model's.
      depth: `sqrt(base_depth / depth)` in a residual block, 1 elsewhere.
      num_axes: of its array.
      num_stacked: of these, the leading ones along which blocks are stacked.
      is_last: whether it is of the last layer of a residual branch.
      is_trained: whether the optimizer moves it.
    """

    kind: str
    width: float = 1.0
    depth: float = 1.0
    num_axes: int = 1
    num_stacked: int = 0
    is_last: bool = False
    is_trained: bool = True

    @property
    def init(self) -> float:
        """Factor of the initial value."""
        return (math.sqrt(self.width) if self.kind == "output" else 1.0) * (self.depth if self.is_last else 1)

    @property
    def lr(self) -> float:
        """Factor of the learning rate where every entry's update is of one size, as Adam's are."""
        return self.width * self._lr_of_depth

    @property
    def lr_orthogonal(self) -> float:
        """Factor of the learning rate where the update is besides an orthogonal matrix, as Muon's is.

        Its spectral norm grows with the root of the width, where that of Adam's, which are of low rank, grows
        with the width; the norm should stay (Yang, Simon and Bernstein 2023, arXiv 2310.17813, condition 1).
        """
        return math.sqrt(self.width) * self._lr_of_depth

    @property
    def _lr_of_depth(self) -> float:
        return self.depth**2 if self.is_last else self.depth


def parameter_scales(
    shapes: PyTree, wider: PyTree, deeper: PyTree, *, width_ratio: float = 1.0, depth_ratio: float = 1.0
) -> PyTree:
    """A `ParameterScale` for every parameter.

    Args:
      shapes: of the model's parameters.
      wider: those of the model `GROWTH` times as wide, its heads as wide or as many.
      deeper: those of the model `GROWTH` times as deep.
      width_ratio: width of the base model over this one's.
      depth_ratio: depth of the base model over this one's.
    """
    of_wider, of_deeper = _by_path(wider), _by_path(deeper)
    lists = _grown_lists(_by_path(shapes), of_deeper)

    def scale(path: tuple, leaf: jax.ShapeDtypeStruct) -> ParameterScale:
        names = _names(path)
        num_stacked = _num_stacked(leaf, of_deeper.get(names))
        listed = any(names[:i] in lists for i in range(len(names)))
        in_block = num_stacked > 0 or listed or any(name in SHARED for name in names)
        place = dict(
            depth=math.sqrt(depth_ratio) if in_block else 1.0,
            num_axes=leaf.ndim,
            num_stacked=num_stacked,
            is_last=in_block and any(name in LAST_LAYERS for name in _within(names)),
        )
        if names[-1] != "kernel":
            return ParameterScale("vector", **place)
        grown = [large / small for large, small in zip(of_wider[names].shape, leaf.shape, strict=True)]
        # Fan-in is affine in the width, so that two widths tell of all.
        width = 1 + (grown[-2] - 1) / (GROWTH - 1) * (width_ratio - 1)
        return ParameterScale(KINDS[grown[-2] > 1, grown[-1] > 1], width, **place)

    return jax.tree_util.tree_map_with_path(scale, shapes)


def _num_stacked(leaf: jax.ShapeDtypeStruct, deeper: jax.ShapeDtypeStruct | None) -> int:
    """Leading axes that grow as the depth does, and the others not at all."""
    if deeper is None or deeper.ndim != leaf.ndim:
        return 0
    ratios = [large / small for large, small in zip(deeper.shape, leaf.shape)]
    count = sum(ratio == GROWTH for ratio in ratios)
    return count if ratios == [GROWTH] * count + [1] * (leaf.ndim - count) else 0


def _within(names: Path) -> Path:
    """The part of a path after its last place in a list: names within a block."""
    last = max((i for i, name in enumerate(names) if isinstance(name, int)), default=-1)
    return names[last + 1 :]


def _names(path: tuple) -> Path:
    return tuple(key.key for key in path)


def _by_path(tree: PyTree) -> dict[Path, jax.ShapeDtypeStruct]:
    return {_names(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _grown_lists(small: dict[Path, object], large: dict[Path, object]) -> set[Path]:
    """Paths of the lists that have more elements in the larger model."""
    ours, theirs = (_lengths(paths) for paths in (small, large))
    return {path for path in ours if theirs[path] > ours[path]}


def _lengths(paths: dict[Path, object]) -> dict[Path, int]:
    found = defaultdict(set)
    for path in paths:
        for i, name in enumerate(path):
            if isinstance(name, int):
                found[path[:i]].add(name)
    return {path: len(elements) for path, elements in found.items()}
