"""A notebook as one HTML page that needs nothing else: no network, no Jupyter, no file beside it.

It is for somebody who has not read the book: exercises and what the book tells its reader to do are
left out, and code is folded. It shows what was saved in the notebook. Formulas become MathML,
plotly's figures stay alive, views of attention too; a rule in the page itself forbids the browser
to load anything from elsewhere.
"""

import html
import json
import os
import re
from pathlib import Path

from circuitbook.train import write_atomically

SUFFIX = ".ipynb"
COURSE = "course"  # the tag of cells that are for whoever works through the book
HEADING = re.compile(r"(#+)\s+(Exercise\b)?")
MADE_BY = '<meta name="generator" content="circuitbook.export">'
# The browser loads nothing: styles, scripts and pictures of this page stand in it.
RULE = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; media-src data:; worker-src blob:"
)
PLOTLY, WIDGET = "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"
STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #f4f4f4; --line: #ddd;
  --link: #0a58ca; --comment: #667; --word: #a31560; --text: #176d2b; --number: #1a5fb4; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #171717; --faint: #222;
  --line: #444; --link: #7ab0ff; --comment: #999; --word: #f191c6; --text: #8fd49b;
  --number: #9cc4ff; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.55 Georgia, "Times New Roman", serif; }
main { max-width: 52rem; margin: 0 auto; padding: 2rem 1.2rem 5rem; }
h1, h2, h3, h4 { line-height: 1.25; margin: 2.2em 0 0.6em; }
h1 { margin-top: 0.5em; }
h1, h2, h3, h4, table, .output_area { font-family: Helvetica, Arial, sans-serif; }
a { color: var(--link); }
pre, code { font: 13px/1.45 Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
code { background: var(--faint); padding: 0 0.2em; border-radius: 3px; }
pre code { background: none; padding: 0; }
.rendered_html pre { background: var(--faint); padding: 0.6em 0.8em; border-radius: 4px; }
.input_area { background: var(--faint); border: 1px solid var(--line); border-radius: 4px;
  padding: 0.6em 0.8em; margin: 0.3em 0 0.4em; }
summary { color: var(--comment); cursor: pointer; width: max-content;
  font: 13px Helvetica, Arial, sans-serif; }
.output_area { margin: 0.5em 0; font-size: 14px; line-height: 1.4; overflow-x: auto; }
.output_stderr, .output_error { border-left: 4px solid #d55e00; padding-left: 0.6em; }
blockquote { margin: 1em 0; padding-left: 1em; border-left: 4px solid var(--line); }
table { border-collapse: collapse; font-size: 14px; margin: 0.8em 0; }
th, td { padding: 0.25em 0.7em; border-bottom: 1px solid var(--line); }
img { max-width: 100%; height: auto; }
math { font-size: 1em; }
math[display="block"] { margin: 1em 0; overflow-x: auto; overflow-y: hidden; }
.figure { background: white; color: #222; border-radius: 4px; overflow-x: auto; }
.input_area .c, .input_area .c1, .input_area .ch { color: var(--comment); font-style: italic; }
.input_area .k, .input_area .kn, .input_area .kc, .input_area .ow { color: var(--word); }
.input_area .s, .input_area .s1, .input_area .s2, .input_area .sa, .input_area .sd,
.input_area .si, .input_area .se { color: var(--text); }
.input_area .mi, .input_area .mf { color: var(--number); }
@media print { .output_area { overflow: visible; } main { max-width: none; } }
"""
FOLDED = """{% extends "basic/index.html.j2" %}{% block input %}
<details><summary>code</summary><div class="input_area">
{{ cell.source | highlight_code(metadata=cell.metadata) | clean_html }}
</div></details>{% endblock %}"""
# The picture that was stored stands there until plotly has drawn the figure.
DRAW = """
for (const place of document.querySelectorAll(".figure[data-figure]")) {
  const figure = JSON.parse(place.querySelector("script").textContent);
  const drawing = document.createElement("div");
  place.prepend(drawing);
  const options = {responsive: true, displaylogo: false, ...figure.config};
  Plotly.newPlot(drawing, figure.data, figure.layout, options).then(
    () => place.querySelectorAll("img").forEach(picture => picture.remove()),
    () => drawing.remove());
}
"""


def export(notebook: object = None, to: object = None) -> Path:
    """The path of a page that shows a notebook as it was last saved, `to` or beside the notebook.

    Exercises and cells tagged `course` are left out, code is folded. Without a name, the notebook
    that calls this. Raises ValueError where there is no such notebook, where none of its cells has
    an output, and where a file stands at `to` that `export` has not made; what stood there before
    stays until the page is whole.
    """
    path = notebook_path(notebook)
    contents = read_notebook(path)
    code = [cell for cell in contents["cells"] if cell["cell_type"] == "code" and cell["source"]]
    if code and not any(cell.get("outputs") for cell in code):
        raise ValueError(
            f"{path.name} has no outputs in its file. Run all cells, save it (Ctrl+S or Cmd+S), "
            "then export it again."
        )
    target = _target(path, to)
    write_atomically(target, page(contents, path).encode())
    return target


def notebook_path(notebook: object) -> Path:
    """Where the notebook is: by its name in this folder, or, without one, the one that asks.

    Raises ValueError where there is none, with the notebooks that there are.
    """
    if notebook is None:
        asking = os.environ.get("JPY_SESSION_NAME", "")
        if not asking.endswith(SUFFIX):
            raise ValueError(
                "Which notebook this is cannot be told here; give its name, such as "
                f'"06_inside_gpt2{SUFFIX}".'
            )
        notebook = asking if Path(asking).is_file() else Path(asking).name
    if not isinstance(notebook, str | os.PathLike):
        raise ValueError(
            f"The notebook is {notebook!r}; give the name of its file, such as "
            f'"06_inside_gpt2{SUFFIX}".'
        )
    path = Path(notebook)
    if path.suffix != SUFFIX or not path.is_file():
        here = sorted(file.name for file in Path().glob(f"*{SUFFIX}"))
        known = f"in this folder there are {', '.join(here)}" if here else "this folder has none"
        raise ValueError(f"There is no notebook {str(notebook)!r}; {known}.")
    return path


def read_notebook(path: Path) -> dict:
    """A notebook's contents as they were last saved, each source and text as one string.

    Raises ValueError where the file is no notebook of format 4.
    """
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        if contents["nbformat"] != 4:
            raise ValueError("of another format")
        for cell in contents["cells"]:
            cell["source"] = _joined(cell["source"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path.name} cannot be read as a notebook ({type(error).__name__}). Save it again in "
            "Jupyter, or take another file."
        ) from None
    return contents


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _target(path: Path, to: object) -> Path:
    """Where the page goes. Raises ValueError where it must not."""
    if not (to is None or isinstance(to, str | os.PathLike)):
        raise ValueError(f'The page cannot go to {to!r}; give the name of a file, "mine.html".')
    target = path.with_suffix(".html") if to is None else Path(to)
    if target.is_dir():
        target = target / path.with_suffix(".html").name
    if target.suffix not in (".html", ".htm"):
        raise ValueError(f"The page cannot go to {str(to)!r}; give a name that ends in .html.")
    if not target.parent.is_dir():
        raise ValueError(f"There is no folder {str(target.parent)!r}; make it, or give another.")
    if target.exists() and MADE_BY.encode() not in target.read_bytes()[:2000]:
        raise ValueError(
            f"{str(target)!r} is there already, and export has not made it. Give another name "
            'with `to="..."`, or move that file away.'
        )
    return target


# The page


def page(contents: dict, path: Path) -> str:
    """A notebook's contents as one HTML page; pictures beside `path` are taken into it."""
    import nbformat

    contents = nbformat.reads(json.dumps(contents), as_version=4)
    contents.cells = _shown_cells(contents.cells)
    for cell in contents.cells:
        for output in cell.get("outputs", ()):
            if "data" in output:
                output.data = _shown(output.data)
    resources = {"metadata": {"path": str(path.parent)}}
    body, _ = _exporter().from_notebook_node(contents, resources)
    scripts = ""
    if 'data-figure=""' in body:
        from plotly.offline import get_plotlyjs

        library = get_plotlyjs().replace("</script", "<\\/script")
        scripts = f"<script>{library}</script><script>{DRAW}</script>"
    loader = ""
    if "window.CircuitsVis" in body:
        from circuitbook.plots.text import _loader

        loader = _loader()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'{MADE_BY}\n<meta http-equiv="Content-Security-Policy" content="{RULE}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(_title(contents, path))}</title>\n<style>{STYLE}</style>\n{loader}"
        f"</head>\n<body>\n<main>\n{body}\n</main>\n{scripts}\n</body>\n</html>\n"
    )


def _shown_cells(cells: list[dict]) -> list[dict]:
    """The cells without those of the course, and without sections whose heading is an exercise's.

    An exercise goes on to the next heading of its rank or a higher one.
    """
    shown, rank = [], 0  # of the exercise's heading, 0 outside
    for cell in cells:
        heading = cell["cell_type"] == "markdown" and HEADING.match(cell["source"])
        if heading and (heading[2] or len(heading[1]) <= rank):
            rank = len(heading[1]) if heading[2] else 0
        if not rank and COURSE not in cell["metadata"].get("tags", ()):
            shown.append(cell)
    return shown


def _title(contents: dict, path: Path) -> str:
    """The first heading, without its marks; the file's name where there is none."""
    for cell in contents["cells"]:
        if cell["cell_type"] == "markdown":
            heading = re.search(r"^#+\s+(.+)$", cell["source"], re.MULTILINE)
            if heading:
                return re.sub(r"[*`$]", "", heading[1]).strip()
    return path.stem


def _shown(bundle: dict) -> dict:
    """What a page can show of an output: figures as HTML, of widgets what stands in for them."""
    bundle = {kind: value for kind, value in bundle.items() if kind != WIDGET}
    if PLOTLY not in bundle:
        return bundle
    figure, picture = bundle[PLOTLY], bundle.get("image/png")
    still = ""
    if picture:
        encoded = "".join(_joined(picture).split())
        still = f'<img alt="the figure as it was stored" src="data:image/png;base64,{encoded}">'
    content = json.dumps(figure, ensure_ascii=False, separators=(",", ":"))
    content = content.replace("<", "\\u003c")  # no tag in it closes the script
    shown = (
        '<div class="figure" data-figure=""><script type="application/json">'
        f"{content}</script>{still}</div>"
    )
    return {"text/html": shown}


def _exporter() -> object:
    """Turns cells into HTML: nbconvert's, but with code folded, formulas as MathML and no link that
    leads nowhere."""
    from jinja2 import DictLoader, pass_context
    from latex2mathml.converter import convert
    from nbconvert.exporters import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
    from traitlets.config import Config

    def formula(body: str, display: str) -> str:
        try:
            return convert(body.strip(), display=display)
        except Exception:  # what a reader typed may be no LaTeX: it is shown as typed
            return f"<code>{html.escape(body)}</code>"

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return formula(body, "inline")

        def block_math(self, body: str) -> str:
            return formula(body, "block")

        def latex_environment(self, name: str, body: str) -> str:
            return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

        def heading(self, text: str, level: int, **attrs: object) -> str:
            name = html.unescape(re.sub(r"<[^>]+>", "", text)).replace(" ", "-")  # as Jupyter's
            return f'<h{level} id="{html.escape(name)}">{text}</h{level}>\n'

        def link(self, text: str, url: str, title: str | None = None) -> str:
            follows = re.match(r"#|https?:|mailto:", url)
            return super().link(text, url, title) if follows else text

        def image(self, text: str, url: str, title: str | None = None) -> str:
            if re.match(r"https?:|//", url):
                return f'{html.escape(text)} (<a href="{html.escape(url)}">picture</a>)'
            return super().image(text, url, title)

    class Exporter(HTMLExporter):
        @pass_context
        def markdown2html(self, context: object, source: str) -> str:
            cell = context.get("cell", {})
            renderer = Renderer(
                escape=False,
                attachments=cell.get("attachments", {}),
                embed_images=True,
                path=context.get("resources", {}).get("metadata", {}).get("path", ""),
            )
            return MarkdownWithMath(renderer=renderer).render(source)

    settings = Config(
        {
            "HTMLExporter": {
                "template_name": "basic",
                "exclude_input_prompt": True,
                "exclude_output_prompt": True,
            },
            "NbConvertBase": {
                "display_data_priority": [
                    *("text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown"),
                    *("text/latex", "text/plain"),
                ]
            },
        }
    )
    folded = DictLoader({"folded.html.j2": FOLDED})
    return Exporter(config=settings, extra_loaders=[folded], template_file="folded.html.j2")
