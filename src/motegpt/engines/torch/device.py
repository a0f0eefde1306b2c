"""The device: its choice, number of threads, peak speed, and errors when it is out of memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import torch

from motegpt.errors import OutOfMemory, SettingError
from motegpt.model.spec import parameter_count
from motegpt.system.processors import available_processors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig

# Operations per step. Below it a second thread gains nothing on an idle processor, and triples the time
# where another program uses its core (docs/log.md has the measurements).
ONE_THREAD_BELOW = 1e8


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
    """Within this context PyTorch uses at most `threads` processor threads."""
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


@cache
def matmul_peak(device: torch.device, dtype: torch.dtype, tf32: bool) -> float | None:
    """Operations per second in a large matrix product, the best of several runs; None if memory is short.

    On a GPU products are timed in groups, so that their launch does not count.
    """
    size, products, runs = (768, 1, 4) if device.type == "cpu" else (4096, 4, 3)
    times = []
    try:
        a, b = torch.ones((2, size, size), dtype=dtype, device=device)
        with float32_products(device, tf32), torch.no_grad():
            for _ in range(runs):
                began = time.perf_counter()
                for _ in range(products):
                    torch.mm(a, a, out=b)
                b[0, 0].item()  # waits for the device
                times.append(time.perf_counter() - began)
    except torch.OutOfMemoryError:
        return None
    return 2.0 * size**3 * products / min(times)
