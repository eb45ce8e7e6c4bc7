# SPDX-License-Identifier: BSD-3-Clause
"""A whole slide, segmented in bounded memory, on one machine or many."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from psmlearn._engine._modes import plain_torch
from psmlearn._parameters import check_pixel_size, shown
from psmlearn._progress import announce, progress_bar, stages, track
from psmlearn._warnings import warn_user
from psmlearn.io import Slide, atomic_path
from psmlearn.io._locks import try_lock
from psmlearn.io._paths import as_path, printable, stem_of
from psmlearn.persistence import save_model
from psmlearn.preprocessing._slide_tissue import Tissue, find_tissue
from psmlearn.slides._model import SlideModel, nuclei_segmenter
from psmlearn.slides._plan import PROBLEMS, SlidePlan
from psmlearn.slides._result import SlideResult
from psmlearn.slides._run import Found, Workers, find_nuclei
from psmlearn.slides._workers import KEPT, DaskWorkers, ThisProcess, cluster
from psmlearn.slides._write import FORMATS, write_results

__all__ = ["segment_slide"]

_logger = logging.getLogger("psmlearn")
_TOLD = {
    "answer": "network",
    "find_stained": "stained nuclei",
    "settle_stained": "stained nuclei",
    "first_look": "size of nuclei",
    "read_objects": "nuclei",
    "measure": "measures",
    "outline": "outlines",
    "write": "files",
}
_LARGEST_BLOCK = 8192


def segment_slide(
    model: Any,
    slide: Any,
    output: str | os.PathLike[str],
    *,
    pixel_size: float | None = None,
    tissue: str | np.ndarray | None = "auto",
    formats: str | Sequence[str] = ("labels", "geojson", "table"),
    stains: Sequence[str] = ("haematoxylin",),
    block_size: int = 2048,
    workers: Any = None,
    resources: dict[str, float] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int = 0,
) -> SlideResult:
    """Find the nuclei of a whole slide, whatever its size.

    The nuclei are those that ``predict`` finds in the whole image at once, to the
    pixel, whatever the blocks and the workers: tiles of the network overlap by what it
    sees, an object that goes beyond its block is read again with all that hangs on it,
    and what is usual around a nucleus is taken over the slide. Memory does not grow
    with the slide, but for some 40 bytes a nucleus; what is done so far lies in a
    folder beside the results, 8 bytes a pixel of tissue (12 with classes), until all
    is done.

    Where a chromogen's nuclei are told by the stain (``classes="ki67"``), these are
    looked for in fields of the slide, as ``predict`` does in an image: the network's
    tiles with their context. They, too, are the same whatever the blocks.

    Parameters
    ----------
    model : NucleiSegmenter or PseudoLabelSegmenter
        Fitted, with ``targets="distance"`` or "voronoi".
    slide : Slide, path or array
        What :class:`psmlearn.io.Slide` takes.
    output : path
        Folder of the results, made where it is missing.
    pixel_size : float, default=None
        Micrometres per pixel at which the slide is read; None takes that of the model,
        if it is one number, else 0.25. Of a slide that does not tell its own, full
        resolution is read and taken for it.
    tissue : "auto", ndarray of shape (rows, columns) or None, default="auto"
        Where nuclei are looked for: "auto" finds tissue without pen, folds and black
        ground on a thumbnail; a boolean mask of any resolution, of the whole slide;
        None is everywhere.
    formats : str or sequence of {"labels", "zarr", "geojson", "table", "parquet"}, \
