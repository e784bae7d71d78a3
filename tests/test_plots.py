import base64
import json
import re
import shutil
import struct
import zlib

import plotly.graph_objects as go
import pytest
import torch

from circuitbook.plots import (
    AttentionView,
    ColouredText,
    Edge,
    LiveLosses,
    NumberTable,
    Table,
    plot_bars,
    plot_circuit,
    plot_curves_together,
    plot_directions,
    plot_eigenvalues,
    plot_heads,
    plot_histogram,
    plot_lens,
    plot_lines,
    plot_losses,
    plot_matrix,
    plot_plane,
    plot_singular_values,
    plot_stream,
)

NAMES = ["a", "b"]
HALVES = torch.tensor([[0.5, 0.0], [-0.25, 0.125]])
SCORES = torch.tensor([0.25, -0.5, 0.75])
HEADS = ["L0H0", "L0H1", "L1H0"]
FIGURES = {
    "matrix": plot_matrix(torch.eye(2), "found", rows=NAMES, columns=NAMES, unit="cosine"),
    "numbers": plot_matrix(HALVES, "found", rows=NAMES, columns=NAMES, unit="u", decimals=1),
    "heads": plot_heads(HALVES, "found", unit="logits"),
    "lens": plot_lens(HALVES.abs(), [NAMES, NAMES], "found", rows=NAMES, columns=["the", " cat"]),
    "bars": plot_bars({"a": 1.0, "b": -2.0}, "found", unit="logits"),
    "histogram": plot_histogram(SCORES, HEADS, "found", unit="score", what="heads"),
    "stream": plot_stream(
        {"embedding": {"token": 1.0}, "layer 0": {"L0H0": -2.0}}, "found", unit="logits"
    ),
    "lines": plot_lines(torch.arange(3.0), {"a": torch.ones(3)}, "found", x_title="x", y_title="y"),
    "losses": plot_losses([2.0, 1.0], {"oracle": 0.5}, "found"),
    "together": plot_curves_together(
        torch.tensor([1, 10, 100]),
        {"loss (nats)": {"two": SCORES}, "score": {"two": -SCORES}},
        "found",
        x_title="step",
        log_x=True,
        turn=(5, 20),
    ),
    "singular values": plot_singular_values({"W_OV": SCORES.abs()}, "found", d_head=2),
    "plane": plot_plane(SCORES, -SCORES, HEADS, "found", x_title="x", y_title="y"),
    "eigenvalues": plot_eigenvalues({"L0H0": torch.complex(SCORES, SCORES)}, "found"),
    "directions": plot_directions(
        {"both": HALVES, "one": HALVES[:1]}, "found", x_title="x", y_title="y"
    ),
    "circuit": plot_circuit(
        {"layer 0": ["L0H0", "L0H1"], "layer 1": ["L1H0"]},
        [Edge("L0H0", "L1H0", 0.5), Edge("L0H1", "L1H0", -0.25, "takes away")],
        "found",
        unit="score",
    ),
}
NASTY = "</script><b>&amp;$x$\n"


@pytest.fixture
def pattern():
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 5, 5, generator=random)
    return scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(dim=-1)


PIECES = ["<|endoftext|>", "Mr", " Jones", NASTY, " Mr"]


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_every_figure_has_a_title_and_says_its_unit(figure):
    assert figure.layout.title.text == "found"
    titles = [getattr(trace, "colorbar", None) for trace in figure.data]
    bar = next((bar.title.text for bar in titles if bar and bar.title.text), None)
    note = [note.text for note in figure.layout.annotations if "width of a line" in note.text]
    last_axis = [axis.title.text for axis in figure.select_xaxes()][-1]
    assert bar or note or last_axis or figure.layout.yaxis.title.text


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_every_figure_is_alike_at_each_run_and_small(figure):
    """What is stored holds no random id, no address, and no arrays spelled out at length."""
    text = figure.to_json()
    assert text == figure.to_json() and len(text) < 5000
    assert "http" not in text


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_every_figure_is_one_that_plotly_can_draw(figure):
    assert go.Figure(json.loads(figure.to_json())) == figure


