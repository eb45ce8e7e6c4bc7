# SPDX-License-Identifier: BSD-3-Clause
"""Tiny sound data sets in the layout of every loader, to be spoilt by the tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from psmlearn import datasets
from psmlearn.io import check_images, check_masks, write_image, write_labels

SHAPE = (14, 18)
IDS = np.zeros(SHAPE, np.int32)
IDS[2:6, 3:8], IDS[8:12, 9:15] = 1, 2
SQUARES = [(3, 2, 5), (9, 8, 4)]  # left, top, side


@dataclass
class Set:
    """How a set is written and loaded, and the file of it that tells the labels."""

    load: Callable[..., Any]
    write: Callable[[Path], Path]
    options: dict[str, Any] = field(default_factory=dict)
    by_file: bool = False

    def read(self, folder: Path, target: Path) -> Any:
        return self.load(target if self.by_file else folder, **self.options)


def picture(path: Path, value: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((*SHAPE, 3), value, np.uint8))


def corners(left: float, top: float, side: float) -> list[list[float]]:
    right, bottom = left + side, top + side
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def write_aperio(folder: Path, squares=SQUARES) -> Path:
    import tifffile

    tifffile.imwrite(folder / "a.tif", np.full((*SHAPE, 3), 200, np.uint8))
    regions = "".join(
        f'<Region Id="{i}" Type="0" NegativeROA="0"><Attributes/><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in corners(*square))
        + "</Vertices></Region>"
        for i, square in enumerate(squares, 1)
    )
    target = folder / "a.xml"
    target.write_text(
        f'<Annotations MicronsPerPixel="0.25"><Annotation Id="1"><Regions>{regions}'
        "</Regions></Annotation></Annotations>"
    )
    return target


def feature(geometry: Any, kind: str = "detection", **properties: Any) -> dict:
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"objectType": kind, **properties},
    }


def polygon(left: float, top: float, side: float) -> dict:
    ring = corners(left, top, side)
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def write_features(folder: Path, features: list, name: str = "a") -> Path:
    picture(folder / f"{name}.png")
    target = folder / f"{name}.geojson"
    content = {"type": "FeatureCollection", "features": features}
    target.write_text(json.dumps(content))
    return target


def write_geojson(folder: Path, squares=SQUARES) -> Path:
    features = [
        feature(polygon(*square), classification={"name": "Positive"})
        for square in squares
    ]
    features.append(feature({"type": "Point", "coordinates": [4.5, 3.5]}))
    return write_features(folder, features)


def annotation(number: int, segmentation: Any, **others: Any) -> dict:
    return {
        "id": number,
        "image_id": 7,
        "category_id": 3,
        "iscrowd": 0,
        "segmentation": segmentation,
        **others,
    }


def write_coco(folder: Path, annotations: list | None = None) -> Path:
    picture(folder / "a.png")
    if annotations is None:
        annotations = [
            annotation(i, [np.ravel(corners(*square)).tolist()])
            for i, square in enumerate(SQUARES, 1)
        ]
        runs = {"size": list(SHAPE), "counts": [200, 10, SHAPE[0] * SHAPE[1] - 210]}
        annotations.append(annotation(9, runs))
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": 14, "width": 18}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "nucleus"}],
    }
    target = folder / "instances.json"
    target.write_text(json.dumps(content))
    return target


def write_consep(folder: Path, **options: Any) -> Path:
    from scipy.io import savemat

    picture(folder / "Train" / "Images" / "train_1.png")
    target = folder / "Train" / "Labels" / "train_1.mat"
    target.parent.mkdir(parents=True, exist_ok=True)
    content = {"inst_map": IDS.astype(float), "type_map": (IDS > 0) * 2.0}
    if options.get("format") != "4":
        content["inst_centroid"] = np.ones((2, 2))
    savemat(target, content, **options)
    return target


def write_cpm(folder: Path) -> Path:
    picture(folder / "image01.png")
    target = folder / "image01_mask.txt"
    values = " ".join(map(str, IDS.ravel().tolist()))
    target.write_text(f"{SHAPE[1]} {SHAPE[0]}\n{values}\n")
    return target


def write_bcdata(folder: Path) -> Path:
    import h5py

    picture(folder / "images" / "train" / "0.png")
    for kind in ("negative", "positive"):
        target = folder / "annotations" / "train" / kind / "0.h5"
        target.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(target, "w") as file:
            file["coordinates"] = np.array([[3, 0], [15, 9], [7, 13]])
    return target


def write_brats(folder: Path, suffix: str = ".nii.gz") -> Path:
    import nibabel

    case = folder / "a"
    case.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    volume = rng.integers(1, 500, (8, 9, 5)).astype(np.int16)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(volume, affine), case / "a_t1.nii.gz")
    seg = nibabel.Nifti1Image((volume > 300).astype(np.uint8), affine)
    target = case / f"a_seg{suffix}"
    nibabel.save(seg, target)
    return target


def write_points(folder: Path) -> Path:
    picture(folder / "images" / "a.png")
    target = folder / "points" / "a.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("row,column,class\n3,4,1\n9.5,11,2\n13,17,1\n")
    return target


def write_label_folder(folder: Path) -> Path:
    picture(folder / "images" / "a.png")
    target = folder / "masks" / "a.tif"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_labels(target, IDS)
    return target


def write_dsb(folder: Path) -> Path:
    picture(folder / "a1" / "images" / "a1.png")
    (folder / "a1" / "masks").mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        target = folder / "a1" / "masks" / f"{number}.png"
        write_image(target, (IDS == number).astype(np.uint8) * 255)
    return target


def write_lgg(folder: Path) -> Path:
    picture(folder / "TCGA_CS_4941" / "TCGA_CS_4941_3.png")
    target = folder / "TCGA_CS_4941" / "TCGA_CS_4941_3_mask.png"
    write_image(target, (IDS == 1).astype(np.uint8) * 255)
    return target


def write_pannuke(folder: Path) -> Path:
    place = folder / "Fold 1"
    for part in ("images", "masks"):
        (place / part / "fold1").mkdir(parents=True, exist_ok=True)
    np.save(place / "images" / "fold1" / "images.npy", np.full((1, *SHAPE, 3), 200.0))
    np.save(place / "images" / "fold1" / "types.npy", np.array(["Colon"]))
    planes = np.zeros((1, *SHAPE, 6))
    planes[0, ..., 0], planes[0, ..., 2] = IDS * (IDS == 1), IDS * (IDS == 2)
    target = place / "masks" / "fold1" / "masks.npy"
    np.save(target, planes)
    return target


def _compressed(folder: Path) -> Path:
    return write_consep(folder, do_compression=True)


def _version_4(folder: Path) -> Path:
    return write_consep(folder, format="4")


def _plain_nifti(folder: Path) -> Path:
    return write_brats(folder, ".nii")


SETS = {
    "aperio": Set(datasets.load_monuseg, write_aperio),
    "bcdata": Set(datasets.load_bcdata, write_bcdata),
    "brats": Set(datasets.load_brats, write_brats),
    "brats .nii": Set(datasets.load_brats, _plain_nifti),
    "coco": Set(datasets.load_coco, write_coco, by_file=True),
    "consep": Set(datasets.load_consep, write_consep),
    "consep, packed": Set(datasets.load_consep, _compressed),
    "consep, version 4": Set(datasets.load_consep, _version_4),
    "cpm": Set(datasets.load_cpm, write_cpm),
    "dsb2018": Set(datasets.load_dsb2018, write_dsb),
    "geojson": Set(datasets.load_geojson, write_geojson),
    "label folder": Set(datasets.load_label_folder, write_label_folder),
    "lgg": Set(datasets.load_lgg, write_lgg),
    "pannuke": Set(datasets.load_pannuke, write_pannuke, {"folds": 1}),
    "point folder": Set(datasets.load_point_folder, write_points),
}


def check_result(data: Any) -> None:
    """Raise an error unless what was loaded can be used."""
    value_range = None if "modalities" in data else (0.0, 1.0)
    images = check_images(data.images, value_range=value_range)
    if data.get("masks") is not None:
        check_masks(data.masks, images)
    for points, shape in zip(data.get("points") or [], images.shapes, strict=False):
        if not np.isfinite(points).all():
            raise AssertionError("points are not finite")
        if ((points[:, :2] < -0.5) | (points[:, :2] > shape)).any():
            raise AssertionError("points lie beside their image")


def labels_of(data: Any) -> list[np.ndarray]:
    """Return masks and points of what was loaded, for comparison."""
    parts: list[Any] = []
    for name in ("masks", "points"):
        if data.get(name) is not None:
            parts.extend(data[name])
    return [np.asarray(part) for part in parts]
