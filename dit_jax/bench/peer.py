# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A peer in a process of its own, that makes the steps of a turn for every line it is sent.

python -m dit_jax.bench.peer \
    '{"peer": "torch", "compiled": true, "work": "train", "threads": 2, "steps": 10, "size": {...}}'

prints a line of JSON when it is ready and one with the `seconds` of a step after each turn; what fails is its
`error`.
"""

import json
import sys
import time
from collections.abc import Callable

from dit_jax.bench.sizes import AUTOENCODER_WIDTH, TEXT_TOKENS, TIME_FEATURES, Size

WARM_UP = 2
MATMUL = 1024  # side of the square product whose speed is the machine's peak


def network(peer: str, size: Size) -> tuple[Callable, tuple]:
    """A module `(x, t, text) -> prediction` of these shapes, and the shape of a clip as it wants it."""
    from dit_jax.bench.torch_dit import TorchDiT

    if peer == "torch":
        return TorchDiT(size), size.latent_shape
    frames, rows, columns, channels = size.latent_shape
    head_dim = size.width // size.heads
    common = dict(num_attention_heads=size.heads, attention_head_dim=head_dim, in_channels=channels)
    import diffusers

    if peer == "wan":
        module = diffusers.WanTransformer3DModel(
            **common,
            out_channels=channels,
            text_dim=size.width,
            freq_dim=TIME_FEATURES,
            ffn_dim=4 * size.width,
            num_layers=size.depth,
            qk_norm="rms_norm_across_heads",
            cross_attn_norm=True,
        )
    else:
        module = diffusers.LatteTransformer3DModel(
            **common,
            out_channels=channels,
            num_layers=size.depth // 2,  # of each kind: spatial and temporal
            cross_attention_dim=size.width,
            caption_channels=size.width,
            attention_bias=True,
            sample_size=rows,
            patch_size=2,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            video_length=frames,
        )
    return Diffusers(module), (channels, frames, rows, columns)


class Diffusers:
    """The call of a diffusers class, as the others'."""

    def __init__(self, module):
        self.module = module

    def __call__(self, x, t, text):
        return self.module(x, (1000 * t).long(), text, return_dict=False)[0]


def step_of(peer: str, compiled: bool, work: str, size: Size, device: str) -> Callable[[], None]:
    """What `dit_jax.bench.works` does under the same name, by a peer."""
    import torch

    torch.manual_seed(0)
    if work in OTHERS:
        return OTHERS[work](size, compiled, device)
    call, shape = network(peer, size)
    module = (call.module if isinstance(call, Diffusers) else call).to(device)
    if compiled:
        module.compile()
    batch = size.batch * (2 if work.startswith("sample") else 1)  # with the text, and without
    x, text = (
        torch.randn(batch, *shape, device=device),
        torch.randn(batch, TEXT_TOKENS, size.width, device=device),
    )
    t = torch.rand(batch, device=device)
    trains = work.startswith("train")
    return (train_step if trains else sample_step)(module.train(trains), call, x, t, text)


def train_step(module, call, x, t, text) -> Callable[[], None]:
    import torch

    parameters = list(module.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.99), fused=True)
    average = [p.detach().clone() for p in parameters]

    def step() -> None:
        noise = torch.randn_like(x)
        time = t.view(-1, *[1] * (x.ndim - 1))
        loss = (call((1 - time) * x + time * noise, t, text) - (noise - x)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1e-3)
        loss.item()

    return step


def sample_step(module, call, x, t, text) -> Callable[[], None]:
    import torch

    def step() -> None:
        with torch.no_grad():
            given, null = call(x, t, text).chunk(2)
            drawn = x[: len(given)] - 0.05 * (null + 2.5 * (given - null))
            drawn[0].flatten()[0].item()

    return step


def attention_step(size: Size, compiled: bool, device: str) -> Callable[[], None]:
    """Of all tokens to all, forward and backward."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    shape = (size.batch, size.heads, size.num_tokens, size.width // size.heads)
    q, k, v = (torch.randn(shape, device=device, requires_grad=True) for _ in range(3))
    weight = torch.randn(shape, device=device)
    attend = torch.compile(scaled_dot_product_attention) if compiled else scaled_dot_product_attention

    def step() -> None:
        gradients = torch.autograd.grad(attend(q, k, v), (q, k, v), weight)
        gradients[0].flatten()[0].item()

    return step


def autoencoder_step(size: Size, compiled: bool, device: str) -> Callable[[], None]:
    """Clips to latents and back."""
    import diffusers
    import torch

    stats = {"latents_mean": [0.0] * size.channels, "latents_std": [1.0] * size.channels}
    module = diffusers.AutoencoderKLWan(base_dim=AUTOENCODER_WIDTH, z_dim=size.channels, **stats).to(device)
    if compiled:
        module.encoder.compile()
        module.decoder.compile()
    clips = torch.randn(size.batch, 3, *size.clip_shape[:3], device=device)

    def step() -> None:
        with torch.no_grad():
            module.decode(module.encode(clips).latent_dist.mode()).sample.flatten()[0].item()

    return step


OTHERS = {"attention": attention_step, "autoencoder": autoencoder_step}


def matmul_step(device: str) -> Callable[[], None]:
    """A square product, whose speed is the machine's peak."""
    import torch

    a, b = torch.randn(2, MATMUL, MATMUL, device=device)
    return lambda: (a @ b)[0, 0].item()


def in_dtype(step: Callable[[], None], dtype: str, device: str) -> Callable[[], None]:
    """The step with its products in `dtype`, the parameters in float32."""
    import torch

    def cast() -> None:
        with torch.autocast(device, torch.bfloat16):
            step()

    return cast if dtype == "bfloat16" else step


def main(given: str) -> None:
    told = json.loads(given)
    try:
        import torch

        torch.set_num_threads(told["threads"])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        started = time.perf_counter()
        size = Size(**told["size"])
        if told["peer"] == "matmul":
            step = matmul_step(device)
        else:
            step = step_of(told["peer"], told["compiled"], told["work"], size, device)
        step = in_dtype(step, size.dtype, device)
        for _ in range(WARM_UP):
            step()
        ready = {"ready": time.perf_counter() - started, "torch": torch.__version__, "device": device}
    except Exception as error:  # whatever PyTorch, its compiler or diffusers lack here
        print(
            json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}), flush=True
        )
        return
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        for _ in range(told["steps"]):
            step()
        print(json.dumps({"seconds": (time.perf_counter() - started) / told["steps"]}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
