# SPDX-License-Identifier: BSD-3-Clause
"""The command line: ``psmlearn segment IMAGES... --output demo/``."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

import psmlearn

if TYPE_CHECKING:
    import numpy as np

    from psmlearn.io import ImageBatch

# What a folder is searched for; a file named on the command line may end in anything.
_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"}
_SAMPLE_NAME = "sample"
# The file does not tell; judged by the size of its nuclei, as of a 20x scan.
_SAMPLE_PIXEL_SIZE = "0.5"
_PIXEL_SIZE = "0.25"
_INDEX_NAME = "labelling_index.csv"
_STAINS = ("haematoxylin", "dab")
# Those of LabellingIndexDisplay: told apart by the colour-blind, too.
_CLASS_COLORS = {1: (255, 70, 60), 2: (0, 215, 255)}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(psmlearn.__version__, prog_name="psmlearn")
def main() -> None:
    """Label-free nuclei segmentation for histology."""


@main.command()
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--sample", is_flag=True, help="Use scikit-image's sample image.")
@click.option(
    "--output",
    "-o",
    default="psmlearn-output",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to; made where it is missing.",
)
@click.option(
    "--max-epochs",
    type=click.IntRange(min=1),
    help="Cut each training short after so many epochs.",
)
@click.option(
    "--random-state", type=click.IntRange(min=0), default=0, show_default=True
)
@click.option(
    "--pixel-size",
    metavar="MICROMETRES|file",
    help="Micrometres per pixel, or 'file': as each file tells.  "
    f"[default: {_PIXEL_SIZE}; {_SAMPLE_PIXEL_SIZE} for --sample]",
)
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."
)
@click.option(
    "--classes",
    type=click.Choice(["ki67"]),
    help="Tell two classes of nuclei apart: ki67, 1 positive (brown, DAB) and "
    "2 negative (blue, haematoxylin).",
)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def segment(
    images: tuple[Path, ...],
    sample: bool,
    output: Path,
    max_epochs: int | None,
    random_state: int,
    pixel_size: str | None,
    device: str,
    classes: str | None,
    quiet: bool,
) -> None:
    """Find every nucleus in IMAGES (files or folders), trained on them without labels.

    For each image it writes an overlay of the outlines (PNG), the activation map
    (PNG), the label image (TIFF: 0 background, 1..n nuclei) and a table of nuclei
    (CSV).

    With --classes ki67 there is no map; the label images have the class as their
    second sample, and the table of nuclei the class and the mean amounts of
    haematoxylin and DAB; the points of each image (row, column, class) and the
    labelling index, the share of positive nuclei, with H-score and Allred score, per
    image and overall, are written as CSV, too. It counts all nuclei, not tumour cells
    alone; for research use only.
    """
    if not quiet:
        _show_messages()
    with _plain_errors():
        sources, names = _find_images(images, sample)
        if pixel_size is None:
            pixel_size = _SAMPLE_PIXEL_SIZE if sample else _PIXEL_SIZE
        resolution = _parse_pixel_size(pixel_size)
        output.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        click.echo(f"training on {_count(len(names), 'image')}, without labels")
        model, batch, sizes = _train(
            sources,
            resolution,
            max_epochs,
            random_state,
            device,
            int(not quiet),
            classes,
        )
        click.echo(f"trained in {time.perf_counter() - start:.0f} s")
        tables = []
        for index, name in enumerate(names):
            found = _segment_one(model, batch[index : index + 1])
            tables.append(_write_one(output, name, batch[index], *found, sizes[index]))
        kinds = ["*_overlay.png", "*_labels.tif", "*_nuclei.csv"]
        if classes is None:
            kinds.insert(1, "*_map.png")
        else:
            kinds += _write_classes(output, names, tables)
    n_nuclei = sum(table["label"].size for table in tables)
    click.echo(
        f"{_count(n_nuclei, 'nucleus', 'nuclei')} in {_count(len(names), 'image')}, "
        f"{time.perf_counter() - start:.0f} s in all"
    )
    click.echo(f"written to {output}: {', '.join(kinds)}")


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _show_messages() -> None:
    """Send the library's messages to the terminal."""
    logger = logging.getLogger("psmlearn")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn what is wrong with the input into one line, without a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        raise click.ClickException(str(error)) from error


