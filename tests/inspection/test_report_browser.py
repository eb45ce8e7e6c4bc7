# SPDX-License-Identifier: BSD-3-Clause
"""The report in a browser: no errors, sorting, zooming, and no overflow."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from psmlearn.datasets import make_nuclei
from psmlearn.inspection import report_html
from psmlearn.measure import nuclei_table

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or chrome")

# Put into a copy of the page, whose policy allows it: what a reader would do.
_PROBE = """
const seen = {};
const step = (name, what) => {
  try { seen[name] = what(); } catch (e) { seen[name] = "failed: " + e; }
};
const first = () => document.querySelector("#images tbody td.name").textContent;
const box = () => document.querySelector(".card svg[tabindex]").getAttribute("viewBox");
const key = k => document.querySelector(".card svg[tabindex]").dispatchEvent(
  new KeyboardEvent("keydown", {key: k, bubbles: true, cancelable: true}));
const press = what => document.querySelector(`.card [data-do="${what}"]`).click();
addEventListener("load", () => setTimeout(() => {
  step("first", first);
  const heads = document.querySelectorAll("#images thead button");
  step("most", () => { heads[2].click(); return first(); });
  step("least", () => { heads[2].click(); return first(); });
  step("whole", box);
  step("in", () => { key("+"); return box(); });
  step("moved", () => { key("ArrowRight"); return box(); });
  step("back", () => { key("0"); return box(); });
  const mode = () => document.querySelector(".view").dataset.mode;
  step("mode", mode);
  step("next", () => { key("o"); return mode(); });
  step("none", () => { press("mode-none"); return getComputedStyle(
    document.querySelector(".card path.o")).display; });
  step("shown", () => { press("mode-nuclei"); return getComputedStyle(
    document.querySelector(".card path.o")).display; });
  step("full", () => { press("full"); const r = document.querySelector(".view")
    .getBoundingClientRect(); const fits = r.width === innerWidth; press("full");
    return fits && !document.querySelector(".view.full"); });
  const details = document.querySelector(".card details.rows");
  details.open = true;
  setTimeout(() => {
    step("rows", () => details.querySelectorAll("tbody tr").length);
    const cell = n => Number(details.querySelector("tbody tr").cells[n].textContent);
    const area = details.querySelectorAll("thead button")[1];
    step("smallest", () => { area.click(); return cell(1); });
    step("largest", () => { area.click(); return cell(1); });
    step("went", () => { details.querySelector("tbody tr").click();
      const row = details.querySelector("tbody tr").cells[0].textContent;
      return document.querySelector(".card svg[tabindex]").dataset.at === row; });
    step("place", box);
    step("odd", () => { document.querySelector(".odd button").click(); return box(); });
    seen.wide = document.documentElement.scrollWidth;
    seen.inner = innerWidth;
    seen.error = document.documentElement.dataset.error || "";
    parent.postMessage(JSON.stringify(seen), "*");
  }, 100);
}, 100));
"""
_FRAME = """<body style="margin:0"><pre id="told"></pre>
<iframe src="{page}" style="border:0;width:{width}px;height:800px"></iframe>
<script>addEventListener("message", e => {{
document.getElementById("told").textContent = e.data; }});</script></body>"""


def browse(page, tmp_path, *arguments):
    """Return the page as it is when its script has run."""
    done = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=6000",
            *arguments,
            "--dump-dom",
            page,
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    data = make_nuclei(n_images=3, shape=(160, 160), n_nuclei=25, random_state=2)
    labels = [np.array(mask) for mask in data.masks]
    labels[1][labels[1] > 5] = 0
    path = tmp_path_factory.mktemp("report") / "report.html"
    report_html(
        path,
        data.images,
        labels,
        truth=list(data.masks),
        names=["<b>a</b>.png", "long_name_" * 12 + ".tif", "c.png"],
        pixel_size=0.25,
        parameters={"inputs": [{"file": "x" * 200, "size": 3}] * 10},
    )
    return path, labels


def test_the_page_runs_under_its_own_policy(made, tmp_path):
    path, labels = made
    dom, console = browse(path.as_uri(), tmp_path)
    assert not console
    root = re.search(r"<html[^>]*>", dom)[0]
    assert 'data-ready="1"' in root and "data-error" not in root
    counts = [len(np.unique(mask)) - 1 for mask in labels]
    shown = re.findall(
        r'<article class="card"[^>]*>.*?<dt>Nuclei</dt><dd>(\d+)', dom, re.S
    )
    assert [int(n) for n in shown] == counts


@pytest.mark.parametrize("way", ["", "d"])
def test_a_link_may_ask_for_an_order(made, tmp_path, way):
    path, labels = made
    dom, console = browse(f"{path.as_uri()}#sort=3{way}", tmp_path)
    assert not console
    table = re.search(r'<section id="images">.*?</section>', dom, re.S)[0]
    rows = re.findall(r"<tr>(?!<t[dh] class=\"thumb\"></td><th).*?</tr>", table, re.S)
    found = [
        int(re.findall(r'<td data-v="([^"]*)"', row)[1])
        for row in rows
        if "data-v" in row
    ]
    counts = sorted(len(np.unique(mask)) - 1 for mask in labels)
    assert found == (counts[::-1] if way else counts)
    word = "descending" if way else "ascending"
    assert f'aria-sort="{word}"' in table


@pytest.mark.parametrize("width", [1280, 400])
def test_what_a_reader_does(made, tmp_path, width):
    path, labels = made
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    probed = tmp_path / "probed.html"
    probed.write_text(
        text.replace("</body>", f"<script>{_PROBE}</script></body>"), encoding="utf-8"
    )
    frame = tmp_path / "frame.html"
    frame.write_text(_FRAME.format(page=probed.as_uri(), width=width), encoding="utf-8")
    dom, console = browse(frame.as_uri(), tmp_path, f"--window-size={width + 40},900")
    assert not console
    told = html.unescape(re.search(r'<pre id="told">(.*?)</pre>', dom, re.S)[1])
    seen = json.loads(told)
    assert seen["error"] == ""
    assert not [each for each in seen.values() if str(each).startswith("failed")]
    assert seen["inner"] == width and seen["wide"] <= width
    assert seen["first"] == "<b>a</b>.png"
    assert seen["least"].startswith("long_name_")
    assert not seen["most"].startswith("long_name_")
    assert seen["whole"] == seen["back"] == "0 0 160 160"
    x, _, w, h = map(float, seen["in"].split())
    assert w < 160 and h < 160 and x > 0
    assert float(seen["moved"].split()[0]) > x
    assert (seen["mode"], seen["next"]) == ("compare", "nuclei")
    assert (seen["none"], seen["shown"]) == ("none", "inline")
    assert seen["full"] is True
    areas = nuclei_table(labels[0], pixel_size=0.25)["area_um2"]
    assert seen["rows"] == len(areas)
    assert seen["smallest"] == pytest.approx(areas.min(), rel=1e-4)
    assert seen["largest"] == pytest.approx(areas.max(), rel=1e-4)
    assert seen["went"] is True
