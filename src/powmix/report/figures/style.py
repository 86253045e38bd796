"""One look for every figure: a colour-blind safe palette (Okabe and Ito), a variant's look, panels, legends, saving."""

import hashlib
import html
import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import matplotlib

matplotlib.use("Agg", force=False)
from fontTools import subset
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from powmix.mixing.registry import COLOURS
from powmix.mixing.registry import TITLES as MIXERS
from powmix.report.table import Table
from powmix.runs.files import replacing

INK = "#1b2430"
SOFT = "#6e7787"
RULE = "#d5dae2"
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6bb1", "#b8a000")
SHADES = ((0, 0.0), (1, 0.4), (0, 0.3), (1, 0.65), (0, 0.5))
"""(0 black | 1 white, the share of it)"""
MAX_KEY = 22
"""Letters of a label that may stand at an axis as it is."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

PAD = 0.05  # inches around every panel
SPACING = {"columnspacing": 1.0, "handlelength": 1.6, "handletextpad": 0.5}  # of a legend, in its font's sizes

SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # where it is placed anyway, without measuring every axis for it
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "figure.dpi": 100,
}


def context():
    """Settings of every figure, for a `with` around drawing and saving."""
    return matplotlib.rc_context(cast(Any, SETTINGS))


@dataclass(frozen=True)
class Look:
    """How a variant is shown in every figure. key: its label, or a short name where that is long."""

    key: str
    label: str
    color: str
    marker: str

    @property
    def told(self) -> str:
        """The label, behind its key where they differ."""
        return (
            self.label if self.key == self.label else f"{self.key}: {self.label.partition(' (')[2].removesuffix(')')}"
        )


def looks(table: Table) -> dict[str, Look]:
    """{signature: look}: a label has one look all over the table; a mixer's variants share its colour, in shades."""
    families: dict[str, dict[str, None]] = {}
    for row in table.rows:
        families.setdefault(row.record.mixer, {}).setdefault(row.label)
    found = {}
    for place, (mixer, names) in enumerate(families.items()):
        long = [label for label in names if len(label) > MAX_KEY]
        keys = {label: f"{MIXERS.get(mixer, mixer)} {i}" for i, label in enumerate(long, 1)}
        for i, label in enumerate(names):
            found[mixer, label] = Look(keys.get(label, label), label, shade(mixer, i, place), marker(i))
    return {row.record.signature: found[row.record.mixer, row.label] for row in table.rows}


def shade(mixer: str, index: int, place: int = 0) -> str:
    """A mixer's colour (of an unknown one the palette's by place), lighter or darker by index; repeats after five."""
    color = COLOURS.get(mixer, PALETTE[place % len(PALETTE)])
    ground, share = SHADES[index % len(SHADES)]
    red, green, blue = ((1 - share) * one + share * ground for one in to_rgb(color))
    return to_hex((red, green, blue))


def marker(index: int) -> str:
    """One of eight; with the five shades, 40 variants of a mixer are told apart."""
    return MARKERS[index % len(MARKERS)]


