# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from configs import known_world
from dit_jax import build
from dit_jax.remat import HEADROOM, ORDER, STATE_BYTES, with_remat
from dit_jax.sweep.activations import activation_bytes
from dit_jax.train.state import abstract_module, count_parameters

SHAPE = (3, 4, 4, 16)


def config(remat="auto"):
    made = known_world.get_config()
    made.loader.batch_size = 8
    made.backbone.update(depth=2, unroll=1, remat=remat)
    return made


def needed(policy):
    parameters = count_parameters(abstract_module(build.denoiser(config()))[1])
    return (STATE_BYTES * parameters + 8 * activation_bytes(config(policy), SHAPE)) / HEADROOM


@pytest.mark.parametrize("policy", ORDER)
def test_as_much_is_kept_as_fits(policy):
    chosen = with_remat(config(), SHAPE, math.ceil(needed(policy)))
    assert chosen.backbone.remat == policy


def test_what_does_not_fit_is_made_anew_and_without_a_limit_nothing():
    assert with_remat(config(), SHAPE, 1).backbone.remat == "full"
    assert with_remat(config(), SHAPE, None).backbone.remat == "none"
    assert with_remat(config("dots"), SHAPE, 1).backbone.remat == "dots"
    assert with_remat(config(), SHAPE, None).backbone.keys() == config().backbone.keys()
