# SPDX-License-Identifier: BSD-3-Clause
"""Annotations: told or refused, never wrong in silence."""

from __future__ import annotations

import gzip
import json
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from loader_sets import (
    SETS,
    SHAPE,
    annotation,
    corners,
    feature,
    polygon,
    write_aperio,
    write_coco,
    write_cpm,
    write_dsb,
    write_features,
    write_geojson,
    write_label_folder,
    write_pannuke,
)
from PIL import Image
from skimage.draw import polygon as slow_polygon

from psmlearn import datasets
from psmlearn.datasets._aperio import read_aperio_outlines
from psmlearn.datasets._fill import fill_outline, fill_polygon
from psmlearn.datasets._lost import Drawn, Lost, paint
from psmlearn.exceptions import AnnotationWarning
from psmlearn.io import write_image

FAR = (20480, 15370, 6)
STRADDLING = (12, 8, 30)
REGION = (0, 0, 13)


def message(caught):
    """The text of the one warning of a call."""
    assert len(caught) == 1
    return str(caught[0].message)


# Outlines ---------------------------------------------------------------------------


def write_coco_squares(folder, squares):
    return write_coco(
        folder,
        [
            annotation(i, [np.ravel(corners(*square)).tolist()])
            for i, square in enumerate(squares, 1)
        ],
    )


def write_collections(folder, squares):
    features = [
        feature({"type": "GeometryCollection", "geometries": [polygon(*square)]})
        for square in squares
    ]
    return write_features(folder, features)


OUTLINES = {
    "aperio": (write_aperio, datasets.load_monuseg),
    "coco": (write_coco_squares, datasets.load_coco),
    "geojson": (
        lambda folder, squares: write_features(
            folder, [feature(polygon(*square)) for square in squares]
        ),
        datasets.load_geojson,
    ),
    "collections": (write_collections, datasets.load_geojson),
}


def load_outlines(kind, folder, squares):
    write, load = OUTLINES[kind]
    target = write(folder, squares)
    return load(target if kind == "coco" else folder)


def ids_of(data):
    mask = data.masks[0]
    return np.unique(mask[..., 0] if mask.ndim == 3 else mask).tolist()


@pytest.mark.parametrize("kind", OUTLINES)
@pytest.mark.parametrize(
    ("squares", "told"),
    [
        ([(3, 2, 5), FAR], "1 lie outside"),
        ([(3, 2, 5), (-40, 3, 9), (3, 900, 9)], "2 lie outside"),
        ([(3, 2, 5), STRADDLING], "1 reach beyond their image"),
        ([(3, 2, 3), (5, 6, 4), REGION], "2 are wholly covered by later ones"),
        ([(3, 2, 5), (7.55, 7.55, 0.2)], "1 cover the centre of no pixel"),
    ],
)
def test_objects_that_masks_lack_are_told(tmp_path, kind, squares, told):
    with pytest.warns(AnnotationWarning, match=told) as caught:
        data = load_outlines(kind, tmp_path, squares)
    assert len(caught) == 1 and tmp_path.name in str(caught[0].message)
    if "class_counts" in data:
        assert sum(data.class_counts.values()) == len(ids_of(data)) - 1


@pytest.mark.parametrize("kind", OUTLINES)
def test_outlines_that_are_all_elsewhere_are_refused(tmp_path, kind):
    with pytest.raises(ValueError, match=r"All 2 object\(s\) lie outside.*whole slide"):
        load_outlines(kind, tmp_path, [FAR, (900, 3, 5)])


@pytest.mark.parametrize("kind", OUTLINES)
def test_objects_cut_by_the_border_are_sound(tmp_path, kind):
    # Less than half beside, or beyond by no more than a tenth of the image.
    data = load_outlines(kind, tmp_path, [(3, 2, 5), (12, 3, 7), (16.2, 9, 2.5)])
    assert ids_of(data) == [0, 1, 2, 3]


def test_many_that_are_lost_are_told_once_and_five_are_named(tmp_path):
    squares = [(3, 2, 5), *[(5000 + 9 * i, 3, 5) for i in range(37)]]
    with pytest.warns(AnnotationWarning) as caught:
        load_outlines("geojson", tmp_path, squares)
    assert "37 lie outside" in message(caught) and "and 32 more" in message(caught)
    assert message(caught).count("a.geojson") == 5


@pytest.mark.parametrize("at", [(9059.0, 3.0), (3.0, -7.5), (18.6, 3.0)])
def test_points_of_geojson_beside_the_image_are_refused(tmp_path, at):
    write_features(tmp_path, [feature({"type": "MultiPoint", "coordinates": [at]})])
    with pytest.raises(ValueError, match=r"a\.geojson.*1 point\(s\) outside.*a\.png"):
        datasets.load_geojson(tmp_path)


