"""One-line remarks for the user before the trainings of a sweep run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from motegpt.config.sections import DataConfig, section_values
from motegpt.errors import UsageError
from motegpt.sweeps.estimate import settings_at
from motegpt.training.remarks import remark_on_cut

if TYPE_CHECKING:
    from motegpt.sweeps.table import Point
    from motegpt.training.data import Data


def documents_cut(points: Iterable[Point], data: Data) -> str | None:
    """The documents that the smallest block_size of all points truncates; None without any."""
    by_size = {(point["preset"], point.get("block_size")): point for point in points}
    try:
        found = [settings_at(point) | data.found for point in by_size.values()]
        if not found:
            return None
        smallest = min(found, key=lambda settings: settings["block_size"])
        config = DataConfig.of(section_values(smallest, "data"))
        return remark_on_cut(data.encoded(config, smallest["seed"]).cut(smallest["block_size"], config.cut))
    except UsageError:  # the rows say why they are refused
        return None