default=("labels", "geojson", "table")
        What is written: a tiled pyramid of ids as OME-TIFF (``.ome.tif``) or OME-Zarr
        (``.ome.zarr``), outlines for QuPath in pixels of full resolution
        (``.geojson.gz``), and a table as CSV or Parquet (extra ``parquet``), as
        :func:`~psmlearn.measure.nuclei_table` gives it, in pixels of what is segmented.
    stains : sequence of str, default=("haematoxylin",)
        Stains that the table measures; see :func:`~psmlearn.measure.nuclei_table`.
    block_size : int, default=2048
        Side in pixels of what is read at a time, but for the network, which has its
        own ``tile_size``. Results do not hang on it.
    workers : int, str, distributed.Client or None, default=None
        None works in this process. With Dask (``pip install psmlearn[dask]``): a number
        of processes of this machine, the address of a scheduler, or a client. They
        open the slide by its path and see the folder `output`, and run torch by one
        thread: with more threads in this process the last bits of its probabilities
        differ from theirs.
    resources : dict, default=None
        What a worker of Dask needs to run the network, such as ``{"GPU": 1}``.
    resume : bool, default=False
        Whether a run that was broken off goes on; all parts that are done stay, and
        what is finished is not done again.
    overwrite : bool, default=False
        Whether results that are there are replaced.
    verbose : int, default=0
        1 shows progress, in square millimetres for the network and blocks for the rest.

    Returns
    -------
    result : SlideResult

    Raises
    ------
    TypeError, ValueError
        If the model cannot segment slides, if the slide has other channels, changes
        while it is read or has been segmented already, if another run writes there, or
        what was broken off is not the same run.
    OSError
        If the disk is full or may not be written to; what is done stays, and
        ``resume=True`` goes on.

    See Also
    --------
    psmlearn.io.Slide : What is read.
    psmlearn.datasets.make_slide : A slide to try it on.

    Examples
    --------
    >>> import os, tempfile
    >>> from psmlearn import NucleiSegmenter
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.io import Slide
    >>> from psmlearn.slides import segment_slide
    >>> data = make_nuclei(n_images=2, shape=(64, 64), n_nuclei=8, random_state=0)
    >>> model = NucleiSegmenter(max_epochs=1, steps_per_epoch=2, patch_size=32,
    ...                         batch_size=2, random_state=0)
    >>> model = model.fit(data.images, data.masks)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     slide = Slide(data.images[0], pixel_size=0.25)
    ...     result = segment_slide(model, slide, folder, tissue=None)
    ...     labels = result.read_labels(0, 0, 64, 64)
    >>> bool(labels.max() == result.n_nuclei)
    True
    """
    formats = _check_formats(formats)
    block_size = _check_block(block_size)
    _check_workers(workers)
    segmenter = nuclei_segmenter(model)
    with ExitStack() as stack:
        if not isinstance(slide, Slide):
            slide = stack.enter_context(Slide(slide))
        _check_channels(slide, segmenter)
        plan, parts = _plan(model, segmenter, slide, output, pixel_size, block_size)
        files = _files(output, slide.name, formats)
        plan = _with_tissue(plan, tissue)
        plan, told = _identified(plan, parts.saved, stains)
        earlier = _finished(files, plan.run) if resume else None
        if earlier is not None:
            return earlier
        _refuse_results(files, overwrite)
        stack.enter_context(_locked(plan.folder, slide.name))
        _begin(plan, told, parts.saved, resume, overwrite)
        told_stages = _stages_of(parts, outlines="geojson" in files)
        names = list(dict.fromkeys(_TOLD[stage] for stage in told_stages))
        with stages(names), _advice(plan.folder), plain_torch():
            watch = partial(_watched, plan, verbose)
            options = {"stains": tuple(stains), "outlines": "geojson" in files}
            found = _found(plan, parts, workers, resources, watch, options)
            _refuse_changed(plan)
            announce(_TOLD["write"])
            write_results(plan, parts, found, files, verbose)
        result = _result(plan, parts, found, files)
        shutil.rmtree(plan.folder, ignore_errors=True)
    return result


def _check_formats(formats: str | Sequence[str]) -> list[str]:
    names = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise ValueError(f"formats: any of {list(FORMATS)} are expected, got {unknown}")
    return names


def _check_block(size: int) -> int:
    is_whole = isinstance(size, Integral) and not isinstance(size, bool)
    if not is_whole or not 128 <= size <= _LARGEST_BLOCK:
        raise ValueError(
            f"block_size: a whole number from 128 to {_LARGEST_BLOCK} is expected, got "
            f"{shown(size)}"
        )
    return int(size)


def _check_workers(workers: Any) -> None:
    is_number = isinstance(workers, Integral | float)
    if is_number and (not isinstance(workers, Integral) or workers < 1):
        raise ValueError(
            "workers: a number of processes from 1, the address of a scheduler, a "
            f"client of Dask or None is expected, got {shown(workers)}"
        )


def _check_channels(slide: Slide, segmenter: Any) -> None:
    if slide.n_channels != segmenter.n_features_in_:
        raise ValueError(
            f"slide {printable(slide.name)}: it has {slide.n_channels} channels, and "
            f"the model was trained on images with {segmenter.n_features_in_}."
        )


def _plan(
    model: Any,
    segmenter: Any,
    slide: Slide,
    output: str | os.PathLike[str],
    pixel_size: float | None,
    block_size: int,
) -> tuple[SlidePlan, SlideModel]:
    """Return what is to be done, everywhere in the slide, and the model for it."""
    given = segmenter.pixel_size if pixel_size is None else pixel_size
    wished = 0.25 if np.ndim(given) or isinstance(given, str) else given
    wished = check_pixel_size(wished)
    if slide.pixel_size is None:
        warn_user(
            f"slide {printable(slide.name)} does not tell its pixel size: full "
            f"resolution is taken for {wished:g} micrometres a pixel. Give the true "
            "one: Slide(path, pixel_size=...)."
        )
    view = slide.view(None if slide.pixel_size is None else wished)
    size = wished if view.pixel_size is None else view.pixel_size
    parts = SlideModel(model, size)
    folder = os.path.join(os.path.abspath(as_path(output)), f".{slide.name}.psmlearn")
    everywhere = Tissue(np.ones((1, 1), bool), view.shape)
    return (
        SlidePlan(
            slide,
            None if slide.pixel_size is None else wished,
            size,
            view.shape,
            parts.tile_size,
            parts.halo,
            parts.stride,
            block_size,
            (0, 0),
            everywhere,
            folder,
            parts.n_outputs,
        ),
        parts,
    )


def _with_tissue(plan: SlidePlan, tissue: str | np.ndarray | None) -> SlidePlan:
    if tissue is None:
        return plan
    if isinstance(tissue, str):
        if tissue != "auto":
            raise ValueError(
                f"tissue: 'auto', a mask or None is expected, got {tissue!r}"
            )
        found = find_tissue(plan.slide, plan.shape)
    else:
        mask = np.asarray(tissue)
        if mask.ndim != 2 or mask.dtype != bool or 0 in mask.shape:
            raise ValueError(
                "tissue: a boolean mask (rows, columns) of the whole slide is "
                f"expected, got shape {mask.shape} of {mask.dtype}"
            )
        rows, columns = (
            np.arange(min(cells, side)) * cells // min(cells, side)
            for cells, side in zip(mask.shape, plan.shape, strict=True)
        )
        found = Tissue(mask[np.ix_(rows, columns)], plan.shape)
    return replace(plan, tissue=found)


def _identified(
    plan: SlidePlan, model_part: Any, stains: Sequence[str]
) -> tuple[SlidePlan, dict[str, Any]]:
    """Return the plan with what tells its run from others, and what that is made of."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.psm")
        save_model(model_part, path)
        model = hashlib.sha256(path.read_bytes()).hexdigest()
    told = {**plan.told(), "model": model, "stains": list(stains)}
    run = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return replace(plan, run=run), told


