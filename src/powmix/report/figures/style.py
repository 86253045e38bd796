"""One look for every figure: a colour-blind safe palette (Okabe and Ito), a mixer's colour, panels, saving."""

import hashlib
import html
import io
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import matplotlib

matplotlib.use("Agg", force=False)
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powmix.metrics.columns import Metric
from powmix.mixing.registry import COLOURS
from powmix.report.table import Table
from powmix.runs.files import replacing
from powmix.runs.records import Record

Found = TypeVar("Found")

INK = "#1b2430"
SOFT = "#6e7787"
RULE = "#d5dae2"
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6bb1", "#b8a000")
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
    "figure.dpi": 100,
}


def context():
    """Settings of every figure, for a `with` around drawing and saving."""
    return matplotlib.rc_context(cast(Any, SETTINGS))


def color(record: Record, index: int = 0) -> str:
    """A mixer keeps its colour in every figure; ablations and unknown mixers take the palette's by index."""
    if record.ablation:
        return PALETTE[(index + 1) % len(PALETTE)]
    return COLOURS.get(record.mixer, PALETTE[index % len(PALETTE)])


def colors(records: list[Record]) -> list[str]:
    """One colour per record of one panel: its mixer's, or another where the mixer's is taken."""
    taken: list[str] = []
    for record in records:
        wanted = [color(record), *PALETTE, INK]
        taken.append(next((c for c in wanted if c not in taken), PALETTE[len(taken) % len(PALETTE)]))
    return taken


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


def metric_panels(
    found: Mapping[str, Found], table: Table, record_of: Callable[[Found], Record], width: float = 4.4
) -> tuple[Figure, list[tuple[Axes, str, Found, Metric]]]:
    """A figure with the metrics of each thing found side by side: (axes, title, what was found, metric) per panel."""
    places = [(title, one, m) for title, one in found.items() for m in table.drawn(record_of(one))]
    figure, axes = panels(len(places), width, columns=3 if table.asked else 2)
    return figure, [(axis, *place) for axis, place in zip(axes, places)]


def legend(figure: Figure, axes: list[Axes]) -> None:
    """One legend above all panels, each name once, in as many columns as the figure is wide."""
    found: dict[str, object] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels()):
            found.setdefault(label, handle)
    if not found:
        return
    handles, labels = cast(Any, list(found.values())), list(found)
    for columns in range(min(len(found), 6), 0, -1):
        made = figure.legend(handles, labels, loc="outside upper left", ncols=columns, **SPACING)
        if columns == 1 or made.get_window_extent().width < 0.97 * figure.bbox.width:
            return
        made.remove()


def footnote(figure: Figure, text: str) -> None:
    """What a reader must know, below the panels: the number of seeds above all."""
    fitting = textwrap.fill(text, int(figure.get_figwidth() * 16))
    figure.supxlabel(fitting, x=0.01, ha="left", fontsize=8, color=SOFT)


def seeds_note(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"n = {low} seed{'s' * (low != 1)}" if low == high else f"n = {low} to {high} seeds"


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """name.svg and name.png under `folder`, on transparent and on white ground."""
    vector = svg(figure, name).encode()
    figure.set_layout_engine("none")  # laid out once, the costly part
    content = {folder / f"{name}.svg": vector, folder / f"{name}.png": png(figure)}
    for path, data in content.items():
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    return list(content)


def png(figure: Figure, dpi: int = 160) -> bytes:
    file = io.BytesIO()
    with context():
        figure.savefig(file, format="png", dpi=dpi, facecolor="white")
    return file.getvalue()


def svg(figure: Figure, name: str) -> str:
    """SVG text, the same for the same figure: no date, ids from its name."""
    file = io.StringIO()
    with context(), matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
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