def test_regions_that_hold_detections_are_told(tmp_path):
    region = feature(polygon(*REGION), kind="annotation")
    nuclei = [feature(polygon(*square)) for square in [(3, 2, 3), (5, 6, 4)]]
    write_features(tmp_path, [region, *nuclei])
    with pytest.warns(
        AnnotationWarning, match="1 hold others.*object_types="
    ) as caught:
        data = datasets.load_geojson(tmp_path)
    assert "feature 0" in message(caught) and ids_of(data) == [0, 1, 2, 3]
    data = datasets.load_geojson(tmp_path, object_types=("detection", "cell"))
    assert ids_of(data) == [0, 1, 2]


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (["Tumor", "Positive"], "Tumor: Positive"),
        ("Tumor", "Tumor"),
        ({"name": "Tumor"}, "Tumor"),
        ({"name": ["Tumor", "Positive"]}, "Tumor: Positive"),
        ({"names": ["Tumor", "Positive"]}, "Tumor: Positive"),
        ([{"name": "Tumor"}, {"name": "Positive"}], "Tumor: Positive"),
        (None, ""),
        ([], ""),
    ],
)
def test_classes_of_any_writing(tmp_path, told, name):
    write_features(tmp_path, [feature(polygon(3, 2, 5), classification=told)])
    assert datasets.load_geojson(tmp_path).class_counts == {name: 1}


@pytest.mark.parametrize("told", [3, True, [1], [["a"]], {"name": 7}])
def test_classes_of_no_writing_are_refused(tmp_path, told):
    write_features(tmp_path, [feature(polygon(3, 2, 5), classification=told)])
    with pytest.raises(ValueError, match="feature 0: its classification"):
        datasets.load_geojson(tmp_path)


def test_classes_that_nothing_has_are_told(tmp_path):
    write_geojson(tmp_path)
    with pytest.warns(
        AnnotationWarning, match="no object has the class 'Positiv'.*'Po"
    ):
        datasets.load_geojson(tmp_path, classes=["Positiv"])
    with pytest.warns(AnnotationWarning, match="1 file.*hold no object.*detection"):
        datasets.load_geojson(tmp_path, object_types=("cell",))


def test_collections_are_taken_apart(tmp_path):
    parts = [
        polygon(3, 2, 3),
        {"type": "Point", "coordinates": [1.5, 1.5]},
        {"type": "LineString", "coordinates": [[0, 0], [5, 5]]},
        {"type": "GeometryCollection", "geometries": [polygon(9, 8, 4)]},
    ]
    collection = {"type": "GeometryCollection", "geometries": parts}
    write_features(tmp_path, [feature(collection)])
    with pytest.warns(AnnotationWarning, match="lines.*a part of feature 0"):
        data = datasets.load_geojson(tmp_path)
    assert ids_of(data) == [0, 1] and (data.masks[0] == 1).sum() == 9 + 16
    assert data.points[0].tolist() == [[1, 1]]
    for _ in range(30):
        collection = {"type": "GeometryCollection", "geometries": [collection]}
    write_features(tmp_path, [feature(collection)])
    with pytest.raises(ValueError, match="feature 0: its GeometryCollection is nested"):
        datasets.load_geojson(tmp_path)


@pytest.mark.parametrize("kind", ["LineString", "MultiLineString"])
def test_lines_are_told(tmp_path, kind):
    line = {"type": kind, "coordinates": [[0, 0], [5, 5]]}
    write_features(tmp_path, [feature(line), feature(polygon(3, 2, 5))])
    with pytest.warns(AnnotationWarning, match="1 are lines, arrows or rulers.*ure 0"):
        assert ids_of(datasets.load_geojson(tmp_path)) == [0, 1]


# Aperio -----------------------------------------------------------------------------


def aperio(folder, *regions, size=(60, 70)):
    tifffile.imwrite(folder / "a.tif", np.zeros((*size, 3), np.uint8))
    body = "".join(
        f'<Region Id="{number}" Type="{kind}" NegativeROA="{negative}"><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in vertices)
        + "</Vertices></Region>"
        for number, (vertices, kind, negative) in enumerate(regions, 1)
    )
    (folder / "a.xml").write_text(
        f"<Annotations><Annotation><Regions>{body}</Regions></Annotation></Annotations>"
    )
    return datasets.load_monuseg(folder).masks[0]


