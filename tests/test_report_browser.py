"""The page in a real browser: it sorts, links, copies and darkens, without an error in its console."""

import json
import re
import shutil
import subprocess

import pytest
import report_runs as fabricate

from powmix.report.__main__ import main

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium here")]

DRIVER = """
<script>
const seen = {errors: []};
addEventListener("error", (event) => seen.errors.push(event.message));
addEventListener("load", () => {
  const table = document.querySelector("h3 + .card table.sortable");
  const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const scores = () => [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[4].dataset.value));
  table.querySelectorAll("thead th")[4].click();
  seen.ascending = scores();
  table.querySelectorAll("thead th")[4].click();
  seen.descending = scores();
  table.querySelectorAll("thead th")[0].click();
  seen.names = names();
  const link = table.tBodies[0].rows[0].querySelector("a");
  location.hash = link.getAttribute("href");
  seen.copied = {};
  document.execCommand = (what) => {
    if (what === "copy") seen.copied[seen.asked] = document.activeElement.value;
    return true;
  };
  document.querySelector(".copy").querySelectorAll("button").forEach((button) => {
    seen.asked = button.dataset.copy;
    button.click();
  });
  const ground = () => getComputedStyle(document.body).backgroundColor;
  const ink = () => getComputedStyle(document.querySelector("figure svg")).getPropertyValue("--ink");
  document.documentElement.dataset.theme = "light";
  seen.light = [ground(), ink()];
  document.getElementById("theme").click();
  seen.dark = [ground(), ink()];
  setTimeout(() => {
    seen.opened = document.querySelector(location.hash).open;
    const told = document.createElement("pre");
    told.id = "told";
    told.textContent = JSON.stringify(seen);
    document.body.append(told);
  }, 300);
});
</script>
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """(what the driver saw, the browser's log) of the page on 60 variants, without a network."""
    root = tmp_path_factory.mktemp("browser")
    sweep = fabricate.write_many(root)
    assert main([str(sweep), "--figures", "comparison"]) == 0
    page = (sweep / "report.html").read_text("utf-8")
    (root / "driven.html").write_text(page.replace("<body>", "<body>" + DRIVER, 1), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={root / 'profile'}"]
    command += ["--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000"]
    address = (root / "driven.html").as_uri()
    done = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, timeout=120)
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert told, done.stderr[-2000:]
    text = told[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return json.loads(text), done.stderr


def test_the_console_stays_empty(opened):
    seen, log = opened
    assert seen["errors"] == [] and "CONSOLE" not in log


def test_a_click_on_a_heading_sorts_both_ways(opened):
    seen, _ = opened
    assert len(seen["ascending"]) == 15 and seen["ascending"] == sorted(seen["ascending"])
    assert seen["descending"] == seen["ascending"][::-1]
    assert seen["names"] == sorted(seen["names"], key=str.lower)


def test_a_number_opens_the_run_behind_it(opened):
    assert opened[0]["opened"] is True


def test_a_table_is_copied_in_three_formats(opened):
    copied = opened[0]["copied"]
    assert copied["LaTeX"].count(r"\begin{tabularx}") == 1 and copied["Markdown"].startswith("## MOSI")
    assert copied["CSV"].startswith("dataset,model,") and len(copied["CSV"].splitlines()) == 16


def test_dark_changes_the_ground_and_the_ink_of_figures(opened):
    seen, _ = opened
    assert seen["light"] == ["rgb(251, 251, 250)", "#1b2430"] and seen["dark"] == ["rgb(17, 21, 27)", "#e6eaf0"]