def test_zero_is_white_and_in_the_middle_where_a_matrix_has_both_signs():
    values = torch.tensor([[3.0, -1.0], [0.0, 0.5]])
    for figure in (
        plot_matrix(values, "t", rows=NAMES, columns=NAMES, unit="u"),
        plot_heads(values, "t", unit="u"),
    ):
        heatmap = figure.data[0]
        assert heatmap.zmin == -heatmap.zmax == -3
        assert heatmap.colorscale[1] == (0.5, "#F7F7F7")


def test_a_matrix_of_shares_starts_at_zero():
    heatmap = plot_matrix(torch.eye(2) / 2, "t", rows=NAMES, columns=NAMES, unit="u").data[0]
    assert heatmap.zmin == 0 and heatmap.zmax == 0.5


def test_a_matrix_of_zeros_has_a_scale():
    heatmap = plot_heads(torch.zeros(2, 2), "t", unit="u").data[0]
    assert (heatmap.zmin, heatmap.zmax) == (0, 1)


def test_hover_tells_the_values_that_came_and_whose_they_are():
    heads = FIGURES["heads"].data[0]
    assert torch.equal(torch.tensor(heads.z), HALVES)
    assert heads.hovertemplate.startswith("L%{y}H%{x}: %{z")
    names = plot_matrix(HALVES, "t", rows=["r", "s"], columns=NAMES, unit="u").data[0].customdata
    assert [list(map(list, row)) for row in names] == [
        [["r", "a"], ["r", "b"]],
        [["s", "a"], ["s", "b"]],
    ]


def test_a_gap_in_a_heatmap_has_no_number_and_the_others_keep_their_place():
    figure = plot_heads(torch.tensor([[1.0, float("nan")], [-0.001, 4.0]]), "t", unit="u")
    texts = figure.data[1]
    shown = {(x, y): text for x, y, text in zip(texts.x, texts.y, texts.text, strict=True)}
    assert shown == {(0, 0): "1.00", (0, 1): "0.00", (1, 1): "4.00"}
    assert texts.textfont.color[-1] == "white" and texts.textfont.color[1] != "white"


def test_a_table_too_wide_for_numbers_has_none():
    assert len(plot_heads(torch.ones(2, 40), "t", unit="u").data) == 1


def test_the_lens_marks_the_right_answer_and_tells_its_rank():
    figure = plot_lens(
        torch.tensor([[0.5, 0.25]]),
        [[" Mary", "extraordinarily"]],
        "t",
        rows=["layer 0"],
        columns=["to", " the"],
        ranks=torch.tensor([[1, 7]]),
    )
    heatmap, texts = figure.data
    assert texts.text == ("<b>Mary</b>", "extraordinarily")
    assert [list(cell) for cell in heatmap.customdata[0]] == [
        ["layer 0", "to", " Mary", 1],
        ["layer 0", " the", "extraordinarily", 7],
    ]
    assert (heatmap.zmin, heatmap.zmax) == (0, 1)


def test_a_long_token_is_cut_in_its_cell_and_whole_on_hover():
    words = ["extraordinarily"] * 16
    heatmap, texts = plot_lens(
        torch.ones(1, 16), [words], "t", rows=["layer 0"], columns=words
    ).data
    assert all(len(text) <= 5 and text.endswith("…") for text in texts.text)
    assert heatmap.customdata[0][0][2] == "extraordinarily"


def test_a_label_shows_a_token_as_it_is():
    """Plotly reads tags, entities and formulas; a token that looks like one is no such thing."""
    ticks = plot_matrix(torch.eye(2), "t", rows=NAMES, columns=["<|endoftext|>", NASTY], unit="u")
    assert ticks.layout.xaxis.ticktext == (
        "<|endoftext|>",
        "&lt;/script>&lt;b>&amp;amp;&#36;x&#36;⏎",
    )


