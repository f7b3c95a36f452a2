# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whose a folder is."""

import pytest
from ml_collections import ConfigDict

from dit_jax.files import claim, read_config


def config(**changes):
    made = ConfigDict(dict(seed=0, train=dict(total_steps=10, chunk_steps=2), mesh=dict(fsdp=1)))
    made.update_from_flattened_dict(changes)
    return made


def test_a_run_goes_on_for_longer_and_on_any_mesh(tmp_path):
    before = config()
    with before.unlocked():
        del before.mesh
    claim(before, tmp_path)  # as before there was such a key
    claim(config(), tmp_path)
    claim(config(**{"train.total_steps": 20, "mesh.fsdp": 8}), tmp_path)
    assert read_config(tmp_path).mesh.fsdp == 8


@pytest.mark.parametrize(("key", "value"), [("seed", 1), ("train.chunk_steps", 5)])
def test_another_s_work_is_not_gone_on_with(tmp_path, key, value):
    claim(config(), tmp_path)
    with pytest.raises(ValueError, match=f"holds the work of another config.{key}: use another --workdir"):
        claim(config(**{key: value}), tmp_path)
    assert read_config(tmp_path).to_dict() == config().to_dict()
