"""The device: its choice, number of threads, peak speed, and errors when it is out of memory."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from motegpt.errors import OutOfMemory, SettingError
from motegpt.model.spec import parameter_count
from motegpt.system.processors import available_processors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig

# Dense matrix products, in 10¹² operations a second, by what the device's name contains: float64, float32,
# TF32 (float32 where there is none), and 16 bits summed in 32. The first that fits counts.
# Source: the data sheets of NVIDIA's GPUs, their figures for sparse matrices halved.
PEAKS: dict[str, tuple[float, float, float, float]] = {
    "B200": (37.0, 75.0, 1100.0, 2250.0),
    "H200": (67.0, 67.0, 494.0, 989.0),
    "H100 PCIe": (51.0, 51.0, 378.0, 756.0),
    "H100": (67.0, 67.0, 494.0, 989.0),
    "A100": (19.5, 19.5, 156.0, 312.0),
    "A10": (0.49, 31.2, 62.5, 125.0),
    "L40S": (1.43, 91.6, 183.0, 362.0),
    "L4": (0.47, 30.3, 60.0, 121.0),
    "V100": (7.8, 15.7, 15.7, 125.0),
    "T4": (0.25, 8.1, 8.1, 65.0),
    "RTX 4090": (1.29, 82.6, 82.6, 165.2),
    "RTX 3090": (0.56, 35.6, 35.6, 71.0),
}
# Operations per step. Below it a second thread gains nothing on an idle processor, and triples the time
# where another program uses its core (docs/log.md has the measurements).
ONE_THREAD_BELOW = 1e8
PEAK_SIZE, PEAK_RUNS = 768, 4  # of the product that is timed where the table has no figure


def choose_device(train: TrainConfig, local_rank: int) -> torch.device:
    """The device of the setting; by default the first available of a CUDA GPU, an Apple GPU and the CPU.

    Raises SettingError if the requested one is not available or lacks the precision.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and train.dtype != "float64",
        "cpu": True,
    }
    kind: str = train.device or next(name for name, found in available.items() if found)
    if kind == "mps" and train.dtype == "float64":
        raise SettingError("device: mps has no float64; try `dtype='float32'` or `device='cpu'`")
    if not available[kind]:
        raise SettingError(
            f"device: expected one that PyTorch {torch.__version__} finds here "
            f"({', '.join(name for name, found in available.items() if found)}), got {kind}; "
            f"try `device='cpu'`, or install a driver and a PyTorch for {kind}"
        )
    if kind != "cuda":
        return torch.device(kind)
    if local_rank >= torch.cuda.device_count():
        raise SettingError(
            f"device: expected a GPU for each process, got {torch.cuda.device_count()} for local rank "
            f"{local_rank}; try a smaller --nproc-per-node, or `device='cpu'`"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def float32_products(device: torch.device, tf32: bool) -> Iterator[None]:
    """Within this context float32 products on a CUDA GPU use TF32 (10 bits of mantissa) if `tf32`."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def processor_threads(threads: int) -> Iterator[None]:
    """Within this context PyTorch uses at most so many threads of the processor."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def default_threads(model: ModelConfig, train: TrainConfig) -> int:
    """The setting; by default one thread for steps too small to gain from a second, else PyTorch's own
    number, at most the processors available to this process.
    """
    operations = 6.0 * parameter_count(model) * train.batch_size * model.block_size
    if train.threads is not None:
        return train.threads
    return 1 if operations < ONE_THREAD_BELOW else min(torch.get_num_threads(), available_processors())


@contextmanager
def report_out_of_memory(device: torch.device, train: TrainConfig) -> Iterator[None]:
    """Report that a device is out of memory in one line that names settings which need less."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory(f"{device}: out of memory; try {', '.join(memory_hints(train))}") from None


@contextmanager
def report_failed_compilation() -> Iterator[None]:
    """Report an error of torch.compile in one line."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise SettingError(
            f"compile: PyTorch could not compile the model here ({str(error).splitlines()[0][:120]}); leave "
            "out `compile=True`, or install a C++ compiler"
        ) from error


def memory_hints(train: TrainConfig) -> list[str]:
    """Settings that save memory and are not yet in use."""
    flags = [f"`accumulate={2 * train.accumulate}`"] if train.batch_size >= 2 * train.accumulate else []
    flags += [] if train.checkpoint_activations else ["`checkpoint_activations=True`"]
    flags += [] if train.autocast else ["`autocast='bfloat16'`"]
    return [*flags, "a smaller `batch_size`"]


def matmul_peak(device: torch.device, train: TrainConfig) -> float:
    """Operations a second of one device in matrix products, at the precision the training multiplies in.

    From the data sheet where the device is in PEAKS, else the best of a few products that are timed.
    """
    column = 3 if train.autocast else {"float64": 0, "float32": 2 if train.tf32 else 1}[train.dtype]
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for word, peaks in PEAKS.items():
            if re.search(rf"\b{word}\b", name):
                return peaks[column] * 1e12
    return _timed_peak(device, getattr(torch, train.autocast or train.dtype), train.tf32)


def _timed_peak(device: torch.device, dtype: torch.dtype, tf32: bool) -> float:
    a = torch.ones((PEAK_SIZE, PEAK_SIZE), dtype=dtype, device=device)
    times = []
    with float32_products(device, tf32):
        for _ in range(PEAK_RUNS):
            began = time.perf_counter()
            (a @ a)[0, 0].item()
            times.append(time.perf_counter() - began)
    return 2.0 * PEAK_SIZE**3 / min(times)
