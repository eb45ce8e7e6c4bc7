# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei: what is written of them for each image, and what is said."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from psmlearn._cli._model_path import MAPPER, find_part, map_of
from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._results import Job, Results
from psmlearn._cli._terminal import Terminal, count, tell_some
from psmlearn.exceptions import CountWarning

if TYPE_CHECKING:
    import numpy as np

    from psmlearn.io import ImageBatch

    Table = Mapping[str, np.ndarray]

__all__ = ["ALSO", "NucleiResults"]

ALSO = ("imagej", "coco", "parquet")
_ALSO_ENDINGS = {
    "imagej": "_rois.zip",
    "coco": "_coco.json",
    "parquet": "_nuclei.parquet",
}
INDEX_NAME = "labelling_index.csv"
STAINS = ("haematoxylin", "dab")
"""What is measured of nuclei where there are classes."""
# Those of LabellingIndexDisplay: told apart by the colour-blind, too.
_CLASS_COLORS = {1: (255, 70, 60), 2: (0, 215, 255)}
# Columns of tables that are text, and whole numbers.
_TEXT_COLUMNS = ("image",)
_WHOLE_COLUMNS = ("label", "class")
_NOTHING_FOUND = (
    "no nucleus was found in any image: look whether the pixel size is right, whether "
    "these images are stained and scanned as those that the model was trained on, and "
    "at their overlays; a training that was cut short (--max-epochs) finds nothing, too"
)


@dataclass(frozen=True)
class NucleiResults(Results):
    """Label image, overlay, tables and outlines of nuclei.

    Attributes
    ----------
    with_classes : bool
        Whether the model tells classes apart.
    with_map : bool
        Whether it makes activation maps.
    also : tuple of str
        Other kinds of files that are asked for.
    """

    stage = "finding nuclei"

    with_classes: bool
    with_map: bool
    also: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Any, also: Sequence[str] = ()) -> NucleiResults:
        """Tell those of a fitted chain or segmenter."""
        segmenter = getattr(model, "segmenter_", model)
        with_classes = (
            getattr(segmenter, "classes_", None) is not None
            or len(getattr(segmenter, "class_names_", ())) > 1
        )
        with_map = find_part(model, MAPPER) is not None and not with_classes
        return cls(with_classes, with_map, tuple(also))

    @property
    def endings(self) -> tuple[str, ...]:
        own = ["_overlay.png", "_labels.tif", "_nuclei.csv", "_nuclei.geojson"]
        own += ["_map.png"] if self.with_map else []
        own += ["_points.csv"] if self.with_classes else []
        return (*own, *(_ALSO_ENDINGS[each] for each in dict.fromkeys(self.also)))

    @property
    def shared(self) -> tuple[str, ...]:
        return (INDEX_NAME,) if self.with_classes else ()

    def check(self) -> None:
        """Refuse what a library is missing for, before any work.

        Raises
        ------
        ValueError
            If one is.
        """
        needed = {"imagej": "roifile", "parquet": "pyarrow"}
        for each in self.also:
            if each in needed:
                _check_library(needed[each], each)

    def write(
        self,
        model: Any,
        batch: ImageBatch,
        index: int,
        pixel_size: float | None,
        job: Job,
        folder: OutputFolder,
    ) -> Table:
        size = float(cast("float", pixel_size))  # it is chosen before, or assumed
        return _write_one(model, self, batch, index, size, job, folder)

    def read(
        self, folder: Path, jobs: Sequence[Job], finished: set[str]
    ) -> dict[str, Table]:
        return {
            job.name: _read_table(folder / f"{job.name}_nuclei.csv") for job in jobs
        }

    def describe(self, name: str, finding: Table) -> str:
        n_nuclei = finding["label"].size
        text = f"{name}: {count(n_nuclei, 'nucleus', 'nuclei')}"
        if "class" in finding:
            kinds = finding["class"]
            n_positive, n_negative = ((kinds == each).sum() for each in (1, 2))
            text += f" ({n_positive} positive, {n_negative} negative)"
        if n_nuclei:
            area = finding["area_um2"].mean()
            text += f", mean area {area:.1f} square micrometres"
        return text

    def numbers(self, finding: Table) -> dict[str, Any]:
        return {"n_nuclei": int(finding["label"].size)}

    def write_shared(
        self,
        folder: OutputFolder,
        jobs: Sequence[Job],
        findings: Mapping[str, Table],
        failed: Sequence[str],
        terminal: Terminal,
    ) -> None:
        if self.with_classes and findings:
            _write_index(folder, findings, failed, terminal)

    def summary(self, findings: Mapping[str, Table]) -> str:
        n_nuclei = sum(table["label"].size for table in findings.values())
        return (
            f"{count(n_nuclei, 'nucleus', 'nuclei')} in {count(len(findings), 'image')}"
        )

    def doubt(self, findings: Mapping[str, Table]) -> str | None:
        found = any(table["label"].size for table in findings.values())
        return None if found or not findings else _NOTHING_FOUND