@pytest.mark.parametrize("box", [[(7, 9), (33, 21)], [(33, 21), (7, 9)]])
def test_ellipses_and_rectangles_of_two_corners(tmp_path, box):
    ellipse = aperio(tmp_path, (box, 2, 0)) == 1
    assert ellipse[15, 20] and ellipse[15, 8] and ellipse[10, 20]
    assert not ellipse[9, 8] and not ellipse[20, 32]
    assert ellipse.sum() == pytest.approx(np.pi * 13 * 6, rel=0.05)
    box_mask = aperio(tmp_path, (box, 1, 0)) == 1
    assert box_mask.sum() == 27 * 13 and box_mask[9, 7] and box_mask[21, 33]


def test_an_ellipse_of_four_points_and_one_beside_the_image(tmp_path):
    tips = [(7, 15), (20, 9), (33, 15), (20, 21)]
    square = [(7, 9), (33, 9), (33, 21), (7, 21)]
    np.testing.assert_array_equal(
        aperio(tmp_path, (tips, 2, 0)), aperio(tmp_path, (square, 2, 0))
    )
    with pytest.warns(AnnotationWarning, match="1 lie outside"):
        aperio(tmp_path, (tips, 2, 0), ([(500, 9), (530, 40)], 2, 0))


@pytest.mark.parametrize("negative", ["1", "true"])
@pytest.mark.parametrize("order", [1, -1])
def test_negative_regions_are_holes(tmp_path, negative, order):
    whole = (corners(5, 6, 40), 0, 0)
    hole = (corners(12, 13, 20), 0, negative)
    island = (corners(18, 19, 6), 0, 0)
    mask = aperio(tmp_path, *[whole, hole][::order], island)
    assert ids_of(datasets.load_monuseg(tmp_path)) == [0, 1, 2]
    assert mask[8, 8] == 1 and mask[14, 14] == 0 and mask[21, 21] == 2
    assert (mask == 1).sum() == 41**2 - 21**2 and (mask == 2).sum() == 49


def test_negative_regions_that_cut_nothing_are_told(tmp_path):
    with pytest.warns(
        AnnotationWarning, match="1 are negative, but cut no other.*ion 2"
    ):
        aperio(tmp_path, (corners(5, 6, 9), 0, 0), (corners(30, 30, 9), 0, 1))


@pytest.mark.parametrize("kind", [3, 4, 5, 17])
def test_arrows_and_rulers_are_told(tmp_path, kind):
    with pytest.warns(AnnotationWarning, match=f"1 are lines.*region 1, Type {kind}"):
        mask = aperio(tmp_path, ([(1, 1), (9, 9)], kind, 0), (corners(5, 6, 9), 0, 0))
    assert mask.max() == 1


def test_regions_within_regions_are_refused_at_once(tmp_path):
    for depth in (2, 4000):
        (tmp_path / "a.xml").write_text(
            f"<Annotations>{'<Region>' * depth}{'</Region>' * depth}</Annotations>"
        )
        began = time.perf_counter()
        with pytest.raises(ValueError, match=r"a\.xml.*holds another region"):
            read_aperio_outlines(str(tmp_path / "a.xml"))
        assert time.perf_counter() - began < 5
    # Nested in something else, each has its own vertices, and each is seen once.
    (tmp_path / "a.xml").write_text(
        f"<Annotations>{'<Region><x><y>' * 3000}"
        f"{'</y></x></Region>' * 3000}</Annotations>"
    )
    began = time.perf_counter()
    assert len(read_aperio_outlines(str(tmp_path / "a.xml"))) == 3000
    assert time.perf_counter() - began < 5


# Time and memory --------------------------------------------------------------------


