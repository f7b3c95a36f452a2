# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Where arrays lie, and what a mesh must be."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from dit_jax.mesh import (
    HOST_VARIABLES,
    MeshConfig,
    arranged,
    batch_spec,
    check_hosts,
    initialise_hosts,
    make_mesh,
    parameter_spec,
)


def mesh_of(**axes):
    shape = {"data": 1, "fsdp": 1, "model": 1, "seq": 1} | axes
    return AbstractMesh(tuple(shape.values()), tuple(shape))


def test_parameters_are_sharded_along_dims_that_divide():
    mesh = mesh_of(fsdp=4, model=2)
    assert parameter_spec((6, 512, 384), mesh) == PartitionSpec(None, "fsdp", "model")
    assert parameter_spec((3, 514, 384), mesh) == PartitionSpec(None, "model", "fsdp")
    assert parameter_spec((512, 512), mesh) == PartitionSpec("model", "fsdp")
    assert parameter_spec((513, 515), mesh) == PartitionSpec(None, None)
    assert parameter_spec((64,), mesh) == PartitionSpec()


def test_batches_are_sharded_over_data_and_fsdp():
    mesh = mesh_of(data=2, fsdp=2, seq=2)
    assert batch_spec((8, 32), mesh) == PartitionSpec(("data", "fsdp"))
    assert batch_spec((8, 3, 4, 4, 16), mesh) == PartitionSpec(("data", "fsdp"), None, "seq")
    assert batch_spec((10, 8, 32), mesh, leading=1) == PartitionSpec(None, ("data", "fsdp"))


@pytest.mark.parametrize(
    ("shape", "message"),
    [((6, 32), "batch_size=6 does not divide over .* 4 devices"), ((8, 3, 5, 4, 16), "5 rows .* seq=2")],
)
def test_what_does_not_divide_is_named(shape, message):
    with pytest.raises(ValueError, match=message):
        batch_spec(shape, mesh_of(data=2, fsdp=2, seq=2))


def test_a_mesh_must_have_the_devices():
    with pytest.raises(ValueError, match="needs 6 devices and 1 are there"):
        make_mesh(MeshConfig(data=3, fsdp=2))
    with pytest.raises(ValueError, match="must be positive"):
        MeshConfig(fsdp=0)
    assert dict(make_mesh(MeshConfig()).shape) == {"data": 1, "fsdp": 1, "model": 1, "seq": 1}


@dataclasses.dataclass(frozen=True)
class Chip:
    """What `arranged` reads of a device."""

    id: int
    slice_index: int
    process_index: int = 0
    platform: str = "cpu"
    device_kind: str = "cpu"


def slices_of(slices, *shape):
    """The slice of each of 8 devices in a mesh; they come in no order."""
    placed = arranged(shape, [Chip(i, i % slices) for i in range(8)])
    return np.vectorize(lambda chip: chip.slice_index)(placed)


def test_data_crosses_slices_and_nothing_else_does():
    places = slices_of(2, 4, 2, 1, 1)
    assert places.shape == (4, 2, 1, 1)
    assert (places == places[:, :1]).all()  # a row of fsdp lies in one slice
    assert places[:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    places = slices_of(2, 2, 1, 2, 2)
    assert (places == places[:, :1, :1, :1]).all()


def test_fsdp_crosses_slices_that_data_does_not_divide_over():
    places = slices_of(4, 2, 4, 1, 1)
    assert places[:, :, 0, 0].tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    with pytest.raises(ValueError, match="data x fsdp = 2 does not divide over 4 slices"):
        slices_of(4, 1, 2, 4, 1)


def test_tokens_of_packed_rows_are_sharded_over_seq():
    """As their places and numbers are; the texts of a row are whole."""
    mesh = mesh_of(data=2, seq=4)
    for name, shape in (("tokens", (4, 16, 8)), ("positions", (4, 16, 3)), ("segment_ids", (4, 16))):
        assert batch_spec(shape, mesh, name=name) == PartitionSpec(("data", "fsdp"), "seq")
        assert batch_spec((7, *shape), mesh, 1, name) == PartitionSpec(None, ("data", "fsdp"), "seq")
    for name, shape in (("text_tokens", (4, 3, 8, 16)), ("text_segment_ids", (4, 3))):
        assert batch_spec(shape, mesh, name=name) == PartitionSpec(("data", "fsdp"))
    with pytest.raises(ValueError, match=r"18 tokens .* seq=4"):
        batch_spec((4, 18, 8), mesh, name="tokens")


def test_a_host_must_have_clips_of_its_own():
    check_hosts(4, 2)
    with pytest.raises(ValueError, match="data x fsdp = 1 does not divide over 2 hosts"):
        check_hosts(1, 2)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_NUM_PROCESSES without JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID"),
        (dict(zip(HOST_VARIABLES, ("a:1", "2", "2"))), "JAX_PROCESS_ID=2 must .* below JAX_NUM_PROCESSES=2"),
        (dict(zip(HOST_VARIABLES, ("a:1", "two", "0"))), "JAX_NUM_PROCESSES=two"),
    ],
)
def test_what_the_environment_says_of_hosts_is_checked(environment, message):
    with pytest.raises(ValueError, match=message):
        initialise_hosts(environment)


def test_a_single_process_joins_nobody():
    initialise_hosts({})
    initialise_hosts({"SLURM_STEP_NUM_TASKS": "1"})
    initialise_hosts({"SLURM_NTASKS": "8"})  # in a batch script, outside of srun
    assert not jax.distributed.is_initialized()