def _check_library(library: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(library) is None:
        raise ValueError(
            f"--also {extra} needs {library}: pip install 'psmlearn[{extra}]'."
        )


def _write_one(
    model: Any,
    kinds: NucleiResults,
    batch: ImageBatch,
    index: int,
    size: float,
    job: Job,
    folder: OutputFolder,
) -> Table:
    """Predict one image and write all its files, or none of them; return its table."""
    from psmlearn.inspection import color_map, overlay_labels
    from psmlearn.io import write_geojson, write_image, write_labels, write_points
    from psmlearn.measure import nuclei_table

    one = batch[index : index + 1]
    labels, probabilities = _predict(model, one)
    with_classes = labels.ndim == 3
    image = batch[index]
    activation_map = color_map(map_of(model, one)) if kinds.with_map else None
    if job.stamp is not None:
        job.stamp.check()
    # Two stains are told from each other; haematoxylin alone from eosin, as well.
    stains = STAINS if with_classes and image.shape[2] >= 3 else STAINS[:1]
    table = nuclei_table(
        labels, image, pixel_size=size, stains=stains, probabilities=probabilities
    )
    colors = _CLASS_COLORS if with_classes else None
    overlay = overlay_labels(image, labels, class_colors=colors)
    with folder.writing(job.files, job.path) as paths:
        places = dict(zip(kinds.endings, paths, strict=True))
        write_image(places["_overlay.png"], overlay, pixel_size=size, compress_level=1)
        write_labels(places["_labels.tif"], labels, pixel_size=size)
        write_geojson(places["_nuclei.geojson"], labels, table=table)
        if activation_map is not None:
            write_image(places["_map.png"], activation_map, pixel_size=size)
        if kinds.with_classes:
            write_points(places["_points.csv"], _points_of(table))
        _write_tables(places, labels, table, job, size)
    return table


def _predict(model: Any, one: ImageBatch) -> tuple[np.ndarray, np.ndarray | None]:
    """Return label image and, where the model tells them, probabilities."""
    if hasattr(model, "_predict_with_proba"):  # by one pass of the network
        labels, probabilities = model._predict_with_proba(one)
        return labels[0], None if probabilities is None else probabilities[0]
    return model.predict(one)[0], None


def _write_tables(
    places: Mapping[str, str], labels: np.ndarray, table: Table, job: Job, size: float
) -> None:
    """Write the table of nuclei, and the other forms that are asked for."""
    from psmlearn.io import write_coco, write_rois, write_table

    columns = _with_image(table, job.name, size)
    write_table(places["_nuclei.csv"], columns)
    if "_nuclei.parquet" in places:
        write_table(places["_nuclei.parquet"], columns)
    if "_rois.zip" in places:
        write_rois(places["_rois.zip"], labels)
    if "_coco.json" in places:
        name = Path(job.path).name
        write_coco(places["_coco.json"], [labels], [name], tables=[table])


def _with_image(table: Table, name: str, pixel_size: float) -> dict[str, Any]:
    """Return a table whose rows tell their image and its pixel size, too."""
    n_rows = table["label"].size
    return {
        "image": [name] * n_rows,
        **table,
        "pixel_size_um": [pixel_size] * n_rows,
    }


def _read_table(path: Path) -> Table:
    """Return the table of nuclei that was written to a CSV file."""
    import numpy as np

    with open(path, newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    kinds = {
        name: np.int64 if name in _WHOLE_COLUMNS else np.float64
        for name in names
        if name not in _TEXT_COLUMNS
    }
    return {
        name: np.array(columns.get(name, ()), dtype=kind)
        for name, kind in kinds.items()
    }


def _points_of(table: Table) -> np.ndarray:
    import numpy as np

    return np.column_stack(
        [table[key] for key in ("centroid_row", "centroid_column", "class")]
    )


def _write_index(
    folder: OutputFolder,
    tables: Mapping[str, Table],
    failed: Sequence[str],
    terminal: Terminal,
) -> None:
    """Write and say the labelling index of the images that have results."""
    from psmlearn.io import write_table
    from psmlearn.measure import labelling_index

    # The same numbers as stain_intensity gives, but measured once.
    has_stain = all("mean_dab_od" in table for table in tables.values())
    with warnings.catch_warnings():
        # The result says it, too.
        warnings.simplefilter("ignore", CountWarning)
        result = labelling_index(
            [_points_of(table) for table in tables.values()],
            intensity=[t["mean_dab_od"] for t in tables.values()]
            if has_stain
            else None,
            names=list(tables),
        )
    with folder.writing([INDEX_NAME]) as (path,):
        write_table(path, result.table)
    terminal.say(str(result))
    if failed:
        terminal.say(f"the labelling index is without {tell_some(failed)}", err=True)
