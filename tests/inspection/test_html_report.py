# SPDX-License-Identifier: BSD-3-Clause
"""The report: one HTML file whose numbers are those of the tables."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import ndimage

from psmlearn.datasets import make_nuclei
from psmlearn.inspection import report_html
from psmlearn.inspection._report_svg import (
    count_bins,
    histogram_edges,
    outline_paths,
)
from psmlearn.io import write_image, write_labels, write_table
from psmlearn.measure import labelling_index, nuclei_table
from psmlearn.metrics import segmentation_report

HOSTILE = "<img src=x onerror=alert(1)>.png"
_VOID = {"meta", "img", "br", "link"}


class Tree(HTMLParser):
    """Checks that elements are closed in order, and keeps what is in them."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.cells: list[list[list[tuple[str, str]]]] = []  # table, row, cell
        self.data: list[dict] = []
        self.kinds: list[tuple[str, str]] = []
        self.depth = 1 << 30  # of the warning that is read

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "table":
            self.cells.append([])
        elif tag == "tr":
            self.cells[-1].append([])
        elif tag in ("td", "th"):
            self.cells[-1][-1].append((dict(attrs).get("data-v", ""), ""))
        elif tag == "li" and "data-kind" in dict(attrs):
            self.kinds.append((dict(attrs)["data-kind"], ""))
            self.depth = len(self.open)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if len(self.open) == self.depth:
            self.depth = 1 << 30
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            if ("script", {"type": "application/json"}) == self.tags[-1]:
                self.data.append(json.loads(data))
            return
        if self.open and self.open[-1] != "style":
            self.texts.append(data)
            if {"td", "th"} & set(self.open):
                value, text = self.cells[-1][-1][-1]
                self.cells[-1][-1][-1] = (value, text + data)
            if len(self.open) >= self.depth:
                kind, text = self.kinds[-1]
                self.kinds[-1] = (kind, text + data)

    def of_kind(self, kind):
        return [text for each, text in self.kinds if each == kind]

    def images(self):
        """Rows of the table of images by the names of the images."""
        head, *rows = self.cells[0]
        titles = [text for _, text in head]
        return {
            row[1][1]: dict(zip(titles, (value for value, _ in row), strict=True))
            for row in rows
        }


def read(path):
    text = path.read_text(encoding="utf-8")
    tree = Tree()
    tree.feed(text)
    tree.close()
    assert not tree.open
    return text, tree


@pytest.fixture(scope="module")
def nuclei():
    return make_nuclei(n_images=3, shape=(160, 160), n_nuclei=30, random_state=0)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "report.html"


