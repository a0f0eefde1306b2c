"""A budget of seconds as a number of operations, and so as a number of steps.

One constant table gives the operations per second of one thread; clock, cores and load never enter, so the
same command has the same steps, and writes the same bytes, on all machines of one level. Times on other
machines differ from the budget as their speed differs from the table (docs/log.md has the measurements).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.engines.cost import operations_per_token
from motegpt.errors import SettingError
from motegpt.model.spec import Role, parameter_count, tensors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.plan import Plan

# Operations per second of one thread, by engine, level and precision, on a server processor of 2023.
OPERATIONS_PER_SECOND = {
    ("native", "avx512", "float32"): 100e9,
    ("native", "avx512", "float64"): 48e9,
    ("native", "avx2", "float32"): 70e9,
    ("native", "avx2", "float64"): 35e9,
    ("native", "baseline", "float32"): 27e9,
    ("native", "baseline", "float64"): 13e9,
    ("array", "", "float32"): 8e9,
    ("array", "", "float64"): 5e9,
    ("torch", "", "float32"): 8e9,
    ("torch", "", "float64"): 5e9,
    ("scalar", "", "float64"): 0.015e9,
}
UPDATE, ROW = 60.0, 300.0  # per parameter, and per number of a row that a token uses


def operations_per_second(engine: str, level: str, dtype: str) -> float:
    """Operations per second of one thread. level: Engine.level(), "" for engines without levels."""
    return OPERATIONS_PER_SECOND[engine, level, dtype]


def operations_per_step(model: ModelConfig, batch_size: int, positions: float, orders: int) -> float:
    """Operations of a step on batch_size sequences of `positions` tokens on average, and of its update.

    orders: the number of tables of the n-gram embedding.
    """
    tokens, tables = batch_size * positions, sum(one.size for one in tensors(model) if one.role is Role.TABLE)
    of_tables = ROW * orders * model.n_embd * tokens
    update = UPDATE * (parameter_count(model) - tables)
    return operations_per_token(model, positions) * tokens + of_tables + update


def seconds_to_steps(
    seconds: float, engine: str, level: str, model: ModelConfig, train: TrainConfig, plan: Plan
) -> int:
    """The number of steps in a budget; SettingError if it is too short for one."""
    step = seconds_of_step(engine, level, model, train, plan)
    if seconds < step:
        raise SettingError(
            f"seconds: expected at least {step:.2g}, the budget of one step of the {engine} engine, got "
            f"{seconds:g}; try `steps=1`"
        )
    return int(seconds / step)


def seconds_of_step(engine: str, level: str, model: ModelConfig, train: TrainConfig, plan: Plan) -> float:
    """The part of a budget that a step takes."""
    speed = operations_per_second(engine, level, train.dtype)
    return (
        operations_per_step(model, train.batch_size, plan.targets_per_sequence, len(model.ngram_rows)) / speed
    )
