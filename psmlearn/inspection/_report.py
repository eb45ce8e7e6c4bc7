# SPDX-License-Identifier: BSD-3-Clause
"""A report of segmented images: one HTML file that loads nothing else."""

from __future__ import annotations

import platform
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import IO, Any

import numpy as np

import psmlearn
from psmlearn._parameters import check_names, check_number, check_pixel_size, shown
from psmlearn._typing import Image, Mask
from psmlearn.exceptions import PsmlearnWarning
from psmlearn.inspection import _report_card as cards
from psmlearn.inspection import _report_page as parts
from psmlearn.inspection._comparison import one_threshold
from psmlearn.inspection._overlay import _PALETTE, check_class_colors
from psmlearn.inspection._report_checks import (
    Finding,
    look_at_numbers,
    odd_counts,
    odd_stainings,
)
from psmlearn.inspection._report_image import RADIUS, Record, look_at
from psmlearn.inspection._report_oddities import Oddities
from psmlearn.inspection._report_slides import SlideRow, section
from psmlearn.inspection._report_tables import Source
from psmlearn.io._paths import as_path, atomic_path, is_path
from psmlearn.measure import LabellingIndex, labelling_index
from psmlearn.metrics._report import score_counts

_POSITIVE, _NEGATIVE = "positive", "negative"
# Those of LabellingIndexDisplay.
_COLORS = {_POSITIVE: (255, 70, 60), _NEGATIVE: (0, 215, 255)}
_LEAST_BYTES = 1_000_000
_FIXED_BYTES = 300_000  # of unusual nuclei, style and script
_SHOWN_VERSIONS = ("numpy", "scipy", "scikit-learn", "scikit-image", "torch")


def report_html(
    path: str | Any,
    images: Sequence[Image | None] | np.ndarray | None,
    labels: Sequence[Mask] | np.ndarray,
    *,
    tables: Sequence[Any] | None = None,
    truth: Sequence[Mask | None] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
    pixel_size: float | Sequence[float | None] | None = None,
    class_names: Mapping[int, str] | None = None,
    class_colors: Mapping[int, Sequence[int]] | None = None,
    iou_threshold: float = 0.5,
    parameters: Mapping[str, Any] | None = None,
    failures: Mapping[str, str] | None = None,
    title: str | None = None,
    max_bytes: int = 100_000_000,
) -> None:
    """Write a report of segmented images to one HTML file, atomically.

    The page holds its pictures, loads nothing, and runs no code but its own short
    script. It shows counts and densities, the labelling index where there are
    classes, histograms, unusual nuclei, warnings, and every image with outlines that
    can be zoomed into; with the truth also scores, and what was found, missed and
    falsely found. For research use only.

    Parameters
    ----------
    path : str or path
        The file to write, ending in .html or .htm. One that is there is replaced.
    images : list of arrays, paths and None, array, or None
        The images, as estimators take them. None, and a file that is gone or cannot be
        read, is told in the report: it shows the labels alone.
    labels : list of arrays or paths, or array
        Their label images, (height, width), or (height, width, 2) with classes.
    tables : list, default=None
        Table of the nuclei of each image: a dict of columns or a pandas table as
        :func:`psmlearn.measure.nuclei_table` gives them, or the path of a CSV file. A
        column "label" is needed; all columns of numbers are shown. None, alone or in
        the list, is measured: with haematoxylin, and DAB where there are classes or
        the image looks brown.
    truth : list of arrays, paths and None, or array, default=None
        True label images. None in the list is an image without truth.
    names : sequence of str, default=None
        What to call the images; names of files, and "image 1" and so on, if None.
    pixel_size : float, sequence or None, default=None
        Micrometres per pixel, one number or one for each image. None, alone or in the
        sequence, is what the file tells; else 0.25, and the report warns of it.
    class_names : dict of int to str, default=None
        Names of classes. None is ``{1: "positive", 2: "negative"}`` where there are
        no other classes. The labelling index is told of classes of these two names.
    class_colors : dict of int to three integers, default=None
        Colours of classes, red, green and blue from 0 to 255.
    iou_threshold : float, default=0.5
        Intersection over union above which a true and a predicted nucleus are the
        same, in [0, 1).
    parameters : dict, default=None
        What to write in the section of parameters: texts, numbers, and lists and dicts
        of them.
    failures : dict of str to str, default=None
        Images that have no results, by name, and why.
    title : str, default=None
        Title of the page; "Nuclei in n images" if None.
    max_bytes : int, default=100_000_000
        Size that the file keeps to, from 1,000,000 on. Pictures are made smaller,
        outlines coarser, and tables of nuclei are cut, to meet it, which the page says.
        It is exceeded where there is less than some 30,000 bytes for an image, or 30
        for a nucleus: pictures have at least 160 pixels a side, tables 50 rows.

    Raises
    ------
    ValueError
        If numbers or sizes of images, labels, tables and truth differ, a label image
        is none, or a parameter makes no sense.
    OSError
        If the file cannot be written, or a label image or table not be read.

    See Also
    --------
    SegmentationComparisonDisplay : One image against its truth.
    psmlearn.metrics.segmentation_report : All scores.

    Notes
    -----
    Images are read one at a time. Of all images the report keeps the tables of nuclei,
    some 150 bytes a nucleus.

    An image is said to be out of focus where detail of a few pixels is weak beside
    coarser detail. Of 84 sharp fields from six sources, on which the limit was chosen,
    none is; blurred by a Gaussian of 4 pixels all are, of 3 pixels 76.
    Counts are compared by density from five images with nuclei on.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.inspection import report_html
    >>> data = make_nuclei(n_images=2, shape=(96, 96), random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "report.html")
    ...     report_html(path, data.images, data.masks, pixel_size=0.25)
    ...     path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    True
    """
    given: list[Any] = [
        each if each is None or hasattr(each, "__len__") else list(each)
        for each in (images, labels, tables, truth)
    ]
    sizes = _as_sizes(pixel_size, len(given[1]))
    with_images, masks, columns, true = given
    sources = list_sources(with_images, masks, columns, true, names, sizes)
    write_report(
        path,
        sources,
        class_names=class_names,
        class_colors=class_colors,
        iou_threshold=iou_threshold,
        parameters=parameters,
        failures=failures,
        title=title,
        max_bytes=max_bytes,
    )


