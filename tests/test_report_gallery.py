"""The gallery: it shows every table and figure, by commands that exist, on a page whose links hold."""

import importlib.util
import re
from pathlib import Path

import pytest

from powmix.command.overrides import check_command
from powmix.report.figures.entries import ENTRIES

pytestmark = pytest.mark.usefixtures("composed_once")
ROOT = Path(__file__).resolve().parents[1]
PRESETS = {path.stem for path in (ROOT / "sweeps").glob("*.yaml")}
SHOWN = sorted(name for name in PRESETS if re.match(r"table\d|figure\d|demo|regularity", name))
PAGE = ROOT / "docs/gallery/README.md"


@pytest.fixture(scope="module")
def gallery():
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "docs/gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(text: str, gallery) -> set[str]:
    return {gallery.anchor(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_every_table_and_figure_preset_has_an_exhibit(gallery):
    assert set(SHOWN) <= {exhibit.sweep for exhibit in gallery.EXHIBITS} <= PRESETS


def test_every_figure_is_drawn_but_that_of_a_search_and_those_of_the_atlas(gallery):
    elsewhere = {"p_mix", "forest", "variance"}
    assert {exhibit.figure for exhibit in gallery.EXHIBITS} == {entry.name for entry in ENTRIES} - elsewhere
    atlas = (ROOT / "docs/atlas.md").read_text("utf-8")
    assert "![" in atlas and all(name in atlas for name in ("--figures forest", "--figures variance"))


@pytest.mark.parametrize("name", SHOWN)
def test_an_exhibits_command_is_legal_and_its_preset_tells_the_page_what_it_shows(gallery, name):
    exhibit = next(one for one in gallery.EXHIBITS if one.sweep == name)
    assert check_command(gallery.command(exhibit)[2:]) == []
    about = gallery.header(name)
    assert len(about.prose) > 40 and not re.search(r"powmix (-m|dataset=)", about.prose)
    assert all(f"sweeps={name}" in line or "mixer=none" in line for line in about.commands) and about.commands


def test_the_page_shows_every_exhibit_and_its_links_resolve(gallery):
    text = PAGE.read_text("utf-8")
    for exhibit in gallery.EXHIBITS:
        assert re.search(
            rf"^## {re.escape(exhibit.title)}\n\n!\[[^]]+\]\(\S*{exhibit.name}\.png\)$", text, re.MULTILINE
        )
        about = gallery.header(exhibit.sweep)
        assert exhibit.text or all(words in text for words in (about.prose, *about.commands)), exhibit.name
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("#"):
            assert link[1:] in anchors(text, gallery), link
        else:
            assert (PAGE.parent / link).is_file(), link


def test_the_gallery_is_small_holds_nothing_else_and_names_no_machine(gallery):
    files = set(PAGE.parent.iterdir())
    demo, *others = map(gallery.picture, gallery.EXHIBITS)
    assert files == {PAGE, *others} and demo.is_file()
    assert sum(file.stat().st_size for file in files) < 2_000_000
    assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work|Users)/", PAGE.read_text("utf-8"))


def test_an_analysis_section_quotes_its_own_verdict_and_a_table_section_those_on_the_test_metrics(gallery):
    told = "# t\n\n- PowMix (X): it helps.\n- Frames lost, averaged over p > 0 (X): no.\n- Text lost (X): no.\n\n## X\n"
    assert gallery.verdicts(["noise"], told) == "- Frames lost, averaged over p > 0 (X): no."
    assert gallery.verdicts([], "- PowMix (X): it helps.\n- Regularity (X): no.\n\n## X\n") == "- PowMix (X): it helps."
