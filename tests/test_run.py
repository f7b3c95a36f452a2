# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One run in this process: what is read, what is left behind, and that stopping it changes nothing."""

import json

import jax
import numpy as np
import pytest

from configs import known_world
from dit_jax.files import read_config
from dit_jax.program import count_active, program
from dit_jax.run import run
from dit_jax.train.checkpoint import CHECKPOINTS, Checkpointer
from dit_jax.train_autoencoder import train_autoencoder


def config(num_clips=40, total_steps=20):
    made = known_world.get_config()
    made.data.update(num_clips=num_clips, num_frames=5, height=16, width=16)
    made.loader.batch_size = 4
    made.text.update(max_bytes=32, width=8, num_heads=1)
    made.backbone.update(width=8, depth=1, num_heads=1, text_width=8, time_features=8, unroll=1)
    made.evaluate.update(num_clips=4, num_times=2)
    made.train.update(total_steps=total_steps, chunk_steps=5, save_every_steps=10)
    made.optimizer.schedule = "constant"
    return made


def final(folder):
    checkpointer = Checkpointer(folder / CHECKPOINTS)
    state, position = checkpointer.restore(program(read_config(folder), folder).abstract)
    checkpointer.close()
    return state, position


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder, told = tmp_path_factory.mktemp("whole"), []
    row = run(config(), folder, lambda step, loss: told.append(step))
    return folder, row, told


class Killed(BaseException):
    """What no handler of errors catches."""


@pytest.mark.parametrize("at", [5, 10, 15])
def test_resumed_is_undisturbed(whole, tmp_path, at):
    """Ended at any chunk and started again, a run ends in bitwise the same state, position and loss."""

    def killer(step, loss):
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        run(config(), tmp_path, killer)
    row = run(config(), tmp_path)
    (one, one_position), (other, other_position) = final(whole[0]), final(tmp_path)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one_position == other_position
    assert row["loss"] == whole[1]["loss"]


def test_a_finished_run_is_not_run_again(whole):
    told = []
    row = run(config(), whole[0], lambda step, loss: told.append(step))
    assert told == []
    assert row["loss"] == whole[1]["loss"]


def test_progress_and_row(whole):
    folder, row, told = whole
    assert told == [5, 10, 15, 20]
    assert row["status"] == "finished"
    assert row["tokens_seen"] == 20 * 4 * 2 * 2 * 2
    assert row["unique_tokens"] == 40 * 2 * 2 * 2
    assert {"loss", "loss_se", "loss_t0", "loss_t1", "text_gap", "text_gap_se"} <= set(row)
    json.dumps(row, allow_nan=False)
    assert read_config(folder).data.num_clips == 40


def test_an_endless_world_is_encoded_in_the_step(tmp_path):
    """Without a number of clips nothing is repeated, and only the validation set is encoded beforehand."""
    row = run(config(num_clips=0, total_steps=10), tmp_path)
    assert row["status"] == "finished"
    assert "unique_tokens" not in row
    assert [path.name for path in (tmp_path / "latents").iterdir()] == ["validation"]


def test_a_run_that_diverges_says_so(tmp_path):
    made = config()
    made.optimizer.lr = 1e30
    made.train.max_skipped_steps = 2
    row = run(made, tmp_path)
    assert row["status"] == "diverged"


def test_active_parameters_leave_out_embeddings_and_modulation():
    tree = {
        "embed": np.zeros(5),
        "time_embedding": {"up": np.zeros(7)},
        "blocks": {"modulation": {"kernel": np.zeros(11)}, "mlp": np.zeros(13)},
        "head_modulation": np.zeros(17),
        "head": np.zeros(19),
    }
    assert count_active(tree) == 5 + 13 + 19


def test_an_autoencoder_trains_and_resumes(tmp_path):
    made = config(num_clips=24)
    tiny = dict(encoder_widths=(4, 8, 8), decoder_widths=(4, 8, 8), encoder_blocks=(0, 0, 0))
    made.autoencoder.update(train=True, steps=8, batch_size=4)
    made.autoencoder.model.update(decoder_blocks=(0, 0, 0), **tiny)
    losses = []

    def killer(step, loss):
        losses.append(loss)
        if step == 4:
            raise Killed

    with pytest.raises(Killed):
        train_autoencoder(made, tmp_path, killer)
    scores = train_autoencoder(made, tmp_path, lambda step, loss: losses.append(loss))
    assert losses[-1] < losses[0]
    assert scores["steps"] == 8
    assert np.isfinite(scores["psnr"])
    assert (tmp_path / "autoencoder.safetensors").exists()
