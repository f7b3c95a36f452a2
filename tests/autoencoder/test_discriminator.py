# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The critic, and the loss that trains it and the autoencoder by one gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.autoencoder.adversarial import adaptive_weight, adversarial_loss, discriminator_loss
from dit_jax.autoencoder.discriminator import Discriminator, DiscriminatorConfig
from dit_jax.autoencoder.losses import AutoencoderLossConfig, autoencoder_loss, latent_noise, video_error
from dit_jax.autoencoder.model import Autoencoder, AutoencoderConfig
from dit_jax.train.state import merge_module, split_module
from tests.randomise import randomise

SIZES = AutoencoderConfig(
    latent_channels=4,
    patch_size=4,
    encoder_widths=(8, 8, 8),
    decoder_widths=(8, 8, 8),
    encoder_blocks=(0, 0, 1),
    decoder_blocks=(1, 0, 0),
)
CRITIC = DiscriminatorConfig(widths=(8, 12))
LOSS = AutoencoderLossConfig(adversarial=0.7, structural=0.2)
KEY = jax.random.key(0)
DISTANCES = {
    "structural": lambda a, b: jnp.mean(jnp.abs(a[:, :, 1:] - a[:, :, :-1] - b[:, :, 1:] + b[:, :, :-1]))
}


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32)


VIDEO = random(2, 5, 16, 16, 3)


@pytest.fixture(scope="module")
def pair():
    """Structures and parameters of both."""
    models = {
        "autoencoder": lambda: Autoencoder(SIZES, rngs=nnx.Rngs(0)),
        "discriminator": lambda: Discriminator(CRITIC, rngs=nnx.Rngs(0)),
    }
    split = {name: split_module(randomise(make)) for name, make in models.items()}
    return {name: graph for name, (graph, _) in split.items()}, {name: p for name, (_, p) in split.items()}


@pytest.fixture(scope="module")
def modules(pair):
    graphs, _ = pair
    return [
        lambda params, graph=graphs[name]: merge_module(graph, params)
        for name in ("autoencoder", "discriminator")
    ]


@pytest.fixture(scope="module")
def result(pair, modules):
    loss = lambda params: adversarial_loss(*modules, params, VIDEO, KEY, LOSS, DISTANCES)  # noqa: E731
    return jax.jit(jax.value_and_grad(loss, has_aux=True))(pair[1])


def critic():
    return randomise(lambda: Discriminator(CRITIC, rngs=nnx.Rngs(0)))


def test_there_is_a_logit_for_every_patch_of_every_frame():
    model = critic()
    assert model(random(2, 3, 16, 24, 3)).shape == (2, 3, 4, 6)
    assert model(random(2, 1, 16, 24, 3)).shape == (2, 1, 4, 6)  # images are videos of one frame


def test_a_logit_sees_its_patch_and_frames_before_it():
    model, x = critic(), random(1, 6, 48, 48, 3)
    seen = jax.jit(jax.grad(lambda x: model(x)[0, 3, 6, 6]))(x)
    seen = np.abs(np.asarray(seen)).sum((0, 4)) > 0
    assert seen.any((1, 2)).tolist() == [True, True, True, True, False, False]
    rows = np.flatnonzero(seen.any((0, 2)))
    assert rows.min() > 0
    assert rows.max() < 47
    assert 24 <= rows.min() + (rows.max() - rows.min()) / 2 <= 28  # around the patch, rows 24 to 27


def test_hinge_costs_what_is_not_right_by_a_margin_of_one():
    real, fake = jnp.array([[[[2.0, 0.5, -1.0, 1.0]]]]), jnp.array([[[[-2.0, 0.5, -0.5, -1.0]]]])
    loss, metrics = discriminator_loss(real, fake)
    assert loss == pytest.approx(0.5 * (0 + 0.5 + 2 + 0) / 4 + 0.5 * (0 + 1.5 + 0.5 + 0) / 4)
    assert metrics["discriminator_accuracy"] == pytest.approx(0.5 * (3 / 4 + 3 / 4))
    assert metrics["logits_real"] == pytest.approx(2.5 / 4)
    assert metrics["logits_fake"] == pytest.approx(-3 / 4)