@pytest.mark.parametrize("step", [1.0, 0.5, 0.37, 1e-13])
def test_outlines_have_the_pixels_of_scikit_image(step):
    rng = np.random.default_rng(int(1 / step) % 1000)
    for _ in range(120):
        size = tuple(rng.integers(1, 30, 2).tolist())
        outline = np.rint(rng.uniform(-6, 36, (rng.integers(3, 14), 2)))
        outline += rng.integers(-2, 3, outline.shape) * step
        found = fill_outline(outline, size)
        truth = slow_polygon(outline[:, 0], outline[:, 1], size)
        for one, other in zip(found, truth, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("fill", [fill_outline, lambda o, s: fill_polygon([o], s)])
def test_outlines_of_many_vertices(fill):
    angles = np.linspace(0, 2 * np.pi, 200_000, endpoint=False)
    radius = 400 + 20 * np.sin(60 * angles)[:, np.newaxis]
    outline = 500 + radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    began = time.perf_counter()
    rows, _ = fill(outline, (1000, 1000))
    assert len(rows) == pytest.approx(np.pi * (400**2 + 200), rel=0.01)
    assert time.perf_counter() - began < 5


def test_tangles_are_refused(monkeypatch):
    monkeypatch.setattr("psmlearn.datasets._fill._MAX_CROSSINGS", 1000)
    spikes = np.array([(0, 0), (900, 5)] * 30, float) + np.arange(60)[:, np.newaxis]
    for fill in (fill_outline, lambda o, s: fill_polygon([o], s)):
        with pytest.raises(ValueError, match=r"crosses rows.*up to 1000 are drawn"):
            fill(spikes, (1000, 1000))


def test_heaps_of_objects_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("psmlearn.datasets._lost._MAX_PAINTED", 1000)
    whole = {"size": list(SHAPE), "counts": [0, SHAPE[0] * SHAPE[1]]}
    target = write_coco(tmp_path, [annotation(i, whole) for i in range(102)])
    with pytest.raises(ValueError, match=r"instances\.json.*more than 25200 pixels"):
        datasets.load_coco(target)


def test_json_is_refused_by_its_size_before_it_is_read(tmp_path, monkeypatch):
    target = write_coco(tmp_path)
    n_bytes = target.stat().st_size
    assert datasets.load_coco(target, max_bytes=n_bytes).names == ["a"]
    with pytest.raises(ValueError, match=rf"more than {n_bytes - 1} bytes.*24 times"):
        datasets.load_coco(target, max_bytes=n_bytes - 1)
    packed = write_geojson(tmp_path)
    text = packed.read_bytes()
    packed.unlink()
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(text + b" " * 10**6))
    with pytest.raises(ValueError, match=r"a\.geojson\.gz.*more than 99999 bytes"):
        datasets.load_geojson(tmp_path, max_bytes=99999)
    monkeypatch.setattr("psmlearn.datasets._polygons.json.loads", None)
    with target.open("r+b") as file:
        file.truncate(1 << 30)  # a sparse file: nothing is written
    with pytest.raises(ValueError, match="more than 134217728 bytes"):
        datasets.load_coco(target)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"images":', '"images": [], "images":'),
        ('"id": 7,', '"id": 8, "id": 7,'),
        ('"segmentation":', '"segmentation": [], "segmentation":'),
    ],
)
def test_keys_that_are_there_twice_are_refused(tmp_path, old, new):
    target = write_coco(tmp_path)
    text = target.read_text()
    assert old in text
    target.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"instances\.json.*the key '\w+' twice"):
        datasets.load_coco(target)


@pytest.mark.parametrize("kind", ["coco", "geojson"])
def test_true_is_no_coordinate(tmp_path, kind):
    target = SETS[kind].write(tmp_path)
    content = json.loads(target.read_text())
    if kind == "coco":
        content["annotations"][0]["segmentation"][0][0] = True
    else:
        ring = content["features"][0]["geometry"]["coordinates"][0]
        ring[0][0] = True
    target.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="true or false for a coordinate"):
        SETS[kind].read(tmp_path, target)


def test_masks_are_compared_with_their_image_before_they_are_decoded(tmp_path):
    huge = np.broadcast_to(np.uint8(0), (20_000, 20_000))
    target = write_label_folder(tmp_path / "labels")
    tifffile.imwrite(target, huge, compression="zlib", rowsperstrip=20_000)
    stencil = write_dsb(tmp_path / "dsb")
    target.rename(stencil.with_suffix(".tif"))
    stencil.unlink()
    for load, folder in (
        (datasets.load_dsb2018, tmp_path / "dsb"),
        (datasets.load_label_folder, tmp_path / "labels"),
    ):
        if folder.name == "labels":
            (tmp_path / "dsb" / "a1" / "masks" / "2.tif").rename(target)
        began = time.perf_counter()
        with pytest.raises(ValueError, match=r"\(20000, 20000\).*\(14, 18\)"):
            load(folder)
        assert time.perf_counter() - began < 1


def test_text_masks_are_compared_with_their_image_first(tmp_path):
    target = write_cpm(tmp_path)
    with target.open("ab") as file:
        file.truncate(1 << 33)
    with pytest.raises(ValueError, match=r"image01_mask\.txt.*too many for the ids"):
        datasets.load_cpm(tmp_path)
    target.write_text(f"18 14\n{'1_0 ' * 252}")
    with pytest.raises(ValueError, match="no mask of whole numbers"):
        datasets.load_cpm(tmp_path)


