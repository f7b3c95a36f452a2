# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The network of `backbone.dit` in PyTorch, as one writes it there: what a training step is measured against."""

import math

import torch
from torch import nn
from torch.nn import functional

from dit_jax.bench.sizes import PATCH, TIME_FEATURES, Size


class Attention(nn.Module):
    """To the tokens themselves, turned by their positions, or to a text."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, head_dim = heads, width // heads
        self.query, self.key_value, self.out = (nn.Linear(width, n * width) for n in (1, 2, 1))
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(head_dim)) for _ in range(2))

    def forward(self, x, context, rotation=None):
        batch, tokens, width = x.shape
        split = lambda y: y.view(batch, -1, self.heads, width // self.heads).transpose(1, 2)  # noqa: E731
        q, (k, v) = split(self.query(x)), map(split, self.key_value(context).chunk(2, -1))
        q, k = (functional.rms_norm(a, a.shape[-1:], gain, 1e-6) for a, gain in zip((q, k), self.gains))
        if rotation is not None:
            q, k = _turned(q, *rotation), _turned(k, *rotation)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(batch, tokens, width))


def _turned(x, cos, sin):
    real, imaginary = x.chunk(2, -1)
    return x * cos + torch.cat([-imaginary, real], -1) * sin


def _modulated(x, shift, scale):
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Block(nn.Module):
    """Self-attention, cross-attention and perceptron under adaLN-Zero."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.modulation = nn.Linear(width, 6 * width)
        self.attention, self.text = Attention(width, heads), Attention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, time, text, rotation):
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.modulation(time)[:, None].chunk(6, -1)
        y = _modulated(x, shift, scale)
        x = x + gate * self.attention(y, y, rotation)
        x = x + self.text(functional.layer_norm(x, x.shape[-1:], eps=1e-6), text)
        y = functional.gelu(self.up(_modulated(x, shift_mlp, scale_mlp)), approximate="tanh")
        return x + gate_mlp * self.down(y)


class TorchDiT(nn.Module):
    """Latents `B t h w c` to latents."""

    def __init__(self, size: Size):
        super().__init__()
        width, features = size.width, math.prod(PATCH) * size.channels
        self.size = size
        self.embed, self.head = nn.Linear(features, width), nn.Linear(width, features)
        self.time = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, size.heads) for _ in range(size.depth))
        self.head_modulation = nn.Linear(width, 2 * width)
        angle = torch.rand(math.prod(size.grid), width // size.heads // 2)
        self.register_buffer("cos", angle.cos().repeat(1, 2))
        self.register_buffer("sin", angle.sin().repeat(1, 2))

    def forward(self, x, t, text):
        frames, rows, columns = self.size.grid
        y = (
            x.view(len(x), frames, rows, 2, columns, 2, -1)
            .transpose(3, 4)
            .reshape(len(x), -1, x.shape[-1] * 4)
        )
        frequency = torch.exp(
            -math.log(1e4) * torch.arange(TIME_FEATURES // 2, device=x.device) / TIME_FEATURES * 2
        )
        angle = 1000 * t[:, None] * frequency
        time = functional.silu(self.time(torch.cat([angle.cos(), angle.sin()], -1)))
        y = self.embed(y)
        for block in self.blocks:
            y = block(y, time, text, (self.cos, self.sin))
        y = self.head(_modulated(y, *self.head_modulation(time)[:, None].chunk(2, -1)))
        return y.view(len(x), frames, rows, columns, 2, 2, -1).transpose(3, 4).reshape(x.shape)
