# SPDX-License-Identifier: BSD-3-Clause
"""What is written of images whose labels were learnt: regions, maps, probabilities."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psmlearn._cli._image_labels import ImageLabels
from psmlearn._cli._model_path import find_part
from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._results import Job, Results
from psmlearn._cli._sources import fold_name
from psmlearn._cli._terminal import Terminal, count, tell_some

if TYPE_CHECKING:
    import numpy as np

    from psmlearn.io import ImageBatch
    from psmlearn.weak._labels import LabelCode

__all__ = ["PROBABILITIES_NAME", "WeakResults"]

PROBABILITIES_NAME = "image_probabilities.csv"
# What cannot be in every name of a file, and how much of a class's name is in it.
_ODD = re.compile(r"[^A-Za-z0-9-]+")
_LONGEST = 40
_NOTHING_FOUND = (
    "no region was found in any image: look at the maps; a training that was cut short "
    "(--max-epochs) finds nothing, and so does one of too few images. Another "
    "--random-state, or a lower --threshold, may help"
)


@dataclass(frozen=True)
class WeakResults(Results):
    """Label image, overlay and maps of each image; probabilities of all.

    Attributes
    ----------
    code : LabelCode
        What labels mean.
    given : ImageLabels
        What is known of images; of those, regions keep to it.
    """

    stage = "finding regions"

    code: LabelCode
    given: ImageLabels

    @classmethod
    def of(cls, model: Any) -> WeakResults | None:
        """Return those of a fitted model; None where it learnt no image labels."""
        found = find_part(model, "ClassActivationMapper")
        if found is None:
            return None
        code: LabelCode = found[1]._frozen.code
        # A model of before knew its columns by their numbers alone.
        known = code.classes.dtype.kind == "U"
        names = (str(each) if known else f"class {each}" for each in code.classes)
        columns = () if code.exclusive else tuple(names)
        return cls(code, ImageLabels("", columns))

    @property
    def classes(self) -> list[str]:
        """Names of all that an image has a probability of."""
        return list(self.given.columns) or [str(each) for each in self.code.classes]

    @property
    def mapped(self) -> list[str]:
        """Names of the classes that have maps."""
        if not self.code.exclusive:
            return self.classes
        return [str(each) for each in self.code.shown]

    @property
    def endings(self) -> tuple[str, ...]:
        return ("_overlay.png", "_labels.tif", *_map_endings(self.mapped))

    @property
    def shared(self) -> tuple[str, ...]:
        return (PROBABILITIES_NAME,)

    def write(
        self,
        model: Any,
        batch: ImageBatch,
        index: int,
        pixel_size: float | None,
        job: Job,
        folder: OutputFolder,
    ) -> dict[str, Any]:
        from psmlearn.inspection import color_map, overlay_labels
        from psmlearn.io import write_image, write_labels

        labels, maps, told = self._find(model, batch[index : index + 1], job)
        if job.stamp is not None:
            job.stamp.check()
        overlay = overlay_labels(_picture(batch, index), labels)
        size = pixel_size if pixel_size is None or _fits(pixel_size) else None
        with folder.writing(job.files, job.path) as paths:
            write_image(paths[0], overlay, pixel_size=size, compress_level=1)
            write_labels(paths[1], labels, pixel_size=size)
            for place, path in enumerate(paths[2:]):
                write_image(path, color_map(maps[..., place]), pixel_size=size)
        ids = labels[..., 0] if labels.ndim == 3 else labels
        return {"probabilities": told.tolist(), "n_regions": int(ids.max())}

    def _find(
        self, model: Any, one: ImageBatch, job: Job
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return label image, maps and probabilities of an image."""
        found = find_part(model, "ClassActivationMapper")
        if found is None:
            raise TypeError(f"a {type(model).__name__} has learnt no image labels")
        before, mapper = found
        seen: Any = one if before is None else before.transform(one)
        is_last = not hasattr(model, "segmenter_")
        shown = None
        if is_last and (path := str(job.path)) in self.given.rows:
            shown = self.code.presence(self.given.of([path]), "psmlearn weak") > 0
        ((labels, maps, told),) = mapper._predict_with_maps(seen, shown)
        return (labels if is_last else model.predict(one)[0]), maps, told

    def read(
        self, folder: Path, jobs: Sequence[Job], finished: set[str]
    ) -> dict[str, dict[str, Any]]:
        if PROBABILITIES_NAME not in finished:
            return {}
        with open(folder / PROBABILITIES_NAME, newline="", encoding="utf-8") as file:
            rows = {row["image"]: row for row in csv.DictReader(file)}
        columns = [f"probability_{each}" for each in self.classes]
        return {
            job.name: {
                "probabilities": [float(rows[job.name][each]) for each in columns],
                "n_regions": int(rows[job.name]["n_regions"]),
            }
            for job in jobs
            if job.name in rows
        }

    def find_again(
        self, model: Any, batch: ImageBatch, index: int, job: Job
    ) -> dict[str, Any]:
        labels, _, told = self._find(model, batch[index : index + 1], job)
        ids = labels[..., 0] if labels.ndim == 3 else labels
        return {"probabilities": told.tolist(), "n_regions": int(ids.max())}

    def describe(self, name: str, finding: dict[str, Any]) -> str:
        told = ", ".join(
            f"{each} {value:.2f}"
            for each, value in zip(self.classes, finding["probabilities"], strict=True)
        )
        return f"{name}: {count(finding['n_regions'], 'region')}; {told}"

    def numbers(self, finding: dict[str, Any]) -> dict[str, Any]:
        told = zip(self.classes, finding["probabilities"], strict=True)
        return {"n_regions": finding["n_regions"], "probabilities": dict(told)}

    def write_shared(
        self,
        folder: OutputFolder,
        jobs: Sequence[Job],
        findings: Mapping[str, dict[str, Any]],
        failed: Sequence[str],
        terminal: Terminal,
    ) -> None:
        from psmlearn.io import write_table

        if not findings:
            return
        given = [self.given.shown(str(job.path)) for job in jobs]
        heads = [f"label_{each}" for each in self.given.columns] or ["label"]
        values = [findings[job.name]["probabilities"] for job in jobs]
        table: dict[str, list[Any]] = {"image": [job.name for job in jobs]}
        table |= {head: [row[i] for row in given] for i, head in enumerate(heads)}
        table |= {
            f"probability_{each}": [row[i] for row in values]
            for i, each in enumerate(self.classes)
        }
        table["n_regions"] = [findings[job.name]["n_regions"] for job in jobs]
        with folder.writing([PROBABILITIES_NAME]) as (path,):
            write_table(path, table)
        if failed:
            terminal.say(
                f"{PROBABILITIES_NAME} is without {tell_some(failed)}", err=True
            )

    def summary(self, findings: Mapping[str, dict[str, Any]]) -> str:
        n_regions = sum(each["n_regions"] for each in findings.values())
        return f"{count(n_regions, 'region')} in {count(len(findings), 'image')}"

    def doubt(self, findings: Mapping[str, dict[str, Any]]) -> str | None:
        found = any(each["n_regions"] for each in findings.values())
        return None if found or not findings else _NOTHING_FOUND


