"""Figures that a notebook shows, with or without pyplot. Imports matplotlib."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

PIXELS_PER_INCH = 80  # in the notebook; the image has twice as many


class ShownFigure(Figure):
    """A figure that pyplot does not know, and so does not show a second time."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The image, and the size at which it is shown."""
        data = BytesIO()
        self.draw_without_rendering()  # the layout settles in two passes
        self.savefig(data, format="png", dpi=2 * PIXELS_PER_INCH)
        width, height = (round(PIXELS_PER_INCH * inches) for inches in self.get_size_inches())
        return data.getvalue(), {"width": width, "height": height}
