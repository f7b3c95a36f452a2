# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""On virtual devices in processes of their own: where arrays lie changes no number."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.test_architecture import ROOT

CHILD = pathlib.Path(__file__).with_name("mesh_child.py")
ONE, ALL = {}, {"fsdp": 2, "model": 2, "seq": 2}
WANTED = {
    "joint": {
        "one": ONE,
        "fsdp_model": {"fsdp": 4, "model": 2},
        "ring": {"data": 2, "seq": 4, "context": "ring"},
        "by_heads": ALL | {"products_of": "tpu"},
        "torus": {"fsdp": 8, "torus": [2, 2, 2]},
    },
    "factorised": {"one": ONE, "all": ALL},
    "packed": {"one": ONE, "all": ALL, "ulysses": {"fsdp": 4, "seq": 2, "context": "ulysses"}},
    "mmdit": {"one": ONE, "all": ALL},
    "gates": {"one": ONE, "all": ALL | {"products_of": "tpu"}},
}


def start(wanted, num_devices, **environment):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={num_devices}"
    environment = (
        os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | environment
    )
    command = [sys.executable, str(CHILD), json.dumps(wanted)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answer(process):
    out, error = process.communicate()
    assert process.returncode == 0, error[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def trained():
    return answer(start(WANTED, 8))


@pytest.mark.slow
@pytest.mark.parametrize("case", WANTED)
def test_every_mesh_trains_alike(trained, case):
    one = trained[case]["one"]["losses"]
    assert len(set(one)) == 20
    for name, axes in WANTED[case].items():
        np.testing.assert_allclose(trained[case][name]["losses"], one, rtol=1e-5, err_msg=name)
        assert trained[case][name]["parts"] == axes.get("fsdp", 1) * axes.get("model", 1)


@pytest.mark.slow
def test_two_processes_train_as_one(trained):
    """Each with two devices and clips of its own."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        address = f"localhost:{listener.getsockname()[1]}"
    hosts = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    wanted = {"joint": {"hosts": {"data": 2, "fsdp": 2}}}
    processes = [start(wanted, 2, **hosts, JAX_PROCESS_ID=str(i)) for i in range(2)]
    for done in map(answer, processes):
        losses = done["joint"]["hosts"]["losses"]
        np.testing.assert_allclose(losses, trained["joint"]["one"]["losses"], rtol=1e-5)


@pytest.mark.parametrize(
    ("axes", "others"),
    [
        ({"fsdp": 4, "model": 2}, {"one": ONE, "data": {"data": 8}, "all": ALL}),
        (ONE, {"fsdp_model": {"fsdp": 2, "model": 4}}),
    ],
)
def test_a_checkpoint_moves_between_any_two_meshes(tmp_path, axes, others):
    found = answer(start({"folder": str(tmp_path), "axes": axes, "others": others}, 8))
    assert found == dict.fromkeys(others, True)


@pytest.mark.parametrize("num_tables", [1, 4], ids=["one for all clips", "of every clip"])
def test_a_kernel_turns_each_device_s_queries(num_tables):
    for difference in answer(start({"turned_on": ALL, "num_tables": num_tables}, 8)):
        assert difference < 1e-5
