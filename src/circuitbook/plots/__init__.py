"""A result in, a figure out. One look for the whole book: colours that survive colour-blindness and
print.

Figures compute nothing. Each title states the finding, each axis its unit. What is wrong with the
input (names that do not fit the values, nothing to draw, infinities) is a ValueError; NaN is a gap
in a heatmap or a curve and a ValueError elsewhere.
"""

from circuitbook.plots.bars import plot_bars, plot_histogram, plot_stream
from circuitbook.plots.curves import (
    LiveLosses,
    plot_curves_together,
    plot_lines,
    plot_losses,
    plot_singular_values,
)
from circuitbook.plots.grids import plot_heads, plot_lens, plot_matrix
from circuitbook.plots.hooks import HookMap
from circuitbook.plots.house import COLOURS, HOUSE, SHARES, SIGNED
from circuitbook.plots.planes import (
    Edge,
    plot_circuit,
    plot_directions,
    plot_eigenvalues,
    plot_plane,
)
from circuitbook.plots.tables import NumberTable, Table
from circuitbook.plots.text import AttentionView, ColouredText

__all__ = [
    "COLOURS",
    "HOUSE",
    "SHARES",
    "SIGNED",
    "AttentionView",
    "ColouredText",
    "Edge",
    "HookMap",
    "LiveLosses",
    "NumberTable",
    "Table",
    "plot_bars",
    "plot_circuit",
    "plot_curves_together",
    "plot_directions",
    "plot_eigenvalues",
    "plot_heads",
    "plot_histogram",
    "plot_lens",
    "plot_lines",
    "plot_losses",
    "plot_matrix",
    "plot_plane",
    "plot_singular_values",
    "plot_stream",
]