def test_good_images_have_no_warnings_and_load_nothing(nuclei, target):
    report_html(target, nuclei.images, nuclei.masks, pixel_size=0.25)
    text, tree = read(target)
    assert not tree.kinds
    assert "Nothing to warn of." in tree.texts
    for _, attributes in tree.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            address = attributes.get(name, "#")
            assert address.startswith(("#", "data:image/jpeg;base64,"))
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert not re.search(r"https?://|//[a-z]|@import|url\(", text)
    policy = next(
        attributes["content"]
        for tag, attributes in tree.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    anchors = [attributes["id"] for _, attributes in tree.tags if "id" in attributes]
    assert len(anchors) == len(set(anchors))
    links = {a["href"] for tag, a in tree.tags if tag == "a"}
    assert {link[1:] for link in links} <= set(anchors)


def test_numbers_are_those_of_the_tables(nuclei, target):
    tables = [nuclei_table(m, i, pixel_size=0.5) for m, i in _pairs(nuclei)]
    tables[1]["confidence"] = np.linspace(0.2, 0.9, len(tables[1]["label"]))
    report_html(
        target,
        nuclei.images,
        nuclei.masks,
        tables=[tables[0], tables[1], None],
        names=["a", "b", "c"],
        pixel_size=0.5,
    )
    _, tree = read(target)
    rows = tree.images()
    assert list(rows) == ["a", "b", "c"]
    area = 160 * 160 * 0.5**2 / 1e6
    for name, table in zip("abc", tables, strict=True):
        row = rows[name]
        assert float(row["Nuclei"]) == len(table["label"])
        assert_allclose(float(row["Nuclei on a mm²"]), len(table["label"]) / area)
        median = np.median(table["area_um2"])
        assert_allclose(float(row["Area, median (µm²)"]), median, rtol=1e-6)
        assert row["Warnings"] == "0"
    assert_allclose(float(rows["b"]["Confidence, median"]), 0.55)
    assert rows["a"]["Confidence, median"] == ""
    assert len(tree.data) == 3
    for table, data in zip(tables, tree.data, strict=True):
        titles = dict(zip(data["titles"], data["values"], strict=True))
        assert titles["Label"] == table["label"].tolist()
        assert_allclose(titles["Area (µm²)"], table["area_um2"], rtol=1e-4)
        assert_allclose(titles["Solidity"], table["solidity"], rtol=1e-4)
        assert_allclose(data["rows"], table["centroid_row"], atol=0.051)
    total = sum(len(table["label"]) for table in tables)
    assert f"{total:,}" in tree.texts


def _pairs(nuclei):
    return zip(nuclei.masks, nuclei.images, strict=True)


def test_tables_may_come_from_pandas_and_csv_with_old_names(nuclei, target, tmp_path):
    pandas = pytest.importorskip("pandas")
    one, other = (nuclei_table(mask, pixel_size=0.25) for mask in nuclei.masks[:2])
    write_table(tmp_path / "b.csv", other)
    old = {"label": one["label"], "area": one["area_um2"]}
    report_html(
        target,
        None,
        list(nuclei.masks[:2]),
        tables=[pandas.DataFrame(old), tmp_path / "b.csv"],
        pixel_size=0.25,
    )
    _, tree = read(target)
    assert tree.data[0]["titles"] == ["Label", "Area (µm²)"]
    assert_allclose(tree.data[0]["values"][1], one["area_um2"], rtol=1e-4)
    assert_allclose(tree.data[0]["rows"], one["centroid_row"], atol=0.051)
    assert tree.data[1]["values"][0] == other["label"].tolist()
    assert [kind for kind, _ in tree.kinds] == ["image"]  # there are no images


def test_texts_from_outside_are_escaped(nuclei, target):
    evil = "</script><script>alert(1)</script>\"'&"
    labels = np.stack([nuclei.masks[0], (nuclei.masks[0] > 0) * 3], axis=-1)
    table = nuclei_table(labels, pixel_size=0.25)
    table[f"mean_{evil}"] = np.ones(len(table["label"]))
    report_html(
        target,
        [nuclei.images[0]],
        [labels],
        tables=[table],
        names=[HOSTILE],
        pixel_size=0.25,
        class_names={3: evil},
        title=evil + "\u202e\udc80",
        parameters={evil: [evil, {evil: evil}], "n": list(range(20))},
    )
    text, tree = read(target)
    assert [tag for tag, _ in tree.tags].count("script") == 2
    assert not any("onerror" in attributes for _, attributes in tree.tags)
    assert HOSTILE not in text and evil not in text
    assert any(HOSTILE == each for each in tree.texts)
    assert "\\u202e\\udc80" in text
    main = next(attributes for tag, attributes in tree.tags if tag == "main")
    assert json.loads(main["data-classes"]) == {"3": evil}
    assert sum(evil in each for each in tree.texts) >= 5


def test_images_without_results_are_listed(nuclei, target):
    failures = {f"{n}.png": f"reason {n}" for n in range(52)} | {HOSTILE: HOSTILE}
    given = (target, nuclei.images, nuclei.masks)
    report_html(*given, pixel_size=0.25, failures=failures)
    text, tree = read(target)
    for name, reason in failures.items():
        assert any(name == each.strip() for each in tree.texts)
        assert any(reason == each.strip() for each in tree.texts)
    assert HOSTILE not in text and "3 more" in tree.texts
    assert "53" in tree.texts and "images without results" in tree.texts
    report_html(*given, pixel_size=0.25)
    assert "without results" not in target.read_text(encoding="utf-8")


def test_bad_images_are_warned_of_and_good_ones_not(target, tmp_path):
    rng = np.random.default_rng(0)
    data = make_nuclei(n_images=7, shape=(200, 200), n_nuclei=40, random_state=1)
    images = [np.asarray(image) for image in data.images]
    if images[0].dtype.kind == "f":
        images = [np.rint(image * 255).astype(np.uint8) for image in images]
    labels = [np.array(mask) for mask in data.masks]
    names = ["border", "empty", "blurred", "brown", "gone", "few", "good"]
    images[0] = images[0].copy()
    images[0][:, :30] = 0
    labels[1][:] = 0
    images[2] = ndimage.gaussian_filter(images[2].astype(float), (5, 5, 0)).astype("u1")
    images[3] = _brown(labels[3], rng)
    write_image(tmp_path / "here.png", images[4])
    labels[5][labels[5] > 3] = 0
    sources = [*images[:4], tmp_path / "not-here.png", *images[5:]]
    report_html(target, sources, labels, names=names, pixel_size=0.25)
    _, tree = read(target)
    assert {kind for kind, _ in tree.kinds} == {
        "empty",
        "nothing",
        "focus",
        "staining",
        "image",
        "count",
    }
    for kind, name in (
        ("empty", "border"),
        ("nothing", "empty"),
        ("focus", "blurred"),
        ("staining", "brown"),
        ("image", "gone"),
        ("count", "few"),
    ):
        (told,) = tree.of_kind(kind)
        assert "(1 image)" in told and told.endswith(name), told
    assert "15 % of the image shows nothing" in tree.of_kind("empty")[0]
    rows = tree.images()
    assert [row["Warnings"] for row in rows.values()] == ["1"] * 6 + ["0"]
    shown = 0.85 * 200 * 200 * 0.0625 / 1e6
    n_nuclei = len(np.unique(labels[0])) - 1
    assert_allclose(float(rows["border"]["Nuclei on a mm²"]), n_nuclei / shown)


def _brown(labels, rng):
    """Brown nuclei on pale blue ground."""
    density = np.where(
        labels[..., np.newaxis] > 0, [0.35, 0.7, 1.0], [0.12, 0.08, 0.03]
    )
    density = density + rng.normal(0, 0.02, labels.shape + (1,))
    return np.clip(np.rint(240 * 10 ** -np.maximum(density, 0)), 0, 255).astype(
        np.uint8
    )


def test_pixel_size_that_is_not_known_or_goes_against_the_file(
    nuclei, target, tmp_path
):
    import tifffile

    image = np.asarray(nuclei.images[0])
    if image.dtype.kind == "f":
        image = np.rint(image * 255).astype(np.uint8)
    told, silent = tmp_path / "told.tif", tmp_path / "silent.png"
    tifffile.imwrite(
        told, image, resolution=(20000, 20000), resolutionunit="CENTIMETER"
    )
    write_image(silent, image)
    labels = [nuclei.masks[0]] * 2
    report_html(target, [told, silent], labels)
    _, tree = read(target)
    (found,) = tree.of_kind("pixel size")
    assert "0.25 µm is assumed" in found and found.endswith("silent.png")
    rows = tree.images()
    assert [row["Pixel (µm)"] for row in rows.values()] == ["0.5", "0.25"]
    report_html(target, [told, silent], labels, pixel_size=0.3)
    _, tree = read(target)
    assert [kind for kind, _ in tree.kinds] == ["pixel size against file"]
    assert "the file tells 0.5 µm" in tree.kinds[0][1]
    report_html(target, [told, silent], labels, pixel_size=[None, 3.0])
    _, tree = read(target)
    assert [kind for kind, _ in tree.kinds] == ["size"]


def test_truth_gives_the_scores_of_segmentation_report(nuclei, target):
    pred = [np.roll(mask, 4, axis=0) for mask in nuclei.masks]
    pred[2] = np.where(pred[2] > 12, 0, pred[2])
    report_html(
        target,
        nuclei.images,
        pred,
        truth=list(nuclei.masks),
        names=["a", "b", "c"],
        pixel_size=0.25,
    )
    _, tree = read(target)
    expected = segmentation_report(
        nuclei.masks, pred, names=["a", "b", "c"], output_dict=True
    )["scores"]
    rows = tree.images()
    for title, name in (("F1", "object_f1@0.5"), ("PQ", "pq"), ("AJI", "aji")):
        found = [float(row[title]) for row in rows.values()]
        assert_allclose(found, expected[name]["per_image"], rtol=1e-6)
    scores = {row[0][1]: [value for value, _ in row] for row in tree.cells[1][1:]}
    for title, name in (("AJI", "aji"), ("PQ", "pq"), ("Dice", "dice"), ("SQ", "sq")):
        kinds = [float(value) for value in scores[title][1:5]]
        wanted = [expected[name][k] for k in ("macro", "micro", "std", "worst")]
        assert_allclose(kinds, wanted, rtol=1e-6)
    joined = "".join(tree.texts)
    found = [int(n) for n in re.findall(r"found \((\d+)\)", joined)]
    missed = [int(n) for n in re.findall(r"missed \((\d+)\)", joined)]
    false = [int(n) for n in re.findall(r"false \((\d+)\)", joined)]
    n_true = [len(np.unique(mask)) - 1 for mask in nuclei.masks]
    n_pred = [len(np.unique(mask)) - 1 for mask in pred]
    assert (np.add(found, missed) == n_true).all()
    assert (np.add(found, false) == n_pred).all()
    recall = expected["object_recall@0.5"]["per_image"]
    assert_allclose(np.divide(found, n_true), recall)
    drawn = [a.get("class", "") for tag, a in tree.tags if tag == "path"]
    assert {"o found", "o false", "o missed"} <= set(drawn)


def test_an_image_without_truth_is_told_and_not_scored(nuclei, target):
    report_html(
        target,
        nuclei.images[:2],
        nuclei.masks[:2],
        truth=[None, nuclei.masks[1]],
        pixel_size=0.25,
    )
    _, tree = read(target)
    (told,) = tree.of_kind("truth")
    assert told.endswith("image 1")
    assert [row["PQ"] for row in tree.images().values()] == ["", "1"]


def test_classes_and_labelling_index(nuclei, target):
    labels = []
    for mask in nuclei.masks:
        classes = np.where(mask > 0, np.where(mask % 3 == 0, 1, 2), 0)
        labels.append(np.stack([mask, classes], axis=-1))
    report_html(target, nuclei.images, labels, pixel_size=0.25)
    _, tree = read(target)
    with pytest.warns(UserWarning):
        expected = labelling_index(labels)
    rows = tree.images()
    per_image = expected.per_image
    for place, row in enumerate(rows.values()):
        assert float(row["positive"]) == per_image["n_positive"][place]
        assert float(row["negative"]) == per_image["n_negative"][place]
        share = float(row["Labelling index"])
        assert_allclose(share, per_image["index"][place], rtol=1e-6)
    assert f"{100 * expected.index:.1f} %" in tree.texts
    assert expected.warnings[0] in tree.texts
    drawn = {a.get("class") for tag, a in tree.tags if tag == "path"}
    assert {"o c1", "o c2"} <= drawn
    data = tree.data[0]
    assert data["titles"][data["class"]] == "Class"
    assert set(data["values"][data["class"]]) == {1, 2}
    main = next(attributes for tag, attributes in tree.tags if tag == "main")
    assert json.loads(main["data-classes"]) == {"1": "positive", "2": "negative"}


def test_other_classes_have_names_but_no_index(nuclei, target):
    mask = nuclei.masks[0]
    labels = np.stack([mask, (mask > 0) * 4], axis=-1)
    report_html(target, None, [labels], pixel_size=0.25)
    _, tree = read(target)
    assert "class 4" in tree.texts
    assert not any("abelling index" in text for text in tree.texts)


def test_an_empty_list_and_an_image_without_nuclei(nuclei, target):
    report_html(target, [], [])
    _, tree = read(target)
    assert "Nuclei in 0 images" in tree.texts
    empty = np.zeros_like(nuclei.masks[0])
    report_html(target, nuclei.images[:1], [empty], pixel_size=0.25, truth=[empty])
    _, tree = read(target)
    assert [kind for kind, _ in tree.kinds] == ["nothing"]
    assert not tree.data
    assert "There is no nucleus to draw." in tree.texts


def test_size_is_bounded_and_it_is_told(target):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1200, 1600, 3), dtype=np.uint8)  # hard to compress
    labels = np.zeros((1200, 1600), np.int32)
    rows, columns = np.mgrid[4:1180:14, 4:1580:14]
    for number, (row, column) in enumerate(
        zip(rows.ravel(), columns.ravel(), strict=True), 1
    ):
        labels[row : row + 9, column : column + 9] = number
    report_html(target, [image, image], [labels, labels], max_bytes=1_000_000)
    text, tree = read(target)
    assert len(text.encode()) < 1_000_000
    assert any(
        re.match(r"Shown at \d+ % of its size, 1600 × 1200", t) for t in tree.texts
    )
    assert any(", the first " in each for each in tree.texts)
    n_nuclei = int(labels.max())
    assert [row["Nuclei"] for row in tree.images().values()] == [str(n_nuclei)] * 2


