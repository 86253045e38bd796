"""The figures of 60 variants on one sheet, docs/pictures/sixty_variants.png: python tests/contact_sheet.py."""

import sys
import tempfile
from pathlib import Path

import report_runs as fabricate
from PIL import Image

from powmix.report.__main__ import main

SHEET = Path(__file__).resolve().parents[1] / "docs/pictures/sixty_variants.png"
WIDTH, BESIDE = 1500, 740
FIGURES = ("comparison", "figures/p_mix", "figures/figure4")


def sheet(folder: Path) -> Image.Image:
    """The comparison over the whole width, the others below it, two side by side."""
    pictures = [Image.open(folder / f"{name}.png").convert("RGB") for name in FIGURES]
    widths = [WIDTH, *[BESIDE] * (len(pictures) - 1)]
    scaled = [
        one.resize((width, round(one.height * width / one.width)), Image.LANCZOS)
        for one, width in zip(pictures, widths)
    ]
    made = Image.new("RGB", (WIDTH, scaled[0].height + 20 + max(one.height for one in scaled[1:])), "white")
    made.paste(scaled[0], (0, 0))
    for i, one in enumerate(scaled[1:]):
        made.paste(one, (i * (WIDTH - BESIDE), scaled[0].height + 20))
    return made.quantize(128, Image.Quantize.FASTOCTREE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sweep = fabricate.write_many(Path(place))
        if main([str(sweep), "--figures", "comparison,p_mix,4"]):
            sys.exit(1)
        sheet(sweep).save(SHEET, optimize=True)