def _finished(files: dict[str, str], run: str) -> SlideResult | None:
    """Return the result of the same run, if all of it is there."""
    values = _read_run(files["summary"]) or {}
    if values.pop("run", None) != run or not all(map(os.path.exists, files.values())):
        return None
    values.pop("nuclei_per_mm2", None)
    return SlideResult(**{**values, "shape": tuple(values["shape"])})


def _begin(
    plan: SlidePlan,
    told: dict[str, Any],
    model_part: Any,
    resume: bool,
    overwrite: bool,
) -> None:
    """Note the run; what an earlier one has done is kept, or goes."""
    path = os.path.join(plan.folder, "run.json")
    kept = _read_run(path)
    if kept is not None and (kept.get("run") != plan.run or not resume):
        if not overwrite:
            raise _broken_off(plan, kept.get("told", {}), told, resume)
        for name in ("answers", "outlines", "plan", PROBLEMS, *KEPT.values()):
            shutil.rmtree(os.path.join(plan.folder, name), ignore_errors=True)
    save_model(model_part, plan.model_path)
    with atomic_path(path) as temporary:
        text = json.dumps({"run": plan.run, "told": told})
        Path(temporary).write_text(text, encoding="utf-8")


def _broken_off(
    plan: SlidePlan, before: dict[str, Any], told: dict[str, Any], resume: bool
) -> ValueError:
    """Return the error for what another run, or the same, left undone."""
    name = printable(plan.slide.name)
    if resume:
        differs = [key for key in told if before.get(key) != told[key]]
        return ValueError(
            f"slide {name}: what was broken off is another run, with another "
            f"{', '.join(differs)}; overwrite=True begins anew."
        )
    return ValueError(
        f"slide {name}: a run that was broken off lies in {printable(plan.folder)!r}; "
        "resume=True goes on with it, overwrite=True begins anew."
    )


