# SPDX-License-Identifier: BSD-3-Clause
"""Whole slides among the images: trained on by fields, segmented one by one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psmlearn._cli._nuclei import INDEX_NAME, STAINS
from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._record import plain
from psmlearn._cli._results import Job, Results
from psmlearn._cli._terminal import Terminal, count, tell_error
from psmlearn._parameters import check_pixel_size
from psmlearn.io._paths import printable

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from psmlearn.io import ImageBatch
    from psmlearn.slides import SlideResult

__all__ = [
    "SlidesToo",
    "check_jobs",
    "check_slides",
    "draw_fields",
    "fields_options",
    "fields_size",
    "images_first",
    "training_images",
    "with_slides",
    "workers_options",
]

# What is written of a slide: the kinds of `segment_slide`, and the end of their names.
_ENDINGS = {
    "labels": "_labels.ome.tif",
    "geojson": "_nuclei.geojson.gz",
    "table": "_nuclei.csv",
    "tissue": "_tissue.png",
    "summary": "_slide.json",
}
# What is done so far of slides lies here, until they are done.
_PART_NAME = ".psmlearn-slides"


def fields_options(command: Any) -> Any:
    """Add how many fields of slides are trained on, and their size."""
    fields = click.option(
        "--fields",
        type=click.IntRange(min=1),
        default=30,
        show_default=True,
        help="Of slides, fields of tissue that are trained on, over all of them.",
    )
    size = click.option(
        "--field-size",
        type=click.IntRange(min=32),
        default=1000,
        show_default=True,
        metavar="PIXELS",
        help="Side of such a field.",
    )
    return fields(size(command))


def workers_options(command: Any) -> Any:
    """Add who works on slides."""
    workers = click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Of slides, processes of this machine that work on them (needs Dask).",
    )
    scheduler = click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Of slides, a Dask scheduler whose workers work on them, such as "
        "tcp://node1:8786; they see the same files.",
    )
    return workers(scheduler(command))


def _count_images(paths: Sequence[str]) -> int:
    return sum(not _is_slide(path) for path in paths)


def images_first(paths: Sequence[str]) -> list[str]:
    """Return paths with the slides last."""
    return sorted(paths, key=_is_slide)


def open_slide(path: str, asked: float | str | None) -> Any:
    """Open a slide; one that does not tell its pixel size has the one given."""
    from psmlearn.io import Slide

    slide = Slide(path)
    if slide.pixel_size is None and isinstance(asked, float):
        slide.close()
        slide = Slide(path, pixel_size=check_pixel_size(asked, "--pixel-size"))
    return slide


@contextmanager
def plain_imports() -> Iterator[None]:
    """Tell of a package that is missing in one line, as of other faults."""
    try:
        yield
    except ImportError as error:
        raise ValueError(str(error)) from error


def check_slides(
    paths: Sequence[str],
    first: int,
    asked: float | str | None,
    terminal: Terminal,
    *,
    strict: bool,
) -> tuple[list[float | None], dict[int, Exception]]:
    """Open each slide before any work.

    Parameters
    ----------
    paths : sequence of str
    first : int
        Place of the first among all images.

    Returns
    -------
    sizes : list of (float or None)
        Micrometres per pixel of the good ones, as far as they are known.
    bad : dict of int to Exception
        What is wrong with the others, by place; none with `strict`.
    """
    sizes: list[float | None] = []
    bad: dict[int, Exception] = {}
    for place, path in enumerate(paths, first):
        try:
            with plain_imports(), open_slide(path, asked) as slide:
                size = slide.pixel_size
        except (ValueError, TypeError, OSError) as error:
            text = tell_error(error)
            named = text if path in text else f"{printable(path)}: {text}"
            bad[place] = ValueError(named)
            if strict:
                raise bad[place] from error
        else:
            sizes.append(size)
            told = "not known" if size is None else f"{size:g} micrometres"
            terminal.say(f"slide {path}: pixel size {told}")
    return sizes, bad


def with_slides(
    results: Results,
    paths: Sequence[str],
    asked: float | str | None,
    size: float | str | None,
    options: Mapping[str, Any],
    terminal: Terminal,
) -> Results:
    """Return results that hold those of slides, too, where there are any.

    Raises
    ------
    ValueError
        If a library is missing for them.
    """
    from psmlearn._cli._chain import PIXEL_SIZE

    if not any(map(_is_slide, paths)):
        return results
    # A model of several pixel sizes has none of its own.
    read_at = PIXEL_SIZE if isinstance(size, str) else size
    told = {**options, "verbose": terminal.verbose}
    both = SlidesToo(results, asked, read_at, told)
    both.check()
    return both


def check_jobs(
    jobs: Sequence[Job],
    asked: float | str | None,
    terminal: Terminal,
    command: str,
    *,
    with_slides: bool = True,
    **options: Any,
) -> tuple[ImageBatch | None, list[float | None], dict[int, Exception]]:
    """Look at all images and slides before any work; images come first.

    Without `with_slides` slides are images, which most are not.

    Returns
    -------
    batch : ImageBatch or None
        The good images; None where all are slides.
    sizes : list of (float or None)
        Pixel sizes of the good slides, as far as they are known.
    bad : dict of int to Exception
        What is wrong with the others, by place.

    Raises
    ------
    ValueError, TypeError, OSError
        If all images, or all slides without images, are bad.
    """
    from psmlearn._cli import _chain

    paths = [job.path for job in jobs]
    n_images = _count_images(paths) if with_slides else len(paths)
    images, slides = paths[:n_images], paths[n_images:]
    batch: ImageBatch | None = None
    bad: dict[int, Exception] = {}
    if images:
        batch, _, bad = _chain.check(images, terminal, command, **options)
    sizes, bad_slides = check_slides(
        slides, len(images), asked, terminal, strict=options["strict"]
    )
    if not images and not sizes:
        raise next(iter(bad_slides.values()))
    return batch, sizes, {**bad, **bad_slides}


def fields_size(asked: float | str | None, sizes: Sequence[float]) -> float:
    """Return the pixel size at which fields are read, beside images of some sizes.

    Raises
    ------
    ValueError
        If the images have several.
    """
    from psmlearn._cli._chain import PIXEL_SIZE

    if isinstance(asked, float):
        return check_pixel_size(asked, "--pixel-size")
    if not len(sizes):
        return PIXEL_SIZE
    if min(sizes) != max(sizes):
        raise ValueError(
            f"The images have pixels of {min(sizes):g} to {max(sizes):g} micrometres, "
            "so that it is not clear at which fields of the slides are to be read: "
            "give --pixel-size, or train on slides alone."
        )
    return float(sizes[0])


def draw_fields(
    paths: Sequence[str],
    size: float,
    asked: float | str | None,
    options: Mapping[str, Any],
    terminal: Terminal,
) -> Bunch:
    """Draw the fields of slides that are trained on, and say so."""
    from psmlearn.slides import sample_fields

    with plain_imports(), ExitStack() as stack:
        slides = [stack.enter_context(open_slide(path, asked)) for path in paths]
        drawn = sample_fields(
            slides,
            n_fields=options["fields"],
            field_size=options["field_size"],
            pixel_size=size,
            random_state=options["random_state"],
        )
    terminal.say(
        f"{count(len(drawn.images), 'field')} of {count(len(paths), 'slide')} drawn "
        f"from tissue, without labels, at {size:g} micrometres a pixel"
    )
    return drawn


@dataclass(frozen=True)
class TrainingImages:
    """What is trained on: images as they are, and fields of slides.

    Attributes
    ----------
    batch : ImageBatch
        Images first.
    bad : dict of int to Exception
        What is wrong with others, by place.
    size : float or str
        Pixel size of the training.
    assumed : bool
        Whether nobody told it.
    sizes : list of float
        Of the images, without slides.
    of_slides : list of (float or None)
        Of the slides.
    told : dict
        What was asked for of fields; empty without slides.
    places : list of dict
        Where fields were drawn.
    """

    batch: ImageBatch
    bad: dict[int, Exception]
    size: float | str
    assumed: bool
    sizes: list[float]
    of_slides: list[float | None]
    told: dict[str, Any]
    places: list[dict[str, Any]]


def training_images(
    paths: Sequence[str],
    asked: float | str | None,
    options: Mapping[str, Any],
    terminal: Terminal,
    command: str,
    **default: Any,
) -> TrainingImages:
    """Look at images, and draw fields of the slides that come after them."""
    from psmlearn._cli import _chain
    from psmlearn.io import check_images

    n_images = _count_images(paths)
    slides, strict = paths[n_images:], options["strict"]
    bad: dict[int, Exception] = {}
    kept: list[Any] = []
    size: float | str = _chain.PIXEL_SIZE
    sizes: list[float] = []
    assumed = False
    if n_images:
        batch, places, bad = _chain.check(
            paths[:n_images], terminal, command, strict=strict
        )
        kept = [paths[place] for place in places]
        size, found, assumed = _chain.choose_pixel_size(
            asked, batch, terminal, **default
        )
        sizes = found.tolist()
    if not slides:
        return TrainingImages(batch, bad, size, assumed, sizes, [], {}, [])
    of_slides, bad_slides = check_slides(
        slides, n_images, asked, terminal, strict=strict
    )
    bad = {**bad, **bad_slides}
    good = [p for place, p in enumerate(slides, n_images) if place not in bad]
    fields: list[Any] = []
    if good:
        size = fields_size(asked, sizes)
        drawn = draw_fields(good, size, asked, options, terminal)
        fields, where = drawn.images, drawn.places
    elif not kept:
        raise next(iter(bad_slides.values()))
    else:
        where = []
    batch = check_images([*kept, *fields], caller=f"psmlearn {command}")
    told = {"fields": options["fields"], "field_size": options["field_size"]}
    return TrainingImages(batch, bad, size, assumed, sizes, of_slides, told, where)


class SlidesToo(Results):
    """Results of images, and those of slides beside them.

    Parameters
    ----------
    images : Results
        Of all that is no slide.
    asked : float, str or None
        Pixel size of slides that do not tell theirs.
    size : float or None
        At which slides are read; None is that of the model.
    options : mapping
        Of the command line.
    """

    def __init__(
        self,
        images: Results,
        asked: float | str | None,
        size: float | None,
        options: Mapping[str, Any],
    ) -> None:
        self.images = images
        self.asked = asked
        self.size = size
        self.options = options
        self.stage = images.stage  # type: ignore[misc]

    @property
    def endings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.images.endings, *_ENDINGS.values()]))

    @property
    def shared(self) -> tuple[str, ...]:
        return self.images.shared

    @property
    def counts_classes(self) -> bool:
        """Whether positive and negative nuclei are counted over all."""
        return INDEX_NAME in self.shared

    def endings_of(self, path: str) -> tuple[str, ...]:
        return tuple(_ENDINGS.values()) if _is_slide(path) else self.images.endings

    def check(self) -> None:
        """Refuse what a library is missing for, before any work.

        Raises
        ------
        ValueError
            If one is.
        """
        from importlib.util import find_spec

        if _workers_of(self.options) is not None and find_spec("distributed") is None:
            raise ValueError(
                "--workers and --scheduler need Dask: pip install 'psmlearn[dask]'."
            )

    def check_model(self, model: Any) -> None:
        """Refuse a model that segments no slides, before any work.

        Raises
        ------
        TypeError, ValueError
        """
        from psmlearn.slides._model import nuclei_segmenter

        nuclei_segmenter(model)

    def write(
        self,
        model: Any,
        batch: ImageBatch,
        index: int,
        pixel_size: float | None,
        job: Job,
        folder: OutputFolder,
    ) -> Any:
        if not _is_slide(job.path):
            return self.images.write(model, batch, index, pixel_size, job, folder)
        return _write_slide(model, job, folder, self)

    def read(
        self, folder: Path, jobs: Sequence[Job], finished: set[str]
    ) -> dict[str, Any]:
        slides = [job for job in jobs if _is_slide(job.path)]
        images = [job for job in jobs if not _is_slide(job.path)]
        found = self.images.read(folder, images, finished)
        for job in slides:
            path = folder / (job.name + _ENDINGS["summary"])
            found[job.name] = _as_result(json.loads(path.read_text(encoding="utf-8")))
        return found

    def find_again(self, model: Any, batch: ImageBatch, index: int, job: Job) -> Any:
        return self.images.find_again(model, batch, index, job)

    def describe(self, name: str, finding: Any) -> str:
        if not _is_result(finding):
            return self.images.describe(name, finding)
        text = f"{name}: {count(finding.n_nuclei, 'nucleus', 'nuclei')}"
        if finding.n_of_class:
            classes = [f"{n} {name}" for name, n in finding.n_of_class.items()]
            text += f" ({', '.join(classes)})"
        text += f" in {finding.tissue_mm2:.2f} square millimetres of tissue"
        if finding.problems:
            text += f"; {count(len(finding.problems), 'tile')} could not be read"
        return text

    def numbers(self, finding: Any) -> dict[str, Any]:
        if not _is_result(finding):
            return self.images.numbers(finding)
        told = finding.as_dict()
        names = ("n_nuclei", "tissue_mm2", "nuclei_per_mm2", "n_of_class", "problems")
        return {"slide": True, **{name: told[name] for name in names}}

    def write_shared(
        self,
        folder: OutputFolder,
        jobs: Sequence[Job],
        findings: Mapping[str, Any],
        failed: Sequence[str],
        terminal: Terminal,
    ) -> None:
        own = {n: each for n, each in findings.items() if not _is_result(each)}
        if self.counts_classes:
            slides = {n: each for n, each in findings.items() if _is_result(each)}
            own |= {n: _counted(folder.path, each) for n, each in slides.items()}
        named = [job for job in jobs if job.name in own]
        self.images.write_shared(folder, named, own, failed, terminal)

    def summary(self, findings: Mapping[str, Any]) -> str:
        slides = [each for each in findings.values() if _is_result(each)]
        images = {n: each for n, each in findings.items() if not _is_result(each)}
        n_nuclei = sum(each.n_nuclei for each in slides)
        nuclei = count(n_nuclei, "nucleus", "nuclei")
        text = f"{nuclei} in {count(len(slides), 'slide')}"
        return f"{self.images.summary(images)}, {text}" if images else text

    def doubt(self, findings: Mapping[str, Any]) -> str | None:
        if any(each.n_nuclei for each in findings.values() if _is_result(each)):
            return None
        images = {n: each for n, each in findings.items() if not _is_result(each)}
        return self.images.doubt(images)


@cache
def _is_slide(path: str) -> bool:
    from psmlearn.io import is_slide

    return is_slide(path)


def _is_result(finding: Any) -> bool:
    return hasattr(finding, "tissue_mm2")


def _counted(folder: Path, result: SlideResult) -> dict[str, Any]:
    """Return the columns of a slide's table by which nuclei are counted."""
    from psmlearn.slides._tables import read_table

    table = read_table(str(folder / result.files["table"]))
    names = ("label", "class", "centroid_row", "centroid_column", "mean_dab_od")
    return {name: table[name] for name in names if name in table}


