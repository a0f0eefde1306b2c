"""The default number of threads: CPU affinity, and quotas of cgroups v1 and v2."""

import os

import pytest

from motegpt.engines import why_unavailable
from motegpt.system import processors
from motegpt.system.processors import MAX_THREADS, available_processors, cpu_quota
from tests.conftest import small_engine, small_settings


def machine(root, files):
    """Create these files in a root folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V2, CPU, BOTH = "sys/fs/cgroup", "sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"
QUOTAS = {
    "no files": ({}, None),
    "no limit": ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "max 100000"}, None),
    "docker": ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "150000 100000"}, 1.5),
    "systemd": (
        {
            "proc/self/cgroup": "0::/user.slice/job.scope",
            f"{V2}/user.slice/cpu.max": "300000 100000",
            f"{V2}/user.slice/job.scope/cpu.max": "max 100000",
        },
        3.0,
    ),
    "the narrowest counts": (
        {
            "proc/self/cgroup": "0::/a/b",
            f"{V2}/a/cpu.max": "400000 100000",
            f"{V2}/a/b/cpu.max": "200000 100000",
            f"{V2}/cpu.max": "800000 100000",
        },
        2.0,
    ),
    "v1": (
        {
            "proc/self/cgroup": "12:memory:/job\n4:cpu,cpuacct:/job",
            f"{BOTH}/job/cpu.cfs_quota_us": "250000",
            f"{BOTH}/job/cpu.cfs_period_us": "50000",
        },
        5.0,
    ),
    "v1 in a container": (
        {
            "proc/self/cgroup": "4:cpuacct,cpu:/docker/0123abc",
            f"{CPU}/cpu.cfs_quota_us": "200000",
            f"{CPU}/cpu.cfs_period_us": "100000",
        },
        2.0,
    ),
    "v1 without limit": (
        {
            "proc/self/cgroup": "1:cpu:/",
            f"{CPU}/cpu.cfs_quota_us": "-1",
            f"{CPU}/cpu.cfs_period_us": "100000",
        },
        None,
    ),
    "both versions": (
        {
            "proc/self/cgroup": "1:cpu:/\n0::/",
            f"{CPU}/cpu.cfs_quota_us": "400000",
            f"{CPU}/cpu.cfs_period_us": "100000",
            f"{V2}/unified/cpu.max": "max 100000",
        },
        4.0,
    ),
    "another controller": ({"proc/self/cgroup": "1:cpuset:/", f"{CPU}/cpu.cfs_quota_us": "100000"}, None),
    "nonsense": ({"proc/self/cgroup": "0::/\nx\n:::", f"{V2}/cpu.max": "many"}, None),
    "empty": ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": ""}, None),
    "a period of zero": ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "100000 0"}, None),
    "a way out": ({"proc/self/cgroup": "0::/../..", "cpu.max": "100000 100000"}, None),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_control_group_quotas(tmp_path, name):
    files, quota = QUOTAS[name]
    assert cpu_quota(machine(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("affinity", "quota", "threads"),
    [(8, None, 8), (8, 250000, 2), (2, 400000, 2), (8, 50000, 1), (1, None, 1), (1000, None, MAX_THREADS)],
)
def test_number_of_threads(tmp_path, monkeypatch, affinity, quota, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    files = {} if quota is None else {"proc/self/cgroup": "0::/", f"{V2}/cpu.max": f"{quota} 100000"}
    assert available_processors(machine(tmp_path, files)) == threads


def test_processor_count_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert processors.affinity() == 3


@pytest.mark.skipif(why_unavailable("native") is not None, reason="the core was not built")
@pytest.mark.parametrize(("asked", "given"), [(None, 3), (2, 2)])
def test_threads_of_the_core(monkeypatch, asked, given):
    from motegpt.engines.native import _core

    told, model = [], _core.Model
    monkeypatch.setattr(
        _core, "Model", lambda *given, **named: told.append(named["threads"]) or model(*given, **named)
    )
    monkeypatch.setattr("motegpt.engines.native.engine.available_processors", lambda: 3)
    small_engine("native", small_settings(threads=asked))
    assert told == [given]


@pytest.mark.skipif(why_unavailable("torch") is not None, reason="PyTorch is not installed")
@pytest.mark.parametrize(
    ("asked", "own", "width", "given"),
    [(None, 8, 512, 3), (None, 2, 512, 2), (5, 8, 512, 5), (None, 8, 8, 1)],
)
def test_threads_of_torch_are_limited(monkeypatch, asked, own, width, given):
    import torch

    from motegpt.config.sections import model_and_training
    from motegpt.engines.torch.device import default_threads

    monkeypatch.setattr("motegpt.engines.torch.device.available_processors", lambda: 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: own)
    settings = small_settings(threads=asked, n_embd=width, batch_size=64)
    assert default_threads(*model_and_training(settings, 26)) == given


def test_cost_counts_the_gradients_of_all_threads(motegpt, monkeypatch):
    monkeypatch.setattr("motegpt.engines.native.memory.available_processors", lambda: 3)
    words = ("cost", "--vocab-size", 27, "--engine", "native")
    assert motegpt(*words).out == motegpt(*words, "--threads", 3).out != motegpt(*words, "--threads", 2).out