def panels(count: int, width: float = 4.4, height: float = 3.2, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most `columns` side by side, the rows as even as they can be."""
    tall = -(-count // columns)
    wide = -(-count // tall)
    figure = Figure(figsize=(width * wide, height * tall), layout="constrained")
    cast(Any, figure.get_layout_engine()).set(w_pad=PAD, h_pad=PAD)
    axes = figure.subplots(tall, wide, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def legend(figure: Figure, axes: list[Axes]) -> None:
    """One legend above all panels, each name once, in as many columns as the figure is wide, which grows by it."""
    found: dict[str, object] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels()):
            found.setdefault(label, handle)
    if not found:
        return
    usual = sum(map(len, found)) / len(found)
    likely = max(1, min(len(found), 6, int(figure.get_figwidth() * 72 / (usual * 4.2 + 24))))
    handles, labels = cast(Any, list(found.values())), list(found)
    for columns in range(likely, 0, -1):
        made = figure.legend(handles, labels, loc="outside upper left", ncols=columns, **SPACING)
        box = made.get_window_extent()
        if columns == 1 or box.width < 0.97 * figure.bbox.width:
            figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
            return
        made.remove()


def keys(figure: Figure, axes: Axes, shown: Sequence[Look]) -> None:
    """Above the panels, what the short names at the axes stand for."""
    for look in dict.fromkeys(shown):
        if look.key != look.label:
            axes.add_artist(Line2D([], [], color=look.color, marker=look.marker, linestyle="", label=look.told))
    legend(figure, [axes])


def footnote(figure: Figure, text: str) -> None:
    """What a reader must know, below the panels: the number of seeds above all."""
    fitting = textwrap.fill(text, int(figure.get_figwidth() * 16))
    figure.supxlabel(fitting, x=0.01, ha="left", fontsize=8, color=SOFT)


def seeds_note(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"n = {low} seed{'s' * (low != 1)}" if low == high else f"n = {low} to {high} seeds"


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """name.svg, name.png and name.pdf under `folder`, the PNG on white ground."""
    vector = svg(figure, name).encode()
    content = {folder / f"{name}.svg": vector, folder / f"{name}.png": png(figure), folder / f"{name}.pdf": pdf(figure)}
    for path, data in content.items():
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    return list(content)


def laid_out(figure: Figure) -> Figure:
    """The figure with its layout settled once, which is as costly as drawing it: `savefig` would do it every time."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.execute(figure)
        figure.set_layout_engine("none")
    return figure


def png(figure: Figure, dpi: int = 160) -> bytes:
    """PNG on white ground."""
    file = io.BytesIO()
    with context():
        canvas, before = FigureCanvasAgg(laid_out(figure)), figure.dpi
        figure.set(dpi=dpi, facecolor="white")
        canvas.print_png(file)
        figure.set_dpi(before)
    return file.getvalue()


def pdf(figure: Figure) -> bytes:
    """PDF for a paper, the same for the same figure; its letters are real ones (fonts of type 42)."""
    file = io.BytesIO()
    with context(), _fonts_without_shaping():
        canvas = FigureCanvasPdf(laid_out(figure))
        figure.set(facecolor="none")
        canvas.print_pdf(file, metadata={"CreationDate": None})
    return file.getvalue()


@contextmanager
def _fonts_without_shaping() -> Iterator[None]:
    """Fonts go into a file without their rules for ligatures and the like: a PDF places every letter itself.

    To reduce those rules to the letters used took more than half of the time of writing a PDF.
    """
    before = subset.Options._drop_tables_default
    subset.Options._drop_tables_default = [*before, "GSUB", "GPOS", "GDEF", "MATH"]
    try:
        yield
    finally:
        subset.Options._drop_tables_default = before


def svg(figure: Figure, name: str) -> str:
    """SVG text on transparent ground, the same for the same figure: no date, ids from its name."""
    file = io.StringIO()
    with context(), matplotlib.rc_context({"svg.hashsalt": name}):
        canvas = FigureCanvasSVG(laid_out(figure))
        parts: tuple[Any, ...] = (figure, *figure.axes)
        for part in parts:
            part.set_facecolor("none")
        canvas.print_svg(file, metadata={"Date": None, "Creator": None})
    return file.getvalue()


def inline(text: str, title: str) -> str:
    """An SVG file's text -> an element for a page: no prologue or metadata, ink that follows the page's colours."""
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    for hex_color, name in ((INK, "--ink"), (SOFT, "--soft"), (RULE, "--rule"), (PALETTE[0], "--blue")):
        body = body.replace(hex_color, f"var({name})")
    salt = hashlib.sha256(title.encode()).hexdigest()[:6]
    body = re.sub(r'\bid="([^"]+)"', rf'id="{salt}-\1"', body)
    body = re.sub(r'xlink:href="#', f'xlink:href="#{salt}-', body)
    body = body.replace("url(#", f"url(#{salt}-")
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)[0]
    size = f'viewBox="0 0 {width} {height}" style="max-width:{float(width) * 1.4:.0f}px"'
    head = f'<svg {size} role="img" aria-label="{html.escape(title)}"'
    body = re.sub(r"<svg[^>]*>", f'{head} xmlns:xlink="http://www.w3.org/1999/xlink">', body, count=1)
    return body
