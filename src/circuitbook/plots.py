"""A result in, a figure out. One look for the whole book: colours that survive colour-blindness and
print.

Figures compute nothing. Each title states the finding, each axis its unit.
"""

import html
import time
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from IPython.display import display
from jaxtyping import Float
from torch import Tensor

# Okabe and Ito's palette without its yellow, which is lost on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SIGNED = [[0, "#B2182B"], [0.5, "#F7F7F7"], [1, "#2166AC"]]  # red below 0, blue above
SHARES = [[0, "#FFFFFF"], [1, "#08306B"]]

HOUSE = go.layout.Template(
    layout=go.Layout(
        font={"family": "Helvetica, Arial, sans-serif", "size": 13, "color": "#222222"},
        title={"x": 0, "xanchor": "left", "font": {"size": 15}, "pad": {"b": 8}},
        paper_bgcolor="white",
        plot_bgcolor="white",
        colorway=COLOURS,
        margin={"l": 70, "r": 30, "t": 60, "b": 55},
        xaxis={"showgrid": False, "linecolor": "#888888", "ticks": "outside", "automargin": True},
        yaxis={"gridcolor": "#E5E5E5", "zerolinecolor": "#888888", "automargin": True},
    )
)


def _figure(*traces, title: str, height: int = 380, **layout) -> go.Figure:
    figure = go.Figure(traces)
    return figure.update_layout(template=HOUSE, title_text=title, height=height, **layout)


def plot_matrix(
    values: Float[Tensor, "row column"],
    title: str,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    unit: str,
    row_title: str = "",
    column_title: str = "",
) -> go.Figure:
    """A heatmap, first row on top. Values that go below 0 get a scale whose middle, white, is 0."""
    largest = values.abs().max().item()
    signed = bool((values < 0).any())
    heatmap = go.Heatmap(
        z=values.tolist(),
        x=list(range(len(columns))),
        y=list(range(len(rows))),
        customdata=[[[row, column] for column in columns] for row in rows],
        hovertemplate="%{customdata[0]} → %{customdata[1]}: %{z:.3f}<extra></extra>",
        colorscale=SIGNED if signed else SHARES,
        zmin=-largest if signed else 0,
        zmax=largest,
        colorbar={"title": {"text": unit, "side": "right"}, "thickness": 12},
    )
    figure = _figure(heatmap, title=title, height=160 + 24 * len(rows))
    figure.update_xaxes(
        tickvals=list(range(len(columns))), ticktext=list(columns), title_text=column_title
    )
    return figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=list(rows),
        autorange="reversed",
        showgrid=False,
        title_text=row_title,
    )


def plot_bars(
    values: Mapping[str, float], title: str, *, unit: str, height: int | None = None
) -> go.Figure:
    """One bar for each name, in the order given, the first on top."""
    bars = go.Bar(x=list(values.values()), y=list(values), orientation="h", marker_color=COLOURS[0])
    figure = _figure(bars, title=title, height=height or 130 + 24 * len(values))
    figure.update_xaxes(title_text=unit, zeroline=True, zerolinecolor="#888888")
    return figure.update_yaxes(autorange="reversed", showgrid=False)


def plot_lines(
    x: Float[Tensor, " point"],
    lines: Mapping[str, Float[Tensor, " point"]],
    title: str,
    *,
    x_title: str,
    y_title: str,
) -> go.Figure:
    """Several curves over the same points, told apart by colour and by dash."""
    dashes = ("solid", "dash", "dot", "dashdot")
    traces = [
        go.Scatter(
            x=x.tolist(),
            y=line.tolist(),
            name=name,
            mode="lines",
            line={"dash": dashes[index % 4], "color": COLOURS[index % 7]},
        )
        for index, (name, line) in enumerate(lines.items())
    ]
    figure = _figure(*traces, title=title)
    return figure.update_xaxes(title_text=x_title).update_yaxes(title_text=y_title)


def plot_losses(losses: Sequence[float], floors: Mapping[str, float], title: str) -> go.Figure:
    """The loss of each step, and the floors that it has to pass: dashed, named at their left
    end."""
    curve = go.Scatter(y=list(losses), mode="lines", line_color=COLOURS[0], name="this model")
    figure = _figure(curve, title=title, showlegend=False)
    for name, floor in floors.items():
        figure.add_hline(
            y=floor,
            line={"dash": "dash", "color": "#666666", "width": 1},
            annotation={"text": f"{name}: {floor:.2f}", "font_size": 11},
            annotation_position="top right",
        )
    figure.update_xaxes(title_text="training step")
    return figure.update_yaxes(title_text="loss (nats per token)", rangemode="tozero")


class LiveLosses:
    """The loss curve of a training that is going on, redrawn while a notebook shows it.

    Call it with each step's loss; its title is the progress bar. `losses` holds what came. Drawing
    takes at most a twentieth of the time.
    """

    def __init__(self, steps: int, floors: Mapping[str, float], tokens_per_step: int):
        self.steps, self.floors, self.tokens_per_step = steps, floors, tokens_per_step
        self.losses: list[float] = []
        self._started, self._next_drawing = time.monotonic(), 0.0
        self._display = display(self._draw()._repr_mimebundle_(), raw=True, display_id=True)

    def __call__(self, loss: Float[Tensor, ""] | float) -> None:
        self.losses.append(float(loss))
        now = time.monotonic()
        if self._display and (now > self._next_drawing or len(self.losses) == self.steps):
            self._display.update(self._draw()._repr_mimebundle_(), raw=True)
            self._next_drawing = now + max(1, 20 * (time.monotonic() - now))

    def _draw(self) -> go.Figure:
        done, seconds = len(self.losses), time.monotonic() - self._started
        if done == 0:
            title = f"Training: 0 of {self.steps} steps"
        elif done < self.steps:
            left = seconds / done * (self.steps - done)
            speed = done * self.tokens_per_step / seconds
            bar = "█" * (20 * done // self.steps) + "░" * (20 - 20 * done // self.steps)
            title = (
                f"{bar} step {done} of {self.steps} · loss {self.losses[-1]:.2f} · "
                f"{speed:,.0f} tokens/s · {left:.0f} s left"
            )
        else:
            passed = [name for name, floor in self.floors.items() if min(self.losses) < floor]
            title = f"After {done} steps the loss has passed: {', '.join(passed) or 'no floor yet'}"
        return plot_losses(self.losses, self.floors, title)


class NumberTable:
    """A small table of numbers with named rows and columns, the same in a notebook and as text."""

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
        cells = [
            [f"{round(x, decimals) + 0.0:.{decimals}f}" for x in row] for row in values.tolist()
        ]
        self.rows = [
            [caption, *columns],
            *([row, *line] for row, line in zip(rows, cells, strict=True)),
        ]

    def __repr__(self) -> str:
        widths = [max(len(row[i]) for row in self.rows) for i in range(len(self.rows[0]))]
        return "\n".join(
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
                ]
            )
            for row in self.rows
        )

    def _repr_html_(self) -> str:
        head, *body = self.rows
        lines = ["<table><thead><tr>", *(f"<th>{html.escape(cell)}</th>" for cell in head)]
        lines.append("</tr></thead><tbody>")
        for first, *numbers in body:
            cells = "".join(f'<td style="text-align:right">{number}</td>' for number in numbers)
            lines.append(f'<tr><th style="text-align:left">{html.escape(first)}</th>{cells}</tr>')
        return "".join([*lines, "</tbody></table>"])