def test_a_report_that_fails_leaves_what_was_there(nuclei, target):
    target.write_text("before")
    with pytest.raises(ValueError, match="pass the labels of this image"):
        report_html(target, [np.zeros((9, 9, 3))], nuclei.masks[:1])
    assert target.read_text() == "before"
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"path": "report.pdf"}, ValueError, "must end in .html"),
        ({"images": [None]}, ValueError, "images holds 1 entries for 3"),
        ({"truth": []}, ValueError, "truth holds 0 entries for 3"),
        ({"tables": {"label": [1]}}, TypeError, "tables must be a list"),
        ({"tables": [{"a": [1]}] * 3}, ValueError, "column 'label'"),
        ({"tables": [3] * 3}, TypeError, "a dict of columns"),
        ({"names": ["a"]}, ValueError, "names holds 1"),
        ({"pixel_size": 50.0}, ValueError, "pixel_size"),
        ({"pixel_size": [0.5]}, ValueError, "pixel_size has 1 entries for 3"),
        ({"class_names": ["a"]}, TypeError, "class_names must be a dict"),
        ({"class_colors": {1: "red"}}, ValueError, "from 0 to 255"),
        ({"iou_threshold": 2}, ValueError, "iou_threshold"),
        ({"parameters": "all"}, TypeError, "parameters must be a dict"),
        ({"failures": ["a"]}, TypeError, "failures must be a dict"),
        ({"max_bytes": 10}, ValueError, "max_bytes"),
    ],
)
def test_bad_parameters(nuclei, target, change, kind, text):
    given = {"path": target, "images": nuclei.images, "labels": nuclei.masks} | change
    with pytest.raises(kind, match=re.escape(text)):
        report_html(**given)
    assert not target.exists()