def list_sources(
    images: Any,
    labels: Any,
    tables: Any,
    truth: Any,
    names: Any,
    sizes: Sequence[float | None],
) -> list[Source]:
    """Put together what came of each image."""
    if is_path(labels) or (isinstance(labels, np.ndarray) and labels.ndim == 2):
        raise ValueError(
            "labels must be a list of label images, or a stack; of one image pass "
            "[labels]."
        )
    n_images = len(labels)
    given: dict[str, list[Any]] = {}
    for name, items in (("images", images), ("tables", tables), ("truth", truth)):
        if items is None:
            given[name] = [None] * n_images
            continue
        if is_path(items) or isinstance(items, Mapping):
            raise TypeError(f"{name} must be a list, one for each image.")
        if len(items) != n_images:
            raise ValueError(
                f"{name} holds {len(items)} entries for {n_images} label images; "
                "expected one for each."
            )
        given[name] = [items[index] for index in range(n_images)]
    if names is None:
        called = [_name_of(each, n) for n, each in enumerate(given["images"], 1)]
    else:
        called = check_names(names, n_images)
    return [
        Source(
            index,
            called[index],
            given["images"][index],
            labels[index],
            given["tables"][index],
            given["truth"][index],
            sizes[index],
        )
        for index in range(n_images)
    ]


def _name_of(image: Any, number: int) -> str:
    if is_path(image):
        return as_path(image).replace("\\", "/").rsplit("/", 1)[-1]
    return f"image {number}"


