import re

import pytest
import torch

from circuitbook.plots import (
    LiveLosses,
    NumberTable,
    plot_bars,
    plot_lines,
    plot_losses,
    plot_matrix,
)

NAMES = ["a", "b"]
FIGURES = {
    "matrix": plot_matrix(torch.eye(2), "found", rows=NAMES, columns=NAMES, unit="cosine"),
    "bars": plot_bars({"a": 1.0, "b": -2.0}, "found", unit="logits"),
    "lines": plot_lines(torch.arange(3.0), {"a": torch.ones(3)}, "found", x_title="x", y_title="y"),
    "losses": plot_losses([2.0, 1.0], {"oracle": 0.5}, "found"),
}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_every_figure_has_a_title_and_says_its_unit(figure):
    assert figure.layout.title.text == "found"
    colour_bar = getattr(figure.data[0], "colorbar", None)
    assert figure.layout.xaxis.title.text or colour_bar.title.text


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_every_figure_is_alike_at_each_run_and_small(figure):
    """What is stored holds no random id, and no arrays spelled out at length."""
    text = figure.to_json()
    assert text == figure.to_json() and len(text) < 5000


def test_zero_is_white_and_in_the_middle_where_a_matrix_has_both_signs():
    values = torch.tensor([[3.0, -1.0], [0.0, 0.5]])
    heatmap = plot_matrix(values, "t", rows=NAMES, columns=NAMES, unit="u").data[0]
    assert heatmap.zmin == -heatmap.zmax == -3
    assert heatmap.colorscale[1] == (0.5, "#F7F7F7")


def test_a_matrix_of_shares_starts_at_zero():
    heatmap = plot_matrix(torch.eye(2) / 2, "t", rows=NAMES, columns=NAMES, unit="u").data[0]
    assert heatmap.zmin == 0 and heatmap.zmax == 0.5


def test_a_number_table_says_the_same_as_text_and_as_html():
    table = NumberTable(torch.tensor([[1.234, -0.001], [20, 3]]), NAMES, ["<x>", "y"], "caption")
    in_text = re.findall(r"-?\d+\.\d\d", repr(table))
    assert in_text == ["1.23", "0.00", "20.00", "3.00"]
    assert re.findall(r"-?\d+\.\d\d", table._repr_html_()) == in_text
    assert "&lt;x&gt;" in table._repr_html_()


def test_a_number_table_with_too_few_names_is_refused():
    with pytest.raises(ValueError, match=r"shape \[2, 2\] for 2 rows and 1 columns"):
        NumberTable(torch.eye(2), NAMES, ["x"])


def test_live_losses_keep_every_loss_and_end_with_what_was_passed():
    watch = LiveLosses(3, {"uniform": 3.0, "oracle": 0.5}, tokens_per_step=10)
    for loss in (3.5, torch.tensor(2.5), 2.0):
        watch(loss)
    assert watch.losses == [3.5, 2.5, 2.0]
    assert watch._draw().layout.title.text == "After 3 steps the loss has passed: uniform"
