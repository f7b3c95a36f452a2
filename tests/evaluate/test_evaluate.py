# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.evaluate.fidelity import psnr
from dit_jax.evaluate.loss_grid import LossGridConfig, make_loss_grid, summarise_loss_grid
from dit_jax.evaluate.world_score import colour_set, exact_match

RNG = np.random.default_rng(0)
TIMES = jnp.asarray([0.25, 0.75])
NULL = {"text_ids": jnp.zeros((1, 4), jnp.int32)}
LATENTS = jnp.asarray(RNG.normal(size=(6, 2, 3, 3, 2)), jnp.float32)
IDS = {"text_ids": jnp.ones((6, 4), jnp.int32)}


def noised(x0, noise):
    t = TIMES.reshape(-1, 1, 1, 1, 1)
    return (1 - t) * x0 + t * noise, TIMES


def model(params, x_t, t, ids):
    """Knows the latents' sign when it sees the text, and nothing otherwise."""
    return params * x_t * ids["text_ids"][:, :1, None, None, None]


def test_errors_are_those_of_the_formula():
    errors = make_loss_grid(model, noised, 2, NULL, seed=5)(jnp.asarray(0.3), LATENTS, IDS)
    assert errors.shape == (2, 6, 2)
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(5), 4), (2, *LATENTS.shape[1:]))
    x_t = 0.25 * LATENTS[4] + 0.75 * noise[1]
    target = noise[1] - LATENTS[4]
    assert float(errors[0, 4, 1]) == pytest.approx(float(jnp.square(0.3 * x_t - target).mean()), rel=1e-5)
    assert float(errors[1, 4, 1]) == pytest.approx(float(jnp.square(target).mean()), rel=1e-5)


def test_clips_are_paired_whatever_else_is_in_the_set():
    grid = make_loss_grid(model, noised, 2, NULL, seed=5)
    few, all_ = (grid(jnp.asarray(0.3), LATENTS[:n], jax.tree.map(lambda a, n=n: a[:n], IDS)) for n in (3, 6))
    np.testing.assert_allclose(few, all_[:, :3], rtol=1e-6)


def test_summary_is_paired():
    conditional = RNG.normal(1.0, 0.5, (40, 3))
    summary = summarise_loss_grid(np.stack([conditional, conditional + 0.01 * np.ones((40, 3))]))
    assert summary["loss"] == pytest.approx(conditional.mean())
    assert summary["loss_se"] == pytest.approx(conditional.mean(1).std(ddof=1) / np.sqrt(40))
    assert summary["text_gap"] == pytest.approx(0.01)
    assert summary["text_gap_se"] < 1e-6 < summary["loss_se"]
    assert summary["loss_t2"] == pytest.approx(conditional[:, 2].mean())


def test_a_grid_needs_two_clips():
    with pytest.raises(ValueError, match="num_clips=1 must be 2 or more"):
        LossGridConfig(num_clips=1)


PALETTE = {"red": (255, 0, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


def clip(*colours):
    """Sixteen by sixteen pixels, with a 4 x 4 square of each colour on near black."""
    video = np.full((3, 16, 16, 3), 16, np.uint8)
    for i, colour in enumerate(colours):
        video[:, 4 * i : 4 * i + 4, :4] = colour
    return video


def test_colours_are_read_off_pixels():
    assert colour_set(clip(), PALETTE) == frozenset()
    assert colour_set(clip((250, 10, 5)), PALETTE) == {"red"}
    assert colour_set(clip((255, 0, 0), (20, 10, 240)), PALETTE) == {"red", "blue"}
    assert colour_set(clip((128, 128, 0)), PALETTE) == frozenset()


def test_a_few_pixels_do_not_count():
    video = clip()
    video[:, 0, 0] = (255, 0, 0)
    assert colour_set(video, PALETTE) == frozenset()


def test_noise_does_not_score():
    """It contains every colour, which is the wrong set."""
    video = RNG.integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)
    assert len(colour_set(video, PALETTE)) > 1


def test_the_floor_is_the_expected_score_of_shuffled_captions():
    wanted = [frozenset({c}) for c in ("red", "red", "blue", "white")]
    match = exact_match(wanted, wanted)
    assert match["score"] == 1
    assert match["floor"] == pytest.approx(2 / 12)
    scores = []
    for _ in range(4000):
        order = RNG.permutation(4)
        if (order != np.arange(4)).all():
            scores.append(np.mean([wanted[i] == wanted[j] for i, j in enumerate(order)]))
    assert np.mean(scores) == pytest.approx(2 / 12, abs=0.02)


def test_psnr():
    video = jnp.zeros((2, 1, 4, 4, 3))
    np.testing.assert_allclose(
        psnr(video + jnp.asarray([0.2, 0.02])[:, None, None, None, None], video), [20, 40]
    )
    assert np.isinf(psnr(video, video)).all()