def _find_images(
    images: tuple[Path, ...], sample: bool
) -> tuple[list[str | np.ndarray], list[str]]:
    """Return the images and, for each, a name of its own for its files."""
    if sample:
        if images:
            raise click.UsageError("Give IMAGES or --sample, not both.")
        from psmlearn.datasets import load_sample_image

        return [load_sample_image()], [_SAMPLE_NAME]
    paths: list[Path] = []
    for path in images:
        if path.is_dir():
            inside = sorted(
                p
                for p in path.iterdir()
                if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".")
            )
            if not inside:
                known = ", ".join(sorted(_SUFFIXES))
                raise click.UsageError(f"No image in the folder {path} ({known}).")
            paths.extend(inside)
        else:
            paths.append(path)
    if not paths:
        raise click.UsageError(
            "Name the images or folders to segment, or --sample for a sample image."
        )
    paths = list(dict.fromkeys(paths))
    return [str(path) for path in paths], _unique_names(paths)


def _unique_names(paths: list[Path]) -> list[str]:
    """File names without suffix; with a number where two images share one."""
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def _parse_pixel_size(text: str) -> float | str:
    if text == "file":
        return text
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a number nor 'file'.", param_hint="--pixel-size"
        ) from None


def _train(
    sources: list[str | np.ndarray],
    pixel_size: float | str,
    max_epochs: int | None,
    random_state: int,
    device: str,
    verbose: int,
    classes: str | None,
) -> tuple[Any, ImageBatch, np.ndarray]:
    """Check the images and fit the default chain on them."""
    from psmlearn.io import check_images, resolve_pixel_size
    from psmlearn.segmentation import PseudoLabelSegmenter
    from psmlearn.segmentation._defaults import default_chain

    batch = check_images(sources, caller="psmlearn segment")
    sizes = resolve_pixel_size(pixel_size, batch)
    labeler, segmenter = default_chain(
        batch,
        classes=cast("Literal['ki67'] | None", classes),  # click has checked it
        pixel_size=pixel_size,
        device=device,
        verbose=verbose,
        max_epochs=max_epochs,
    )
    model = PseudoLabelSegmenter(labeler, segmenter, random_state=random_state)
    model.fit(batch)
    return model, batch, sizes


def _segment_one(model: Any, image: ImageBatch) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the label image and, if there is one, the activation map of one image."""
    labels = model.predict(image)[0]
    if labels.ndim == 3:  # classes, by their stains
        return labels, None
    maps = model.labeler_.named_steps["maps"].transform(image)
    return labels, maps[0][..., -1]


def _write_one(
    output: Path,
    name: str,
    image: np.ndarray,
    labels: np.ndarray,
    activation_map: np.ndarray | None,
    pixel_size: float,
) -> dict[str, np.ndarray]:
    """Write the files of one image, tell what was found, return its table."""
    from psmlearn.inspection import color_map, overlay_labels
    from psmlearn.io import write_image, write_labels, write_table
    from psmlearn.measure import nuclei_table

    # Two stains are told from each other; haematoxylin alone from eosin, as well.
    stains = _STAINS if labels.ndim == 3 and image.shape[2] >= 3 else _STAINS[:1]
    table = nuclei_table(labels, image, pixel_size=float(pixel_size), stains=stains)
    colors = _CLASS_COLORS if labels.ndim == 3 else None
    overlay = overlay_labels(image, labels, class_colors=colors)
    write_image(output / f"{name}_overlay.png", overlay)
    if activation_map is not None:
        write_image(output / f"{name}_map.png", color_map(activation_map))
    write_labels(output / f"{name}_labels.tif", labels)
    write_table(output / f"{name}_nuclei.csv", table)
    n_nuclei = table["label"].size
    message = f"{name}: {_count(n_nuclei, 'nucleus', 'nuclei')}"
    if "class" in table:
        n_positive, n_negative = ((table["class"] == each).sum() for each in (1, 2))
        message += f" ({n_positive} positive, {n_negative} negative)"
    if n_nuclei:
        message += f", mean area {table['area'].mean():.1f} square micrometres"
    click.echo(message)
    return table


def _write_classes(
    output: Path, names: list[str], tables: list[dict[str, np.ndarray]]
) -> list[str]:
    """Write the points of each image and the labelling index; return their names."""
    import numpy as np

    from psmlearn.io import write_points, write_table
    from psmlearn.measure import labelling_index

    columns = ("centroid_row", "centroid_column", "class")
    points = [np.column_stack([table[key] for key in columns]) for table in tables]
    for name, of_image in zip(names, points, strict=True):
        write_points(output / f"{name}_points.csv", of_image)
    # The same numbers as stain_intensity gives, but measured once.
    has_stain = all("mean_dab" in table for table in tables)
    intensity = [table["mean_dab"] for table in tables] if has_stain else None
    with warnings.catch_warnings():
        # The result says it, too.
        warnings.simplefilter("ignore", UserWarning)
        result = labelling_index(points, intensity=intensity, names=names)
    write_table(output / _INDEX_NAME, result.table)
    click.echo(str(result))
    return ["*_points.csv", _INDEX_NAME]