def test_masks_are_not_drawn_on_images_that_merely_declare(tmp_path):
    target = write_geojson(tmp_path)
    head = struct.pack(">4sIIBBBBB", b"IHDR", 1, 2**31 - 1, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    target.with_suffix(".png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    with pytest.raises(ValueError, match=r"a\.png"):
        datasets.load_geojson(tmp_path)


def declare(path, kind, size):
    """Write a sound little picture, and let its header declare another size."""
    picture = Image.fromarray(np.full((16, 16), 90, np.uint8))
    picture.save(path, kind, **({"compression": "raw"} if kind == "TIFF" else {}))
    content = bytearray(path.read_bytes())
    if kind == "PNG":
        struct.pack_into(">II", content, 16, size, size)
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    elif kind == "BMP":
        struct.pack_into("<ii", content, 18, size, size)
    elif kind == "JPEG":
        place = content.index(b"\xff\xc0") + 5
        struct.pack_into(">HH", content, place, size, size)
    else:
        with tifffile.TiffFile(path) as tiff:
            tags = [tiff.pages[0].tags[n] for n in ("ImageLength", "ImageWidth")]
            places = [tag.valueoffset for tag in tags]
        for place in places:
            struct.pack_into("<H", content, place, size)
    path.write_bytes(content)


@pytest.mark.parametrize("size", [9_000, 16_000])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG", "TIFF"])
@pytest.mark.parametrize("loader", ["coco", "geojson", "lgg", "bcdata"])
def test_images_that_merely_declare_cost_no_memory(tmp_path, loader, kind, size):
    made = SETS[loader]
    target = made.write(tmp_path)
    (image,) = (p for p in tmp_path.rglob("*.png") if "_mask" not in p.name)
    declare(image, kind, size)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"{image.name}"):
            made.read(tmp_path, target)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 25


@pytest.mark.parametrize("classes", [None, [3, 1, 3, 2]])
@pytest.mark.parametrize("covered", [False, True])
def test_painting_makes_few_copies(classes, covered):
    shape = (4100, 3900)
    boxes = [(0, 0), (7, 5), (1200, 900), (0 if covered else 1500, 0)]
    drawn = [
        Drawn(str(top), *(np.indices((3, 4)).reshape(2, -1) + [[top], [left]]))
        for top, left in boxes
    ]
    tracemalloc.start()
    try:
        mask, shown = paint(drawn, shape, Lost(), "", classes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (4 if classes is None else 12) * shape[0] * shape[1] + (1 << 25)
    assert shown.tolist() == [not covered, True, True, True]
    ids = mask if classes is None else mask[..., 0]
    assert ids[7, 5] == 2 - covered and ids[1200, 900] == 3 - covered
    assert np.count_nonzero(ids) == 12 * shown.sum()
    if classes is not None:
        assert mask[7, 5, 1] == 1 and mask[1200, 900, 1] == 3


# Masks that overlap -----------------------------------------------------------------


def test_masks_that_cover_others_are_told(tmp_path):
    write_dsb(tmp_path / "dsb")
    write_image(
        tmp_path / "dsb" / "a1" / "masks" / "3.png",
        np.pad(np.full((12, 18), 255, np.uint8), ((0, 2), (0, 0))),
    )
    with pytest.warns(AnnotationWarning, match=r"2 are wholly covered.*1\.png.*2\.png"):
        data = datasets.load_dsb2018(tmp_path / "dsb")
    assert ids_of(data) == [0, 1]
    runs = {"size": list(SHAPE), "counts": [0, SHAPE[0] * SHAPE[1] - 9, 9]}
    square = annotation(1, [np.ravel(corners(3, 2, 5)).tolist()])
    (tmp_path / "coco").mkdir()
    target = write_coco(tmp_path / "coco", [square, annotation(2, runs)])
    with pytest.warns(AnnotationWarning, match="1 are wholly covered.*annotation 1 of"):
        assert ids_of(datasets.load_coco(target)) == [0, 1]
    target = write_pannuke(tmp_path / "pannuke")
    planes = np.load(target)
    planes[0, :-1, :, 4] = 9
    np.save(target, planes)
    with pytest.warns(AnnotationWarning, match="2 are wholly covered.*neoplastic nuc"):
        assert ids_of(datasets.load_pannuke(tmp_path / "pannuke", folds=1)) == [0, 1]


def test_run_lengths_without_a_pixel_are_told(tmp_path):
    runs = {"size": list(SHAPE), "counts": [SHAPE[0] * SHAPE[1]]}
    target = write_coco(tmp_path, [annotation(1, runs), annotation(2, runs, iscrowd=1)])
    with pytest.warns(AnnotationWarning, match="2 cover the centre of no pixel.*crowd"):
        datasets.load_coco(target)