def _map_endings(classes: Sequence[str]) -> list[str]:
    """Return what maps are called: of several, after their classes."""
    if len(classes) == 1:
        return ["_map.png"]
    endings: list[str] = []
    taken: set[str] = set()
    for number, name in enumerate(classes, 1):
        plain = _ODD.sub("_", name).strip("_")[:_LONGEST] or f"class{number}"
        if fold_name(plain) in taken:
            plain = f"{plain}-{number}"
        taken.add(fold_name(plain))
        endings.append(f"_map_{plain}.png")
    return endings


def _fits(pixel_size: float) -> bool:
    """Tell a pixel size that files hold; of others, such as of MRI, they are silent."""
    from psmlearn._parameters import LARGEST_PIXEL, SMALLEST_PIXEL

    return SMALLEST_PIXEL <= pixel_size <= LARGEST_PIXEL


def _picture(batch: ImageBatch, index: int) -> np.ndarray:
    """Return an image of any range as it is shown: 8 bits stay, others are spread."""
    import numpy as np

    image = batch._as_came(index)
    image = image[..., : 3 if image.shape[2] >= 3 else 1]
    if image.dtype in (np.uint8, np.bool_):
        return image
    values = image.astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5), axis=(0, 1))
    spread = (values - low) / np.where(high > low, high - low, 1)
    return np.clip(spread, 0, 1).astype(np.float32)