def test_a_long_title_goes_on_in_a_second_line_below_which_nothing_is_squeezed():
    short, long = (plot_bars({"a": 1.0}, title, unit="u") for title in ("t", "word " * 40))
    lines = long.layout.title.text.split("<br>")
    assert len(lines) > 1 and max(map(len, lines)) <= 88
    more = long.layout.margin.t - short.layout.template.layout.margin.t
    assert more > 0 and long.layout.height - short.layout.height == more


def test_bars_below_zero_have_another_colour_and_errors_go_with_their_bars():
    bars = plot_bars({"a": 1.0, "b": -2.0}, "t", unit="u", errors={"b": 0.5, "a": 0.25}).data[0]
    assert bars.marker.color[0] != bars.marker.color[1]
    assert bars.error_x.array == (0.25, 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_a_histogram_counts_each_value_once_in_the_bin_it_belongs_to(seed):
    values = torch.randn(200, generator=torch.Generator().manual_seed(seed)) * 10 ** (seed - 1)
    names = [f"L{index}H0" for index in range(200)]
    bars = plot_histogram(values, names, "t", unit="u", what="heads").data[0]
    assert sum(bars.y) == 200 and 8 < len(bars.x) < 30
    for middle, count in zip(bars.x, bars.y, strict=True):
        inside = (values - middle).abs() <= bars.width / 2 * (1 + 1e-4)
        assert abs(inside.sum().item() - count) <= 1  # one may sit on an edge
    edges = (torch.tensor(bars.x) / bars.width - 0.5).tolist()
    assert edges == pytest.approx([round(edge) for edge in edges], abs=1e-4)  # 0 is one of them


def test_a_histogram_names_whom_it_counts():
    values, names = torch.zeros(10), [f"L0H{index}" for index in range(10)]
    bars = plot_histogram(values, names, "t", unit="u", what="heads").data[0]
    assert bars.customdata[0][1] == ", ".join(names[:8]) + " and 2 more"


def test_in_the_stream_each_write_begins_where_the_last_one_ended():
    stages = {"embedding": {"token": 1.0, "position": 0.5}, "layer 0": {"L0H0": -2.0, "MLP": 4.0}}
    figure = plot_stream(stages, "t", unit="logits")
    bars = figure.data[1]
    assert bars.base == (0, 1, 1.5, -0.5) and bars.y == (1, 0.5, -2, 4)
    assert [list(cell) for cell in bars.customdata][-1] == ["MLP", 3.5]
    assert any("3.50" in note.text for note in figure.layout.annotations)
    assert bars.marker.color[2] != bars.marker.color[0] == bars.marker.color[3]
    assert figure.layout.xaxis.ticktext == ("embedding", "layer 0")


def test_panels_share_their_points_and_a_curve_looks_alike_in_each():
    figure = FIGURES["together"]
    first, second = figure.data
    assert first.x == second.x == (1, 10, 100)
    assert (first.line.color, first.line.dash) == (second.line.color, second.line.dash)
    assert first.yaxis != second.yaxis and figure.layout.xaxis.matches == second.xaxis
    assert [axis.title.text for axis in figure.select_yaxes()] == ["loss (nats)", "score"]


def test_lines_have_their_floors():
    figure = plot_lines(
        torch.arange(2),
        {"a": torch.ones(2)},
        "t",
        x_title="x",
        y_title="y",
        floors={"bigram": 0.456},
    )
    assert figure.layout.shapes[0].y0 == 0.456
    assert figure.layout.annotations[0].text == "bigram: 0.46"


def test_a_plane_writes_out_the_names_of_a_group_and_hides_nobody():
    figure = plot_plane(
        SCORES, -SCORES, HEADS, "t", x_title="x", y_title="y", groups={"copying": ["L1H0"]}
    )
    others, group = figure.data
    assert "text" not in others.mode and "text" in group.mode
    assert sorted(others.text + group.text) == HEADS
    assert (group.x, group.y) == ((0.75,), (-0.75,))
    assert others.marker.symbol != group.marker.symbol


def test_eigenvalues_stand_at_their_place_with_zero_in_the_middle():
    values = torch.tensor([1 + 2j, -3 + 0j])
    figure = plot_eigenvalues({"L0H0": values, "L0H1": values.conj()}, "t")
    assert (figure.data[0].x, figure.data[0].y) == ((1, -3), (2, 0))
    assert figure.data[1].y == (-2, 0)
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        assert axis.range[0] == -axis.range[1] and axis.range[1] > 3


def test_singular_values_of_zero_are_left_out_of_a_scale_that_has_no_zero():
    values = plot_singular_values({"W": torch.tensor([2.0, 1.0, 0.0])}, "t").data[0]
    assert (values.x, values.y) == ((1, 2, 3), (2.0, 1.0, None))


def test_a_line_of_a_circuit_is_as_wide_as_its_number_and_dotted_below_zero():
    figure = FIGURES["circuit"]
    weak, strong = figure.layout.shapes  # the strongest last, on top
    assert strong.line.width > 1.5 * weak.line.width and strong.opacity > weak.opacity
    assert (weak.line.dash, strong.line.dash) == ("dot", "solid")
    hover = figure.data[0]
    assert [list(cell) for cell in hover.customdata][1] == ["L0H0", "L1H0", ""]
    assert hover.text == ("-0.250", "0.500")
    texts = {note.text for note in figure.layout.annotations}
    assert {"L0H0", "L0H1", "L1H0", "0.50", "takes away"} <= texts


def test_a_line_that_skips_a_column_goes_round_what_stands_there():
    figure = plot_circuit(
        {"a": ["text"], "b": ["L0H0"], "c": ["L1H0"]}, [Edge("text", "L1H0", 1.0)], "t", unit="u"
    )
    assert abs(figure.data[0].y[0] - 0.5) > 0.2
    low, high = figure.layout.yaxis.range
    assert low < figure.data[0].y[0] < high


def test_a_number_table_says_the_same_as_text_and_as_html():
    table = NumberTable(torch.tensor([[1.234, -0.001], [20, 3]]), NAMES, ["<x>", "y"], "caption")
    in_text = re.findall(r"-?\d+\.\d\d", repr(table))
    assert in_text == ["1.23", "0.00", "20.00", "3.00"]
    assert re.findall(r"-?\d+\.\d\d", table._repr_html_()) == in_text
    assert "&lt;x&gt;" in table._repr_html_()


def test_a_table_has_words_to_the_left_and_numbers_to_the_right():
    table = Table({"verb": ["keep", "<b>"], "nats": [3.217, -10.0], "times": [3, 12]})
    assert repr(table).splitlines() == [
        "verb    nats  times",
        "keep    3.22      3",
        "<b>   -10.00     12",
    ]
    assert '<td style="text-align:left">&lt;b&gt;</td>' in table._repr_html_()
    assert '<td style="text-align:right">-10.00</td>' in table._repr_html_()


def test_coloured_text_tells_each_number_on_hover_and_white_is_zero():
    text = ColouredText([" Mary", NASTY, " to"], torch.tensor([0.5, 0.0, -0.25]), "t", unit="u")
    page = text._repr_html_()
    titles = re.findall(r'title="([^"]*)"', page)
    assert titles == [" Mary: 0.500", "&lt;/script&gt;&lt;b&gt;&amp;amp;$x$⏎: 0.000", " to: -0.250"]
    colours = re.findall(r"rgb\((\d+), (\d+), (\d+)\)", page)
    (red, _, blue), zero, (red_below, _, blue_below) = (tuple(map(int, c)) for c in colours)
    assert zero == (255, 255, 255) and blue > red and red_below > blue_below
    assert "<b>" not in page and "<script" not in page and "' to' -0.25" in repr(text)


def test_a_number_that_rounds_to_0_has_no_sign():
    text = ColouredText([" a", " b"], torch.tensor([-0.0004, -1.0]), "t", unit="u")
    assert "' a' 0.00," in repr(text) and "-0.0" not in text._repr_html_()


def test_a_long_coloured_text_has_its_numbers_on_hover_only():
    page = ColouredText(["a"] * 100, torch.ones(100), "t", unit="u")._repr_html_()
    assert page.count(": 1.000") == 100 and "<br>" not in page


def script_of(view):
    return re.search(r"<script>(.*?)</script>", view._repr_html_(), re.S)[1]


def test_an_attention_view_stores_the_patterns_and_nothing_from_elsewhere(pattern):
    view = AttentionView(pattern, PIECES, "t", heads=HEADS)
    script = script_of(view)
    rows = json.loads(re.search(r"const rows = (\[.*?\]);", script)[1])
    for head, its_rows in zip(pattern, rows, strict=True):
        for place, row in enumerate(its_rows):
            expected = head[place, : place + 1]
            torch.testing.assert_close(torch.tensor(row) / 1000, expected, atol=6e-4, rtol=0)
    props = json.loads(re.search(r"const props = (\{.*?\});", script)[1])
    assert props["attentionHeadNames"] == HEADS
    assert props["tokens"][:3] == PIECES[:3] and props["tokens"][3].startswith("</script><b>")
    page = view._repr_html_()
    assert "http" not in page and page.count("</script") == 1 and len(page) < 10_000


def test_an_attention_view_is_the_same_bytes_each_time(pattern):
    once, again = (AttentionView(pattern, PIECES, "t", heads=HEADS) for _ in range(2))
    assert once._repr_html_() == again._repr_html_() and repr(once) == repr(again)


def test_without_scripts_an_attention_view_is_a_picture_of_each_head(pattern):
    page = AttentionView(pattern, PIECES, "t", heads=HEADS)._repr_html_()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 3
    for head, picture in zip(pattern, pictures, strict=True):
        shares = 1 - pixels(base64.b64decode(picture)).float() / 255
        side = len(shares) // 5
        darkest = 1 - 0x08 / 255  # the red of the darkest blue
        red = shares[side // 2 :: side, side // 2 :: side, 0]
        torch.testing.assert_close(red / darkest, head, atol=0.01, rtol=0)


def pixels(png: bytes):
    """A PNG of one IDAT without filters, read by the format's own rules."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        kind, content = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", png[place + 8 + length : place + 12 + length])
        assert check == zlib.crc32(kind + content)
        chunks[kind], place = content, place + 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = torch.tensor(list(zlib.decompress(chunks[b"IDAT"]))).view(height, 1 + 3 * width)
    assert (lines[:, 0] == 0).all()
    return lines[:, 1:].view(height, width, 3)


def test_an_attention_view_says_in_words_what_the_last_token_reads(pattern):
    pattern[1, -1] = torch.tensor([0.0, 0.125, 0.75, 0.125, 0.0])
    assert "L0H1: “ Jones” 0.75" in repr(AttentionView(pattern, PIECES, "t", heads=HEADS))


def test_the_library_goes_ahead_of_a_view_and_is_replaced_by_it(pattern, monkeypatch):
    shown, replaced = [], []

    class Place:
        def update(self, content, raw):
            replaced.append(content["text/html"])

    def display(content, raw, display_id=None):
        shown.append(content["text/html"])
        return Place() if display_id else None

    monkeypatch.setattr("circuitbook.plots.text.display", display)
    monkeypatch.setattr(AttentionView, "last_sent", float("-inf"))
    view = AttentionView(pattern, PIECES, "t", heads=HEADS)
    view._ipython_display_()
    view._ipython_display_()  # so soon after, the page still has it
    assert len(shown[0]) > 1_000_000 and "window.CircuitsVis=CircuitsVis" in shown[0]
    assert shown[0].count("</script") == 1
    assert replaced == [view._repr_html_()] == shown[1:]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_reader_who_runs_a_view_explores_it_offline_and_saves_a_small_notebook(tmp_path):
    pytest.importorskip("playwright")
    from browser import run_in_lab

    code = (
        "import torch\nfrom circuitbook.plots import AttentionView\n"
        "AttentionView(torch.eye(3)[None], ['a', 'b', '</script>'], 'found', heads=['L0H0'])"
    )
    with run_in_lab(code, tmp_path) as page:
        page.get_by_text("Head Selector").wait_for()
        assert page.locator(".jp-OutputArea-output canvas").count() == 2
        output = page.evaluate(
            "jupyterapp.shell.currentWidget.content.widgets[1].model.outputs.toJSON()"
        )
    assert len(output) == 1 and len(json.dumps(output)) < 6000


def test_live_losses_keep_every_loss_and_end_with_what_was_passed():
    watch = LiveLosses(3, {"uniform": 3.0, "oracle": 0.5}, tokens_per_step=10)
    for loss in (3.5, torch.tensor(2.5), 2.0):
        watch(loss)
    assert watch.losses == [3.5, 2.5, 2.0]
    assert watch._draw().layout.title.text == "After 3 steps the loss has passed: uniform"


X = {"x_title": "x", "y_title": "y"}
EYE = torch.eye(2)
NAN = torch.tensor([1.0, float("nan")])
REFUSED = {
    "names of a matrix": (
        r"shape \[2, 2\] for 1 rows and 2 columns",
        lambda: plot_matrix(EYE, "t", rows=["a"], columns=NAMES, unit="u"),
    ),
    "an infinity": (
        "1 of 4 values",
        lambda: plot_heads(EYE / torch.tensor([1.0, 0]), "t", unit=""),
    ),
    "a matrix of gaps": ("4 of 4 values", lambda: plot_heads(EYE * torch.nan, "t", unit="u")),
    "no layers": (r"no values \(shape \[0, 4\]\)", lambda: plot_heads(EYE.new(0, 4), "t", unit="")),
    "tokens of a lens": (
        r"1 rows of \[2\] tokens for probabilities of shape \[2, 2\]",
        lambda: plot_lens(EYE, [NAMES], "t", rows=NAMES, columns=NAMES),
    ),
    "ranks of a lens": (
        r"ranks of shape \[1, 2\]",
        lambda: plot_lens(
            EYE, [NAMES] * 2, "t", rows=NAMES, columns=NAMES, ranks=torch.ones(1, 2, dtype=int)
        ),
    ),
    "no bars": ("no values", lambda: plot_bars({}, "t", unit="u")),
    "a bar of NaN": ("1 of 1 values", lambda: plot_bars({"a": float("nan")}, "t", unit="u")),
    "errors of others": (
        "errors for b and values for a",
        lambda: plot_bars({"a": 1.0}, "t", unit="u", errors={"b": 1.0}),
    ),
    "names of a histogram": (
        "2 names for 3 values",
        lambda: plot_histogram(SCORES, NAMES, "t", unit="u", what="heads"),
    ),
    "no writes": ("no values", lambda: plot_stream({"embedding": {}}, "t", unit="u")),
    "points of a line": (
        "2 points for 'a' for 3 values",
        lambda: plot_lines(torch.arange(2), {"a": SCORES}, "t", **X),
    ),
    "no lines": ("no curves", lambda: plot_lines(torch.arange(2), {}, "t", **X)),
    "no panels": (
        "no panels",
        lambda: plot_curves_together(torch.arange(2), {}, "t", x_title="x"),
    ),
    "no matrices": ("no matrices", lambda: plot_singular_values({}, "t")),
    "names of a plane": (
        "2 names for 3 values",
        lambda: plot_plane(SCORES, SCORES, NAMES, "t", **X),
    ),
    "heights of a plane": (
        "2 vertical values for 3 values",
        lambda: plot_plane(SCORES, EYE[0], HEADS, "t", **X),
    ),
    "NaN in a plane": ("1 of 4 values", lambda: plot_plane(NAN, torch.ones(2), NAMES, "t", **X)),
    "an unknown member": (
        "L9H9 in its groups",
        lambda: plot_plane(EYE[0], EYE[1], NAMES, "t", **X, groups={"g": ["L9H9"]}),
    ),
    "no heads": ("no heads", lambda: plot_eigenvalues({}, "t")),
    "an edge to nowhere": (
        "no node 'c'; there are a, b",
        lambda: plot_circuit({"1": ["a"], "2": ["b"]}, [Edge("a", "c", 1.0)], "t", unit="u"),
    ),
    "an edge to the left": (
        "'b' to 'a', which is not to the right",
        lambda: plot_circuit({"1": ["a"], "2": ["b"]}, [Edge("b", "a", 1.0)], "t", unit="u"),
    ),
    "two nodes of one name": (
        "two nodes of one name",
        lambda: plot_circuit({"1": ["a"], "2": ["a"]}, [Edge("a", "a", 1.0)], "t", unit="u"),
    ),
    "no edges": ("no values", lambda: plot_circuit({"1": ["a"]}, [], "t", unit="u")),
    "names of a number table": (
        r"shape \[2, 2\] for 2 rows and 1 columns",
        lambda: NumberTable(EYE, NAMES, ["x"]),
    ),
    "columns of two lengths": ("'a': 1, 'b': 2", lambda: Table({"a": [1], "b": [1, 2]})),
    "an empty table": ("lengths none", lambda: Table({})),
    "tokens of a text": (
        "2 tokens for 3 values",
        lambda: ColouredText(NAMES, SCORES, "t", unit="u"),
    ),
    "NaN in a text": ("1 of 2 values", lambda: ColouredText(NAMES, NAN, "t", unit="u")),
    "heads of a view": (
        "2 names for 1 values",
        lambda: AttentionView(EYE[None], NAMES, "t", heads=NAMES),
    ),
    "tokens of a view": (
        r"1 tokens for patterns of shape \[1, 2, 2\]",
        lambda: AttentionView(EYE[None], ["a"], "t", heads=["a"]),
    ),
    "scores, not a pattern": (
        "values from 0 to 2",
        lambda: AttentionView(2 * EYE[None], NAMES, "t", heads=["a"]),
    ),
    "a look ahead": (
        "0.5 on later positions",
        lambda: AttentionView(torch.full((1, 2, 2), 0.5), NAMES, "t", heads=["a"]),
    ),
}


@pytest.mark.parametrize(("message", "call"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_drawn_is_refused_with_what_came(message, call):
    with pytest.raises(ValueError, match=message):
        call()


def test_directions_are_arrows_from_0_and_what_is_too_short_is_a_dot():
    vectors = torch.tensor([[1.0, 0.0], [-0.5, 0.5], [0.01, 0.0]])
    arrows = plot_directions({"a": vectors}, "found", x_title="x", y_title="y").data
    for number, (arrow, vector) in enumerate(zip(arrows, vectors.tolist(), strict=True)):
        assert [arrow.x[0], arrow.y[0]] == [0, 0]
        assert [arrow.x[1], arrow.y[1]] == pytest.approx(vector)
        assert arrow.mode == ("markers" if number == 2 else "lines+markers+text")
    assert [arrow.text[1] for arrow in arrows] == ["0", "1", "2"]


def test_directions_of_no_panel_are_refused():
    with pytest.raises(ValueError, match="no panels"):
        plot_directions({}, "found", x_title="x", y_title="y")
