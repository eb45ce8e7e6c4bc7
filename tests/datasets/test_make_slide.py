# SPDX-License-Identifier: BSD-3-Clause
"""Made slides: what is written is what is told, whatever the format."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from psmlearn.datasets import make_nuclei, make_slide
from psmlearn.io import Slide, is_slide, write_labels
from tests.slides import whole

SHAPE = (711, 902)
SUFFIXES = (".svs", ".ome.tif", ".ome.zarr")
DATA = make_nuclei(3, (160, 200), n_nuclei=25, random_state=0)


def open_slide(path, **options):
    pytest.importorskip("zarr" if str(path).endswith(".zarr") else "tifffile")
    return Slide(path, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Slides of the three formats, by suffix."""
    pytest.importorskip("imagecodecs")
    folder = tmp_path_factory.mktemp("made")
    return {
        suffix: make_slide(
            folder / f"slide{suffix}",
            DATA.images,
            DATA.masks,
            shape=SHAPE,
            random_state=7,
        )
        for suffix in SUFFIXES
    }


def truth(bunch):
    return bunch.labels(0, 0, *bunch.shape), bunch.tissue(0, 0, *bunch.shape)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_slides_read_as_they_were_made(made, suffix):
    bunch = made[suffix]
    with open_slide(bunch.path) as slide:
        assert slide.shape == bunch.shape == SHAPE
        assert slide.pixel_size == pytest.approx(0.25)
        assert [(lv.height, lv.width) for lv in slide.levels] == [
            SHAPE, (177, 225), (44, 56),
        ]  # fmt: skip
        beside = ("thumbnail", "label", "macro") if suffix == ".svs" else ()
        assert slide.associated == beside
        coarse = slide._read(1, (0, 0, 177, 225)).astype(float)
        full = whole(slide.view())[:708, :900].astype(float)
        means = full.reshape(177, 4, 225, 4, 3).mean(axis=(1, 3))
        assert np.abs(coarse - means).mean() < (5 if suffix == ".svs" else 0.6)
        assert slide.problems == []
    assert is_slide(bunch.path) is (suffix != ".ome.tif")  # which is small


def test_formats_hold_the_same_picture(made):
    pictures = []
    for suffix in SUFFIXES:
        with open_slide(made[suffix].path) as slide:
            pictures.append(whole(slide.view()).astype(int))
    np.testing.assert_array_equal(pictures[1], pictures[2])
    assert np.abs(pictures[0] - pictures[1]).mean() < 4  # JPEG


def test_ids_do_not_depend_on_the_box(made):
    bunch = made[".ome.tif"]
    labels, tissue = truth(bunch)
    assert labels.dtype == np.int32 and tissue.dtype == bool
    assert labels.shape == tissue.shape == SHAPE
    np.testing.assert_array_equal(np.unique(labels), np.arange(bunch.n_objects + 1))
    rng = np.random.default_rng(0)
    for _ in range(30):
        top, left = int(rng.integers(SHAPE[0])), int(rng.integers(SHAPE[1]))
        box = (
            top,
            left,
            int(rng.integers(top + 1, min(SHAPE[0], top + 400) + 1)),
            int(rng.integers(left + 1, min(SHAPE[1], left + 400) + 1)),
        )
        part = slice(box[0], box[2]), slice(box[1], box[3])
        np.testing.assert_array_equal(bunch.labels(*box), labels[part])
        np.testing.assert_array_equal(bunch.tissue(*box), tissue[part])


def test_nuclei_lie_where_they_are_told(made):
    bunch = made[".ome.tif"]
    labels, tissue = truth(bunch)
    with Slide(bunch.path) as slide:
        grey = whole(slide.view()).mean(axis=2)
    assert not labels[~tissue].any()
    assert grey[labels > 0].mean() < grey[tissue & (labels == 0)].mean() - 25
    # No object is larger than the largest of the fields.
    largest = max(np.bincount(mask.ravel())[1:].max() for mask in DATA.masks)
    assert np.bincount(labels.ravel())[1:].max() <= largest


def test_objects_end_at_the_seams_of_fields(made):
    scene = made[".ome.tif"].labels.__self__._scene
    labels, _ = truth(made[".ome.tif"])
    tall, wide = scene.mosaic.cell
    assert (tall, wide) == (140, 175)
    for seam in range(tall, SHAPE[0], tall):
        above, below = set(labels[seam - 1]) - {0}, set(labels[seam]) - {0}
        assert not above & below
    for seam in range(wide, SHAPE[1], wide):
        assert not (set(labels[:, seam - 1]) & set(labels[:, seam])) - {0}