def _as_result(told: dict[str, Any]) -> SlideResult:
    from psmlearn.slides import SlideResult

    known = {key: value for key, value in told.items() if key != "nuclei_per_mm2"}
    return SlideResult(**{**known, "shape": tuple(known["shape"])})


def _workers_of(options: Mapping[str, Any]) -> int | str | None:
    """Return who works on slides.

    Raises
    ------
    click.UsageError
        If two are named.
    """
    if options["workers"] and options["scheduler"]:
        raise click.UsageError("Give --workers or --scheduler, not both.")
    return options["workers"] or options["scheduler"]


def _write_slide(
    model: Any, job: Job, folder: OutputFolder, results: SlidesToo
) -> SlideResult:
    """Segment a slide beside the results, and let all its files appear together."""
    from dataclasses import replace

    from psmlearn.slides import segment_slide

    part = folder.path / _PART_NAME / job.name
    part.mkdir(parents=True, exist_ok=True)
    with plain_imports(), open_slide(job.path, results.asked) as slide:
        result = segment_slide(
            model,
            slide,
            part,
            pixel_size=results.size,
            stains=STAINS if results.counts_classes else STAINS[:1],
            workers=_workers_of(results.options),
            # What was broken off of another run is of no use, and nobody else's.
            resume=folder.resume,
            overwrite=True,
            verbose=results.options.get("verbose", 0),
        )
    if job.stamp is not None:
        job.stamp.check()
    names = dict(zip(_ENDINGS, job.files, strict=True))
    made = dict(result.files)
    files = {kind: names[kind] for kind in made}
    result = replace(result, files=files)
    with folder.writing(job.files, job.path) as paths:
        places = dict(zip(_ENDINGS, paths, strict=True))
        for kind, path in made.items():
            os.replace(path, places[kind])
        with open(places["summary"], "w", encoding="utf-8") as file:
            json.dump(plain(result.as_dict()), file, indent=1)
    shutil.rmtree(part, ignore_errors=True)
    with suppress(OSError):  # others are there
        part.parent.rmdir()
    return result