def test_labels_are_a_list(nuclei, target):
    with pytest.raises(ValueError, match="must be a list of label images"):
        report_html(target, None, nuclei.masks[0])


def test_what_is_passed_may_be_iterators(nuclei, target):
    report_html(target, iter(nuclei.images), iter(nuclei.masks), pixel_size=0.25)
    _, tree = read(target)
    assert len(tree.images()) == 3 and not tree.kinds


def test_a_broken_image_is_told(nuclei, target, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    small = tmp_path / "small.png"
    write_image(small, np.zeros((8, 8, 3), np.uint8))
    write_labels(tmp_path / "l.tif", nuclei.masks[0])
    report_html(target, [broken, small], [tmp_path / "l.tif"] * 2, pixel_size=0.25)
    _, tree = read(target)
    (told,) = tree.of_kind("image")
    assert "broken.png" in told and "pass the labels of this image" in told


def test_bins_hold_all_values():
    rng = np.random.default_rng(0)
    values = np.append(rng.lognormal(3, 1, 1000), [np.nan, 1e6])
    edges = histogram_edges(values)
    assert count_bins(values, edges).sum() == 1001
    assert 20 <= len(edges) <= 80
    assert histogram_edges(np.array([np.nan])) is None
    assert count_bins(np.full(3, 7.0), histogram_edges(np.full(3, 7.0))).sum() == 3


def test_outlines_keep_to_their_objects():
    """A path holds about the pixels of its object, at any length that is asked for."""
    rows, columns = np.mgrid[:80, :80]
    disc = (np.hypot(rows - 40, columns - 30) < 20).astype(np.int32)
    for max_chars in (10_000, 120):
        paths, unit = outline_paths(disc, {1: "o"}, unit=0.5, max_chars=max_chars)
        assert len(paths["o"]) <= 120 or max_chars == 10_000
        start, steps = re.fullmatch(r"M(\d+ \d+)l(.*)z", paths["o"]).groups()
        numbers = [int(n) for n in re.findall(r"-?\d+", steps)]
        points = np.cumsum(
            [[int(n) for n in start.split()], *np.reshape(numbers, (-1, 2))], 0
        )
        x, y = points.T * unit
        area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
        assert_allclose(area, disc.sum(), rtol=0.12)
        assert_allclose([x.mean(), y.mean()], [30.5, 40.5], atol=2)


def _picture(kind, rng):
    shape = (40, 50)
    if kind == "rgba":
        rgba = rng.integers(0, 256, (*shape, 4), dtype=np.uint8)
        rgba[..., 3] = np.where(np.arange(50) < 25, 0, 255)
        return rgba
    return {
        "grey": lambda: rng.integers(0, 256, shape, dtype=np.uint8),
        "16 bits": lambda: rng.integers(0, 65536, (*shape, 3), dtype=np.uint16),
        "stack with a map": lambda: rng.random((*shape, 5)),
        "bool": lambda: rng.random(shape) > 0.5,
        "black": lambda: np.zeros((*shape, 3), np.uint8),
        "white": lambda: np.full((*shape, 3), 255, np.uint8),
    }[kind]()


@pytest.mark.parametrize(
    "kind", ["grey", "16 bits", "stack with a map", "bool", "black", "white", "rgba"]
)
def test_images_of_any_kind_are_shown(kind, target):
    labels = np.zeros((40, 50), np.int32)
    labels[3:9, 4:12], labels[20:30, 30:44], labels[35:] = 5, 2**31 - 1, -1
    image = _picture(kind, np.random.default_rng(0))
    report_html(target, [image], [labels], pixel_size=0.25)
    _, tree = read(target)
    assert [row["Nuclei"] for row in tree.images().values()] == ["2"]
    assert tree.data[0]["values"][0] == [5, 2**31 - 1]
    shown = [a["href"] for tag, a in tree.tags if tag == "image"]
    assert len(shown) == 1 and shown[0].startswith("data:image/jpeg;base64,")
    hidden = tree.of_kind("empty")
    assert bool(hidden) == (kind in ("black", "white", "rgba"))


def test_the_picture_is_that_of_the_image(target):
    """What is embedded is the image, to the accuracy of JPEG."""
    import base64
    import io

    from PIL import Image

    image = make_nuclei(n_images=1, shape=(120, 90), random_state=0).images[0]
    report_html(target, [image], [np.zeros((120, 90), np.int32)], pixel_size=0.25)
    _, tree = read(target)
    (address,) = [a["href"] for tag, a in tree.tags if tag == "image"]
    data = base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))
    shown = np.asarray(Image.open(io.BytesIO(data))).astype(float)
    assert shown.shape == (120, 90, 3)
    given = np.asarray(image, float) * (1 if np.asarray(image).max() > 1 else 255)
    assert np.abs(shown - given).mean() < 6