def _as_sizes(pixel_size: Any, n_images: int) -> list[float | None]:
    """Check pixel sizes, one or one for each image."""
    if pixel_size is None:
        return [None] * n_images
    if np.ndim(pixel_size) == 0:
        return [check_pixel_size(pixel_size)] * n_images
    if len(pixel_size) != n_images:
        raise ValueError(
            f"pixel_size has {len(pixel_size)} entries for {n_images} images; expected "
            "one number, or one for each."
        )
    return [
        None if each is None else check_pixel_size(each, f"pixel_size[{index}]")
        for index, each in enumerate(pixel_size)
    ]


def write_report(
    path: Any,
    sources: Sequence[Source],
    *,
    class_names: Mapping[int, str] | None = None,
    class_colors: Mapping[int, Sequence[int]] | None = None,
    iou_threshold: float = 0.5,
    parameters: Mapping[str, Any] | None = None,
    failures: Mapping[str, str] | None = None,
    title: str | None = None,
    max_bytes: int = 100_000_000,
    watch: Callable[[], None] | None = None,
    slides: Sequence[SlideRow] = (),
) -> list[Record]:
    """Write a report of what `list_sources` gave; return what was kept of images.

    `watch` is called after each image; `slides` have a table of their own.
    """
    target = as_path(path)
    if not target.lower().endswith((".html", ".htm")):
        raise ValueError(f"path must end in .html or .htm, got {shown(target)}.")
    threshold = one_threshold(iou_threshold)
    check_number(max_bytes, "max_bytes", _LEAST_BYTES, whole=True, inclusive=True)
    if class_names is not None and not isinstance(class_names, Mapping):
        raise TypeError(
            "class_names must be a dict of names by class, such as {1: 'positive'}, "
            f"got {shown(class_names)}."
        )
    if class_colors is not None:
        check_class_colors(class_colors)
    if parameters is not None and not isinstance(parameters, Mapping):
        raise TypeError(f"parameters must be a dict, got {shown(parameters)}.")
    if failures is not None and not isinstance(failures, Mapping):
        raise TypeError(
            "failures must be a dict of reasons by the name of the image, got "
            f"{shown(failures)}."
        )
    oddities = Oddities()
    records: list[Record] = []
    with (
        atomic_path(target) as part,
        tempfile.TemporaryFile() as spool,
        open(part, "w", encoding="utf-8", newline="\n") as file,
    ):
        places = []
        for source in sources:
            record = look_at(
                source,
                oddities.look,
                max_bytes=(max_bytes - _FIXED_BYTES) // max(len(sources), 1),
                iou_threshold=threshold,
            )
            places.append([_put(spool, text) for text in (record.left, record.rows)])
            record.left = record.rows = ""
            records.append(record)
            if watch is not None:
                watch()
        _look_at_all(records, any(source.truth is not None for source in sources))
        page = _make_page(
            records,
            oddities,
            threshold,
            class_names=class_names,
            class_colors=class_colors,
            parameters=parameters,
            failures=failures,
            title=title,
        )
        _write(file, page, spool, places, slides)
    return records


def _put(spool: IO[bytes], text: str) -> tuple[int, int]:
    """Put a text away; return its place and length."""
    data = text.encode("utf-8")
    start = spool.seek(0, 2)
    spool.write(data)
    return start, len(data)


def _get(spool: IO[bytes], place: tuple[int, int]) -> str:
    spool.seek(place[0])
    return spool.read(place[1]).decode("utf-8")


def _look_at_all(records: list[Record], with_truth: bool) -> None:
    """Add the warnings that need all images."""
    for record in records:
        record.findings += look_at_numbers(
            record.n_nuclei, record.table.get("area_um2"), record.staining
        )
        if with_truth and record.matches is None:
            record.findings.append(Finding("truth", "There is no truth: not scored."))
    stainings = odd_stainings([record.staining for record in records])
    counts = odd_counts([record.density for record in records])
    for found in (stainings, counts):
        for index, finding in found.items():
            records[index].findings.append(finding)


