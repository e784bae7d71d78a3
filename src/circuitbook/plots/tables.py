"""Tables that say the same in a notebook and as text."""

import html
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from circuitbook.plots.house import rounded


class Table:
    """Columns by title: words to the left, numbers to the right, floats rounded.

    Raises ValueError unless all columns have one length.
    """

    first_is_name = False  # whether the first cell of a row is its name

    def __init__(self, columns: Mapping[str, Sequence[object]], decimals: int = 2):
        lengths = {title: len(column) for title, column in columns.items()}
        if len(set(lengths.values())) != 1:
            came = ", ".join(f"{title!r}: {length}" for title, length in lengths.items()) or "none"
            raise ValueError(f"Table got columns of lengths {came}; give a cell for each row.")
        cells = [[_cell(value, decimals) for value in column] for column in columns.values()]
        self.rows = [list(columns), *(list(row) for row in zip(*cells, strict=True))]
        self.to_the_right = [
            all(isinstance(value, int | float) for value in column) for column in columns.values()
        ]

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = (
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, self.to_the_right, strict=True)
            )
            for row in self.rows
        )
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        head, *body = self.rows
        head_row = self._html_row(head, ["th"] * len(head))
        tags = ["th" if self.first_is_name else "td", *["td"] * (len(head) - 1)]
        rows = "".join(self._html_row(row, tags) for row in body)
        return f"<table><thead>{head_row}</thead><tbody>{rows}</tbody></table>"

    def _html_row(self, row: Sequence[str], tags: Sequence[str]) -> str:
        cells = (
            f'<{tag} style="text-align:{"right" if right else "left"}">{html.escape(cell)}</{tag}>'
            for tag, cell, right in zip(tags, row, self.to_the_right, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"


class NumberTable(Table):
    """A small table of numbers with named rows and columns, the same in a notebook and as text."""

    first_is_name = True

    def __init__(
        self,
        values: Float[Tensor, "row column"],
        rows: Sequence[str],
        columns: Sequence[str],
        caption: str = "",
        decimals: int = 2,
    ):
        if values.shape != (len(rows), len(columns)):
            raise ValueError(
                f"NumberTable got values of shape {list(values.shape)} for {len(rows)} rows and "
                f"{len(columns)} columns; give one name for each."
            )
        cells = [[_cell(value, decimals) for value in row] for row in values.tolist()]
        named = ([name, *line] for name, line in zip(rows, cells, strict=True))
        self.rows = [[caption, *columns], *named]
        self.to_the_right = [False, *[True] * len(columns)]


def _cell(value: object, decimals: int) -> str:
    """A value as text; a float is rounded and never -0."""
    if isinstance(value, float):
        return rounded(value, decimals)
    return str(value)
