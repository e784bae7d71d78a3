"""Planes: heads by two scores, eigenvalues, and who reads from whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import torch
from jaxtyping import Complex, Float
from plotly.subplots import make_subplots
from torch import Tensor

from circuitbook.plots.house import (
    ABOVE,
    BELOW,
    COLOURS,
    FAINT,
    GREY,
    INK,
    SYMBOLS,
    check_names,
    check_numbers,
    greatest,
    label,
    labels,
    rounded,
    titled,
    wrapped,
)

BELOW_ZERO = "; red and dotted: below 0"
SHORT = 0.1  # an arrow shorter than this share of its panel's half is a dot
FEW = 20  # points that can all carry their names; edges that can all carry their numbers


def plot_plane(
    x: Float[Tensor, " item"],
    y: Float[Tensor, " _"],
    names: Sequence[str],
    title: str,
    *,
    x_title: str,
    y_title: str,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> go.Figure:
    """Heads, or other items, by two scores.

    Each of `groups`, name to members, has its colour and sign, and its members' names are written
    out; the others are grey and named on hover. Without groups up to 20 names are written out.
    Raises ValueError where the sizes differ, or a member is none of the names.
    """
    check_names("plot_plane", "names", len(names), len(x))
    check_names("plot_plane", "vertical values", len(y), len(x))
    check_numbers("plot_plane", torch.stack([x, y]))
    groups = groups or {}
    members = {member: group for group, its in groups.items() for member in its}
    if unknown := members.keys() - set(names):
        raise ValueError(
            f"plot_plane got {', '.join(sorted(unknown))} in its groups, but no such name; there "
            f"are {', '.join(names[:6])}, ..."
        )
    points = sorted(zip(x.tolist(), y.tolist(), names, strict=True))
    others = [point for point in points if point[2] not in members]
    looks = [("the others" if groups else "", others, GREY if groups else COLOURS[0], "circle")]
    looks += [
        (group, [point for point in points if members.get(point[2]) == group], colour, symbol)
        for group, colour, symbol in zip(
            groups, COLOURS * len(groups), SYMBOLS[1:] * len(groups), strict=False
        )
    ]
    traces = [
        go.Scatter(
            x=[point[0] for point in its],
            y=[point[1] for point in its],
            text=[label(point[2]) for point in its],
            name=label(group),
            mode="markers+text" if colour != GREY and len(its) <= FEW else "markers",
            textposition=[("top center", "bottom center")[i % 2] for i in range(len(its))],
            textfont={"size": 11},
            marker={"color": colour, "symbol": symbol, "size": 6 if colour == GREY else 9},
            cliponaxis=False,
            hovertemplate="%{text}: (%{x:.3f}, %{y:.3f})<extra></extra>",
        )
        for group, its, colour, symbol in looks
        if its
    ]
    figure = titled(*traces, title=title, height=440, showlegend=bool(groups))
    figure.update_layout(legend={"orientation": "h", "y": 1, "yanchor": "bottom"})
    figure.update_xaxes(title_text=x_title, showgrid=True, gridcolor=FAINT, zerolinecolor=GREY)
    return figure.update_yaxes(title_text=y_title)


def plot_eigenvalues(
    eigenvalues: Mapping[str, Complex[Tensor, " _"]], title: str, *, unit: str = ""
) -> go.Figure:
    """Eigenvalues in the complex plane, each head with its colour and sign, 0 in the middle.

    To the right a direction is copied, to the left it is turned into its opposite, above and below
    it is rotated into others. Raises ValueError where there is none.
    """
    if not eigenvalues:
        raise ValueError("plot_eigenvalues got no heads; give at least one.")
    for values in eigenvalues.values():
        check_numbers("plot_eigenvalues", torch.view_as_real(values.resolve_conj()))
    far = 1.1 * max(
        torch.view_as_real(values.resolve_conj()).abs().max().item()
        for values in eigenvalues.values()
    )
    traces = [
        go.Scatter(
            x=values.real.tolist(),
            y=values.imag.tolist(),
            name=label(name),
            mode="markers",
            marker={
                "color": COLOURS[index % 7],
                "symbol": SYMBOLS[index % 7],
                "size": 8,
                "opacity": 0.75,
            },
            hovertemplate="%{x:.3g} %{y:+.3g} i",
        )
        for index, (name, values) in enumerate(eigenvalues.items())
    ]
    figure = titled(*traces, title=title, height=480, showlegend=len(traces) > 1)
    span = [-far or -1.0, far or 1.0]
    end = f" ({unit})" if unit else ""
    figure.update_xaxes(
        title_text=f"real part{end}",
        range=span,
        constrain="domain",
        zeroline=True,
        zerolinecolor=GREY,
        showgrid=True,
        gridcolor=FAINT,
    )
    return figure.update_yaxes(
        title_text=f"imaginary part{end}", range=span, scaleanchor="x", constrain="domain"
    )


def plot_directions(
    panels: Mapping[str, Float[Tensor, "vector 2"]], title: str, *, x_title: str, y_title: str
) -> go.Figure:
    """Vectors of a plane as arrows from 0, a panel for each set, each arrow numbered from 0 on.

    A number has its colour in all panels; arrows too short to see are dots with a name on hover.
    Raises ValueError where there is no panel.
    """
    if not panels:
        raise ValueError("plot_directions got no panels; give at least one.")
    for vectors in panels.values():
        check_numbers("plot_directions", vectors)
    far = 1.25 * max(greatest(vectors) for vectors in panels.values())
    figure = titled(title=title, height=340, showlegend=False, margin_t=85)
    make_subplots(cols=len(panels), subplot_titles=labels(panels), figure=figure)
    figure.update_annotations(font_size=13)
    for column, vectors in enumerate(panels.values(), start=1):
        for number, (x, y) in enumerate(vectors.tolist()):
            visible = (x**2 + y**2) ** 0.5 > SHORT * far
            colour = COLOURS[number % len(COLOURS)]
            arrow = go.Scatter(
                x=[0, x],
                y=[0, y],
                text=["", str(number)],
                mode="lines+markers+text" if visible else "markers",
                textposition=f"{'top' if y > 0 else 'bottom'} center",
                line={"color": colour, "width": 2},
                marker={"color": colour, "opacity": 1, "symbol": "arrow", "angleref": "previous"}
                | {"size": [0, 12]}
                if visible
                else {"color": colour, "size": 5},
                cliponaxis=False,
                hovertemplate=f"{number}: (%{{x:.2f}}, %{{y:.2f}})<extra></extra>",
            )
            figure.add_trace(arrow, row=1, col=column)
        figure.update_yaxes(scaleanchor=f"x{column if column > 1 else ''}", row=1, col=column)
    span = {"range": [-far, far], "constrain": "domain", "zerolinecolor": FAINT}
    figure.update_xaxes(title={"text": x_title, "font_size": 13}, **span)
    figure.update_yaxes(title={"text": y_title, "font_size": 13}, col=1)
    return figure.update_yaxes(**span)


@dataclass(frozen=True)
class Edge:
    """That one node reads what another wrote, and how much of it."""

    source: str
    target: str
    weight: float  # below 0: it takes away
    label: str = ""  # what is written at the edge; its weight, if empty


def plot_circuit(
    columns: Mapping[str, Sequence[str]], edges: Sequence[Edge], title: str, *, unit: str
) -> go.Figure:
    """Who reads from whom, left to right: lines as wide as the measured numbers.

    `columns` maps a column's title to its nodes, from top to bottom. Blue lines are above 0, red
    and dotted ones below. With up to 20 edges each carries its label; all tell their numbers on
    hover. Raises ValueError where an edge leads to no node, or not to the right.
    """
    places = _node_places(columns, edges)
    weights = torch.tensor([edge.weight for edge in edges], dtype=torch.float64)
    check_numbers("plot_circuit", weights)
    largest = weights.abs().max().item() or 1.0
    letters = 48 // len(columns)  # that fit in a box, with 700 pixels for all
    boxes = {name: wrapped(name, letters) for name in places}
    lines = max(box.count("<br>") for box in boxes.values()) + 1
    height = 170 + (45 + 17 * lines) * max(len(nodes) for nodes in columns.values())
    figure = titled(title=title, height=height, showlegend=False)
    middles = []
    for edge in sorted(edges, key=lambda edge: abs(edge.weight)):
        path, middle = _curve_between(places[edge.source], places[edge.target])
        share = abs(edge.weight) / largest
        figure.add_shape(
            type="path",
            path=path,
            layer="below",
            opacity=round(0.15 + 0.75 * share, 3),
            line={
                "color": BELOW if edge.weight < 0 else ABOVE,
                "dash": "dot" if edge.weight < 0 else "solid",
                "width": round(0.5 + 7 * share, 2),
            },
        )
        middles.append((*middle, edge))
    figure.add_scatter(
        x=[x for x, _, _ in middles],
        y=[y for _, y, _ in middles],
        mode="markers",
        marker={"size": 16, "opacity": 0},
        customdata=[labels((e.source, e.target, e.label)) for _, _, e in middles],
        text=[rounded(e.weight, 3) for _, _, e in middles],
        hovertemplate="%{customdata[0]} → %{customdata[1]}: %{text} %{customdata[2]}"
        "<extra></extra>",
    )
    if len(edges) <= FEW:
        for x, y, edge in middles:
            text = wrapped(edge.label or rounded(edge.weight, 2), letters)
            _add_box(figure, x, y, text, size=11, border="white")
    for name, (x, y) in places.items():
        _add_box(figure, x, y, boxes[name], size=13, border=INK)
    figure.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=labels(columns),
        range=[-0.4, len(columns) - 0.6],
        side="top",
        ticks="",
        showline=False,
        zeroline=False,
    )
    figure.update_layout(margin={"l": 20, "r": 20})
    heights = [0.0, 1.0, *(y for _, y, _ in middles)]
    figure.update_yaxes(visible=False, range=[min(heights) - 0.06, max(heights) + 0.06])
    figure.add_annotation(
        text=f"width of a line: {label(unit)}" + (BELOW_ZERO if (weights < 0).any() else ""),
        x=0,
        y=0,
        xref="paper",
        yref="paper",
        yshift=-30,
        showarrow=False,
        font={"size": 11, "color": "#666666"},
    )
    return figure


def _node_places(
    columns: Mapping[str, Sequence[str]], edges: Sequence[Edge]
) -> dict[str, tuple[float, float]]:
    """Where each node stands: its column, and a height between 0 and 1."""
    places = {
        name: (float(column), 1 - (row + 0.5) / len(nodes))
        for column, nodes in enumerate(columns.values())
        for row, name in enumerate(nodes)
    }
    if len(places) < sum(map(len, columns.values())):
        raise ValueError("plot_circuit got two nodes of one name; give each its own.")
    for edge in edges:
        if missing := {edge.source, edge.target} - places.keys():
            raise ValueError(
                f"plot_circuit got an edge from {edge.source!r} to {edge.target!r}, but no node "
                f"{', '.join(map(repr, sorted(missing)))}; there are {', '.join(places)}."
            )
        if places[edge.source][0] >= places[edge.target][0]:
            raise ValueError(
                f"plot_circuit got an edge from {edge.source!r} to {edge.target!r}, which is not "
                "to the right of it; put what writes in a column before what reads."
            )
    return places


def _curve_between(
    start: tuple[float, float], end: tuple[float, float]
) -> tuple[str, tuple[float, float]]:
    """An SVG path between two nodes, and its middle; one that skips a column bows round it."""
    (x0, y0), (x1, y1) = start, end
    bow = 0.0 if x1 - x0 <= 1 else 0.5 if y0 > 0.5 else -0.5
    bend = (x1 - x0) / 2.5
    path = (
        f"M {x0},{y0:.4g} C {x0 + bend:.4g},{y0 + bow:.4g} "
        f"{x1 - bend:.4g},{y1 + bow:.4g} {x1},{y1:.4g}"
    )
    return path, ((x0 + x1) / 2, (y0 + y1) / 2 + 0.75 * bow)


def _add_box(figure: go.Figure, x: float, y: float, text: str, size: int, border: str) -> None:
    figure.add_annotation(
        x=x,
        y=y,
        text=text,
        showarrow=False,
        bgcolor="white",
        bordercolor=border,
        borderpad=4 if border != "white" else 1,
        font_size=size,
    )
