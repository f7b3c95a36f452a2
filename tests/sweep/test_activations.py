# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from configs import known_world
from dit_jax.sweep.activations import activation_bytes

SHAPE, TOKENS = (3, 4, 4, 16), 48


def kept(**changes):
    config = known_world.get_config()
    config.backbone.update(width=32, num_heads=2, text_width=32, **changes)
    config.text.update(width=32, num_heads=2)
    return activation_bytes(config, SHAPE)


def test_full_rematerialisation_keeps_the_input_of_every_block():
    more = kept(remat="full", depth=6) - kept(remat="full", depth=2)
    assert more == 4 * TOKENS * 32 * 4  # blocks, tokens, width, bytes


def test_what_is_kept_falls_from_policy_to_policy():
    assert kept(remat="none") > kept(remat="dots") > kept(remat="full") > 0


def test_attention_weights_are_not_kept():
    """The square of the tokens is not among what is kept, be attention by tiles or all at once."""
    config = known_world.get_config()
    few, some, many, most = (activation_bytes(config, (t, 8, 8, 16)) for t in (2, 4, 6, 12))
    assert few < some < 2.1 * few
    assert many < most < 2.1 * many


def test_half_precision_takes_less():
    assert kept(remat="full", dtype="bfloat16") < kept(remat="full")
    with pytest.raises(ValueError, match="dtype='float16'"):
        kept(dtype="float16")