def _make_page(
    records: list[Record],
    oddities: Oddities,
    threshold: float,
    *,
    class_names: Mapping[int, str] | None,
    class_colors: Mapping[int, Sequence[int]] | None,
    parameters: Mapping[str, Any] | None,
    failures: Mapping[str, str] | None,
    title: str | None,
) -> parts.Page:
    """Put together what all parts of the page know."""
    texts = _class_texts(records, class_names)
    colors = {}
    for number, text in texts.items():
        own = _COLORS.get(text, tuple(_PALETTE[(number - 1) % len(_PALETTE)].tolist()))
        colors[number] = (class_colors or {}).get(number, own)
    scored = [record for record in records if record.counts is not None]
    scores = None
    if scored:
        thresholds = np.unique([threshold, 0.5])
        scores = score_counts(
            [record.counts for record in scored if record.counts is not None],
            [record.name for record in scored],
            thresholds,
            RADIUS,
        )
    if title is None:
        title = f"Nuclei in {parts.count(len(records), 'image', 'images')}"
    now = datetime.now().astimezone()
    return parts.Page(
        title=title,
        records=records,
        oddities=oddities,
        class_texts=texts,
        class_colors=colors,
        index=_index(records, texts),
        scores=scores,
        scored={record.index: place for place, record in enumerate(scored)},
        iou_threshold=threshold,
        parameters=parameters,
        failures=failures or {},
        versions=_versions(),
        made=f"psmlearn {psmlearn.__version__}, {now:%d %B %Y, %H:%M %Z}",
    )


def _class_texts(
    records: list[Record], class_names: Mapping[int, str] | None
) -> dict[int, str]:
    """Name the classes that there are."""
    found = set()
    for record in records:
        if record.classes is not None:
            found |= set(np.unique(record.classes).tolist())
    if class_names is not None:
        found |= {int(number) for number in class_names}
        named = {int(number): str(text) for number, text in class_names.items()}
    elif found and found <= {-1, 0, 1, 2}:
        named = {1: _POSITIVE, 2: _NEGATIVE}
        found |= {1, 2}
    else:
        named = {}
    return {
        number: named.get(number, f"class {number}")
        for number in sorted(found)
        if number > 0
    }


def _index(records: list[Record], texts: Mapping[int, str]) -> LabellingIndex | None:
    """Count positive and negative nuclei, where there are classes of these names."""
    numbers = {text: number for number, text in texts.items()}
    if _POSITIVE not in numbers or _NEGATIVE not in numbers or not records:
        return None
    points = []
    for record in records:
        classes = (
            np.zeros(record.n_nuclei) if record.classes is None else record.classes
        )
        places = (record.table["centroid_row"], record.table["centroid_column"])
        point = np.column_stack([*places, classes]).astype(np.float64)
        points.append(np.nan_to_num(point).reshape(-1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PsmlearnWarning)  # the result says it, too
        return labelling_index(
            points,
            positive=numbers[_POSITIVE],
            negative=numbers[_NEGATIVE],
            names=[record.name for record in records],
        )


def _versions() -> dict[str, str]:
    found = {"psmlearn": psmlearn.__version__, "Python": platform.python_version()}
    for name in _SHOWN_VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["system"] = f"{platform.system()} {platform.machine()}"
    return found


def _write(
    file: IO[str],
    page: parts.Page,
    spool: IO[bytes],
    places: list[list[Any]],
    slides: Sequence[SlideRow] = (),
) -> None:
    """Write the page, one image after the other."""
    file.write(parts.head(page, with_slides=bool(slides)))
    if slides and not page.records:
        file.write(parts.failed(page))
        file.write(section(slides))
        file.write(cards.settings(page))
        file.write(parts.tail())
        return
    made = cards.make_distributions(page)
    file.write(parts.summary(page))
    file.write(parts.failed(page))
    file.write(section(slides))
    file.write(parts.findings(page))
    file.write(parts.image_table(page))
    file.write(parts.score_table(page))
    file.write(cards.distributions(page, made))
    file.write(cards.unusual(page))
    file.write(cards.pictures_head())
    for record, (left, rows) in zip(page.records, places, strict=True):
        file.write(cards.card_head(record))
        file.write(_get(spool, left))
        file.write(cards.card_side(page, record, made))
        file.write(_get(spool, rows))
        file.write("</article>\n")
    file.write("</section>\n")
    file.write(cards.settings(page))
    file.write(parts.tail())