def _read_run(path: str) -> dict[str, Any] | None:
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@contextmanager
def _locked(folder: str, name: str) -> Iterator[None]:
    """Hold the folder of what is done so far; another run cannot."""
    os.makedirs(folder, exist_ok=True)
    descriptor = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(descriptor):
            raise ValueError(
                f"Another run segments the slide {printable(name)} into this folder; "
                "wait until it is done, or give another output."
            )
        yield
    finally:
        os.close(descriptor)


def _files(
    output: str | os.PathLike[str], name: str, formats: Sequence[str]
) -> dict[str, str]:
    stem = os.path.join(os.path.abspath(as_path(output)), stem_of(name))
    files = {kind: stem + suffix for kind, suffix in FORMATS.items() if kind in formats}
    return files | {"summary": f"{stem}.json", "tissue": f"{stem}.tissue.png"}


def _refuse_results(files: dict[str, str], overwrite: bool) -> None:
    there = [path for path in files.values() if os.path.lexists(path)]
    if there and not overwrite:
        raise ValueError(
            f"{printable(there[0])!r} is there already; overwrite=True replaces it, or "
            "give another output."
        )


def _stages_of(parts: SlideModel, *, outlines: bool) -> list[str]:
    stained = [] if parts.stained is None else ["find_stained", "settle_stained"]
    looks = ["first_look"] if parts.decoding.looks_first else []
    drawn = ["outline"] if outlines else []
    return ["answer", *stained, *looks, "read_objects", "measure", *drawn, "write"]


def _watched(
    plan: SlidePlan, verbose: int, todo: Sequence[int], done: Iterable[int], stage: str
) -> Iterator[int]:
    """Pass on what is done, under a bar."""
    name = _TOLD[stage]
    announce(name)
    if stage not in ("answer", "find_stained", "settle_stained"):
        yield from track(done, len(todo), f"{name}, blocks", verbose=verbose)
        return
    areas = {number: plan.tile_mm2(number) for number in todo}
    total = sum(areas.values())
    with progress_bar(total, f"{name}, mm²", verbose=verbose, unit="mm²") as bar:
        for number in done:
            yield number
            bar.update(areas[number])


def _found(
    plan: SlidePlan,
    parts: SlideModel,
    workers: Any,
    resources: dict[str, float] | None,
    watch: Any,
    options: dict[str, Any],
) -> Found:
    if workers is None:
        here: Workers = ThisProcess(plan, parts, watch)
        return find_nuclei(plan, parts, here, **options)
    plan.save()
    with cluster(workers) as client:
        _logger.info("Dask's dashboard: %s", client.dashboard_link)
        others = DaskWorkers(plan, client, watch, resources)
        return find_nuclei(plan, parts, others, **options)


@contextmanager
def _advice(folder: str) -> Iterator[None]:
    """Say of a disk that is full how to go on."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error}. What is done so far stays in {printable(folder)!r}: "
            "resume=True goes on with it.",
        ) from error


def _result(
    plan: SlidePlan, parts: SlideModel, found: Found, files: dict[str, str]
) -> SlideResult:
    slide = plan.slide
    area = plan.tissue.share * plan.shape[0] * plan.shape[1] * plan.pixel_size**2 / 1e6
    kept = {kind: path for kind, path in files.items() if kind != "summary"}
    result = SlideResult(
        slide.name,
        found.n_nuclei,
        plan.shape,
        plan.pixel_size,
        plan.view.downsample,
        area,
        kept,
        plan.problems(),
        {name: found.n_of_class(k) for k, name in parts.class_names.items()},
    )
    with atomic_path(files["summary"]) as temporary:
        text = json.dumps({**result.as_dict(), "run": plan.run}, indent=2)
        Path(temporary).write_text(text, encoding="utf-8")
    return result


def _refuse_changed(plan: SlidePlan) -> None:
    kept = _read_run(os.path.join(plan.folder, "run.json")) or {}
    if plan.told()["slide"] != kept.get("told", {}).get("slide"):
        name = printable(plan.slide.name)
        raise ValueError(f"slide {name} changed while it was read; begin anew.")