def test_fields_are_mirrored_shifted_and_restained(tmp_path):
    field = DATA.images[0]
    bunch = make_slide(
        tmp_path / "a.ome.tif", [field], shape=(600, 600), tissue=1.0, pen=False,
        black=False, random_state=0,
    )  # fmt: skip
    assert bunch.labels is None and bunch.n_objects is None
    with Slide(bunch.path) as slide:
        seen = whole(slide.view())
    cells = seen[:560, :525].reshape(4, 140, 3, 175, 3).swapaxes(1, 2)
    cells = cells.reshape(12, -1)
    assert len(np.unique(cells, axis=0)) == 12
    brightness = cells.reshape(12, 140, 175, 3).mean(axis=(1, 2))
    assert brightness.std(axis=0).max() > 1


@pytest.mark.parametrize("share", [0.2, 0.5, 0.85])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_tissue_covers_the_share(share, seed):
    from psmlearn.datasets._slide_scene import Scene

    scene = Scene(seed, list(DATA.images), None, (1500, 2000), share, True, True)
    tissue = scene.tissue((0, 0, 1500, 2000))
    assert abs(tissue.mean() - share) < 0.01
    strip = scene.strip.mask((0, 0, 1500, 2000))
    assert 0.03 < strip.mean() < 0.07 and not tissue[strip].any()
    pen = scene.pen((0, 0, 1500, 2000))
    assert not pen[tissue | strip].any()
    if share < 0.8:
        assert pen.any()
    image = scene.image((0, 0, 1500, 2000))
    assert (image[strip] == 0).all()
    glass = image[~(tissue | strip | pen)]
    assert glass.min() > 225 and 0.5 < glass.std() < 4
    assert not pen.any() or image[pen].mean() < 150


def test_all_and_nothing_of_it_is_tissue(tmp_path):
    options = {"shape": (300, 310), "random_state": 0, "black": False, "levels": 1}
    full = make_slide(
        tmp_path / "a.ome.tif", DATA.images, DATA.masks, tissue=1, **options
    )
    none = make_slide(
        tmp_path / "b.ome.tif", DATA.images, DATA.masks, tissue=0, **options
    )
    assert truth(full)[1].all() and full.n_objects > 50
    assert not truth(none)[1].any() and none.n_objects == 0
    assert not truth(none)[0].any()


def test_unknown_pixels_stay_unknown(tmp_path):
    masks = DATA.masks.copy()
    masks[:, ::7] = -1
    bunch = make_slide(
        tmp_path / "a.ome.tif", DATA.images, masks, shape=(300, 310), random_state=0
    )
    labels, tissue = truth(bunch)
    assert (labels[tissue] == -1).mean() == pytest.approx(1 / 7, abs=0.02)
    assert not labels[~tissue].any()
    assert set(np.unique(labels)) == {-1, *range(bunch.n_objects + 1)}


def test_paths_and_fields_of_several_sizes(tmp_path):
    paths, masks = [], []
    for index, size in enumerate([(90, 120), (160, 100)]):
        from PIL import Image

        path = tmp_path / f"{index}.png"
        Image.fromarray(DATA.images[index][: size[0], : size[1]]).save(path)
        paths.append(path)
        masks.append(tmp_path / f"{index}.tif")
        write_labels(masks[-1], DATA.masks[index][: size[0], : size[1]])
    bunch = make_slide(
        tmp_path / "a.ome.tif", paths, masks, shape=(400, 300), random_state=0
    )
    assert bunch.labels.__self__._scene.mosaic.cell == (79, 88)
    assert bunch.n_objects > 20


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_slide_of_one_row(tmp_path, suffix):
    if suffix == ".svs":
        pytest.importorskip("imagecodecs")
    bunch = make_slide(
        tmp_path / f"a{suffix}", DATA.images, DATA.masks, shape=(1, 5000),
        random_state=1,
    )  # fmt: skip
    with open_slide(bunch.path) as slide:
        assert slide.shape == (1, 5000) and len(slide.levels) == 1
        assert slide.view().read(0, 0, 1, 5000).shape == (1, 5000, 3)
    labels, tissue = truth(bunch)
    assert labels.max() == bunch.n_objects and 0.3 < tissue.mean() < 0.7