def test_the_weight_is_a_bounded_ratio_without_a_gradient():
    assert adaptive_weight(jnp.array(3.0), jnp.array(1.5)) == pytest.approx(2, rel=1e-3)
    assert adaptive_weight(jnp.array(3.0), jnp.array(0.0)) == pytest.approx(1e4)
    assert jax.grad(lambda x: adaptive_weight(x, jnp.array(2.0)))(3.0) == 0


def straight(pair, modules):
    """The losses as the papers have them, each differentiated on its own, as parts and gradients."""
    make_autoencoder, make_discriminator = modules
    both = pair[1]

    def decode(params):
        model = make_autoencoder(params)
        latents = model.encode(VIDEO)
        return model.decode(latents + latent_noise(KEY, latents, LOSS.latent_noise))

    def error(params):
        return autoencoder_loss(make_autoencoder(params), VIDEO, KEY, LOSS, DISTANCES)[0]

    def pixels(params):
        return video_error(decode(params), VIDEO, LOSS, DISTANCES)[0]

    def fooled(params):
        return -jnp.mean(make_discriminator(both["discriminator"])(decode(params)))

    def judged(params):
        critic = make_discriminator(params)
        fake = jax.lax.stop_gradient(decode(both["autoencoder"]))
        return discriminator_loss(critic(VIDEO), critic(fake))[0]

    ours = both["autoencoder"]
    last = lambda grads: jnp.linalg.norm(grads["decoder"][2]["project"]["kernel"])  # noqa: E731
    gradients = {f.__name__: jax.grad(f)(ours) for f in (error, pixels, fooled)}
    weight = LOSS.adversarial * last(gradients["pixels"]) / (last(gradients["fooled"]) + 1e-4)
    total = jax.tree.map(lambda a, b: a + weight * b, gradients["error"], gradients["fooled"])
    value = error(ours) + weight * fooled(ours) + judged(both["discriminator"])
    return value, weight, total, jax.grad(judged)(both["discriminator"])


def test_one_gradient_is_both_steps(pair, modules, result):
    """The autoencoder's part of the gradient is its own loss's, and the discriminator's is its own."""
    (value, metrics), grads = result
    expected, weight, autoencoder, discriminator = jax.jit(lambda: straight(pair, modules))()
    assert value == pytest.approx(float(expected), rel=1e-4)
    assert metrics["adaptive_weight"] == pytest.approx(float(weight), rel=1e-3)
    for ours, theirs in ((grads["autoencoder"], autoencoder), (grads["discriminator"], discriminator)):
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
        assert largest > 1e-4
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4 * largest)


def test_the_metrics_say_how_the_adversary_fares(result):
    (_, metrics), _ = result
    assert {"psnr", "l1", "l2", "structural", "latent_kl"} <= set(metrics)
    ratio = float(metrics["last_layer_error"] / metrics["last_layer_adversarial"])
    assert metrics["adaptive_weight"] == pytest.approx(0.7 * ratio, rel=0.02)
    assert 0 <= metrics["discriminator_accuracy"] <= 1
    assert np.isfinite(list(metrics.values())).all()


def test_a_discriminator_learns_to_tell():
    model = Discriminator(DiscriminatorConfig(widths=(8,)), rngs=nnx.Rngs(0))
    graph, params = split_module(model)
    real, fake = random(2, 1, 8, 8, 3), 0.5 * random(2, 1, 8, 8, 3, seed=1)

    @jax.jit
    def step(params):
        def loss(params):
            critic = merge_module(graph, params)
            return discriminator_loss(critic(real), critic(fake))

        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.05 * g, params, grads), metrics

    for _ in range(40):
        params, metrics = step(params)
    assert metrics["discriminator_accuracy"] > 0.9
    assert metrics["logits_real"] > metrics["logits_fake"] + 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(widths=()), r"widths=\(\): give one or more"),
        (dict(widths=(8, 0)), r"widths=\(8, 0\)"),
        (dict(lr=0.0), r"lr=0\.0 must be positive"),
    ],
)
def test_configs_that_cannot_be_built_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DiscriminatorConfig(**changes)


def test_frames_that_do_not_fold_are_named():
    with pytest.raises(ValueError, match="H=9 must be a multiple of 2"):
        critic()(random(1, 1, 18, 18, 3))