@pytest.mark.parametrize("suffix", [".svs", ".ome.tif"])
def test_the_same_seed_makes_the_same_file(tmp_path, suffix):
    options = {"shape": (300, 400), "random_state": 5}
    paths = [tmp_path / name / f"slide{suffix}" for name in "ab"]
    for path in paths:
        path.parent.mkdir()
        make_slide(path, DATA.images, **options)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    make_slide(paths[1], DATA.images, **(options | {"random_state": 6}))
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_the_truth_can_be_pickled(made):
    again = pickle.loads(pickle.dumps(made[".ome.tif"]))
    box = 300, 400, 700, 880
    np.testing.assert_array_equal(again.labels(*box), made[".ome.tif"].labels(*box))
    for box in [(0, 0, 712, 5), (-1, 0, 5, 5), (5, 5, 5, 9)]:
        with pytest.raises(ValueError, match="not within the slide, 711 x 902"):
            again.labels(*box)


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr"])
def test_writing_is_all_or_nothing(tmp_path, suffix, monkeypatch):
    from psmlearn.datasets._slide_scene import Scene

    path = tmp_path / f"slide{suffix}"
    make_slide(path, DATA.images, shape=(700, 300), random_state=0)
    listed = sorted(os.listdir(tmp_path))
    assert listed == [f"slide{suffix}"], "nothing temporary is left"
    with open_slide(path) as slide:
        before = whole(slide.view())
    paint = Scene.image

    def fails(self, box):
        if box[0] > 0:
            raise OSError(28, "No space left on device")
        return paint(self, box)

    monkeypatch.setattr(Scene, "image", fails)
    with pytest.raises(OSError, match=rf"slide{suffix}"):
        make_slide(path, DATA.images, shape=(700, 300), random_state=1)
    assert sorted(os.listdir(tmp_path)) == listed
    with open_slide(path) as slide:
        np.testing.assert_array_equal(whole(slide.view()), before)
    monkeypatch.undo()
    make_slide(path, DATA.images, shape=(600, 300), random_state=1)
    with open_slide(path) as slide:
        assert slide.shape == (600, 300)
    assert sorted(os.listdir(tmp_path)) == listed


def test_a_folder_that_is_no_zarr_is_not_replaced(tmp_path):
    (tmp_path / "a.ome.zarr").mkdir()
    (tmp_path / "a.ome.zarr" / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match="no zarr; choose another name"):
        make_slide(tmp_path / "a.ome.zarr", DATA.images, shape=(64, 64))
    assert (tmp_path / "a.ome.zarr" / "thesis.txt").exists()


@pytest.mark.parametrize(
    "changed, error, text",
    [
        ({"path": "a.png"}, ValueError, "expected it to end in"),
        ({"path": 5}, TypeError, "path is 5"),
        ({"path": "no/such/folder/a.svs"}, FileNotFoundError, "no folder"),
        ({"images": []}, ValueError, "images is empty"),
        ({"images": DATA.images[0]}, TypeError, r"shape \(n, height, width, 3\)"),
        ({"images": DATA.images / 255.0}, ValueError, r"images\[0\] has .* float64"),
        ({"images": [None]}, TypeError, r"images\[0\] is None"),
        ({"masks": DATA.masks[:2]}, ValueError, "2 entries for 3 images"),
        ({"masks": DATA.masks[:, 1:]}, ValueError, r"masks\[0\]"),
        ({"shape": 500}, ValueError, "height, width"),
        ({"shape": (0, 5)}, ValueError, "height is 0"),
        ({"shape": (1 << 20, 1 << 20)}, ValueError, "at most 17179869184 pixels"),
        ({"pixel_size": 0}, ValueError, "pixel_size"),
        ({"tissue": 1.5}, ValueError, "tissue is 1.5"),
        ({"pen": 1}, TypeError, "pen is 1"),
        ({"levels": 6}, ValueError, "at most 5"),
        ({"levels": 0}, ValueError, "levels is 0"),
        ({"random_state": "a"}, ValueError, "random_state"),
    ],
)
def test_bad_parameters(tmp_path, monkeypatch, changed, error, text):
    monkeypatch.chdir(tmp_path)
    options = {
        "path": "a.ome.tif", "images": DATA.images, "masks": DATA.masks,
        "shape": (64, 64), **changed,
    }  # fmt: skip
    with pytest.raises(error, match=text):
        make_slide(
            options.pop("path"), options.pop("images"), options.pop("masks"), **options
        )
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_slide(tmp_path):
    """Of four times the pixels little more memory is taken."""
    import subprocess
    import sys

    code = (
        "import sys, resource, numpy as np\n"
        "from psmlearn.datasets import make_slide\n"
        "image = np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8)\n"
        "side = int(sys.argv[1])\n"
        "make_slide(sys.argv[2], [image], shape=(side, 8000), random_state=0)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", code, side, str(tmp_path / "a.ome.tif")],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for side in ("2000", "8000")
    ]
    assert peaks[1] < peaks[0] + 60_000
