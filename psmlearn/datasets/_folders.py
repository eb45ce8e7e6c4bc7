# SPDX-License-Identifier: BSD-3-Clause
"""Data sets that lie in folders: images beside masks of the same name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn._warnings import warn_user
from psmlearn.datasets._parameters import (
    check_absolute,
    check_flag,
    check_path,
    check_pattern,
    check_text,
    compose,
)
from psmlearn.exceptions import SkippedFileWarning
from psmlearn.io._limits import MAX_PIXELS
from psmlearn.io._paths import IMAGE_SUFFIXES
from psmlearn.io._read import read_labels, read_size

LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".bmp")
# Pictures and labels that a folder may hold and a loader may not take.
_PICTURES = {
    *IMAGE_SUFFIXES, ".avif", ".btf", ".czi", ".dcm", ".dib", ".gif", ".heic",
    ".heif", ".j2k", ".jif", ".jp2", ".jpx", ".jxl", ".lif", ".mrxs", ".nd2", ".ndpi",
    ".npy", ".npz", ".nrrd", ".pbm", ".pgm", ".ppm", ".psd", ".qptiff",
    ".scn", ".svs", ".svslide", ".tf8", ".tga", ".vms", ".vsi", ".zvi",
}  # fmt: skip
_N_TOLD = 5
_MAX_NESTING = 5
# Bytes of a file's name and of its path, on all systems that are common.
_MAX_NAME, _MAX_PATH = 255, 4095
_DESCR = """A folder of images and label images
===================================

Licence and origin are those of the folder; `groups` are what `group_pattern`
finds in the names, or None: then nothing tells which images share a patient.
"""


class Skipped:
    """Files that the loaders of one call pass over, told in one warning."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}

    def add(self, path: str | os.PathLike, why: str) -> None:
        self._paths.setdefault(os.fspath(path), why)

    def drop(self, paths: Iterable[str | os.PathLike]) -> None:
        """Forget files that have been taken after all."""
        for path in paths:
            self._paths.pop(os.fspath(path), None)

    def items(self) -> list[tuple[str, str]]:
        """Return the paths with the reason why each was passed over."""
        return list(self._paths.items())

    def tell(self) -> None:
        """Warn of what was passed over since the last time."""
        if self._paths:
            told = [f"{path!r} ({why})" for path, why in self._paths.items()]
            warn_user(
                f"Passed over {len(told)} file(s): {tell_names(told)}. Rename, convert "
                "or remove them.",
                SkippedFileWarning,
            )
        self._paths.clear()


def check_folder(folder: str | os.PathLike, name: str = "folder") -> Path:
    """Return a folder as an absolute Path, or raise an error that says what is wrong.

    Absolute, since workers of a parallel search may sit in another directory.
    """
    path = check_absolute(name, folder)
    if path.is_dir():
        return path
    if path.exists():
        raise NotADirectoryError(f"{str(path)!r} is a file; expected a folder.")
    raise FileNotFoundError(f"No such folder: {str(path)!r}.")


def join_folder(root: Path, folder: str | os.PathLike, name: str) -> Path:
    """Return a folder within another, found whether or not accents are composed."""
    path = root / check_path(name, folder)
    return path if path.exists() else _find_composed(path)


def _find_composed(path: Path) -> Path:
    """Return a path whose names differ in the composition of accents alone."""
    found = Path(path.anchor)
    for part in path.parts[1:]:
        if not os.path.lexists(found / part) and found.is_dir():
            for each in sorted(found.iterdir()):
                if compose(each.name) == compose(part):
                    part = each.name
                    break
        found = found / part
    return found


def find_file(root: Path, name: str) -> Path | None:
    """Return a regular file by its name in a list, or None.

    Backslashes part folders where there is no file of that very name, and accents
    may be composed or not.
    """
    for place in dict.fromkeys((name, name.replace("\\", "/"))):
        path = root / place
        if is_regular(path):
            return path
        path = _find_composed(path)
        if is_regular(path):
            return path
    return None


def tell_bad_name(name: str) -> str:
    """Write why no file can have a name (or path) of a list; "" if one can."""
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        return "it has characters that no file's name can have"
    if b"\0" in encoded:
        return "it has a null character"
    parts = encoded.replace(b"\\", b"/").split(b"/")
    if max(map(len, parts)) > _MAX_NAME or len(encoded) > _MAX_PATH:
        return f"it is too long ({len(encoded)} bytes)"
    return ""


def is_regular(path: str | os.PathLike) -> bool:
    """Tell a file that can be read to its end: no folder, pipe, socket or device."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):  # such as a name that is too long, or not encodable
        return False


def tell_kind(path: Path) -> str:
    """Write what a path is that is no regular file."""
    return "a folder" if path.is_dir() else "no regular file"


def list_folders(root: Path) -> list[Path]:
    """Return the folders within, sorted, but for hidden ones and __MACOSX."""
    return sorted(
        path
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith((".", "__MACOSX"))
    )


def find_root(folder: str | os.PathLike, is_root: Callable[[Path], object]) -> Path:
    """Return the folder that is a set's root: the one given, or within it.

    Archives unpack into folders of their own, and into one another: as long as
    nothing else lies there, the way leads down. Where it leads to no root, the
    result is the folder given, so that errors speak of that.
    """
    root = place = check_folder(folder)
    for _ in range(_MAX_NESTING):
        if is_root(place):
            return place
        inner = list_folders(place)
        if len(inner) != 1:
            break
        place = inner[0]
    return root


def list_by_stem(
    folder: Path,
    suffixes: tuple[str, ...],
    skipped: Skipped | None = None,
    others: tuple[str, ...] = (),
) -> dict[str, str]:
    """Return the files of a folder by name without suffix, sorted.

    Hidden files, and folders such as .ipynb_checkpoints, are passed over; links
    that lead nowhere, as of files not yet fetched, are errors. `skipped` learns of
    pictures that are not among `suffixes`, of files that end in one of `others`, and
    of what has the name of a file and is none. Accents in names are composed.
    """
    files: dict[str, str] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            continue
        if suffix not in suffixes:
            if skipped is not None and suffix in _PICTURES.union(others):
                if is_regular(path):
                    skipped.add(path, f"read are {', '.join(suffixes)}")
            continue
        if path.is_symlink() and not path.exists():
            raise FileNotFoundError(
                f"{str(path)!r} is a link to {os.readlink(path)!r}, which is not there."
            )
        if not is_regular(path):
            if skipped is not None:
                skipped.add(path, tell_kind(path))
            continue
        stem = compose(path.stem)
        if stem in files:
            raise ValueError(
                f"{str(folder)!r} holds two files named {stem!r}: "
                f"{os.path.basename(files[stem])!r} and {path.name!r}; keep one."
            )
        files[stem] = str(path)
    return dict(sorted(files.items()))


def tell_names(names: list[str]) -> str:
    """Write the first names of a list, and how many there are beyond."""
    more = len(names) - _N_TOLD
    return ", ".join(names[:_N_TOLD]) + (f" and {more} more" if more > 0 else "")


def tell_folders(root: Path) -> str:
    """Write which folders lie within, as the end of an error; none is no text."""
    names = [repr(path.name) for path in list_folders(root)]
    return f" It holds the folders {tell_names(names)}." if names else ""


def find_subfolder(root: Path, name: str) -> Path | None:
    """Find a folder by its name, in whatever case it was unpacked."""
    for path in sorted(root.iterdir()):
        if compose(path.name).lower() == compose(name).lower() and path.is_dir():
            return path
    return None


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a key for sorting that puts "2" before "10"."""
    parts: list[str | int] = list(re.split(r"(\d+)", name))
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts, name


def report_missing(root: Path, missing: list[str], layout: str) -> None:
    """Raise an error that names the missing files (relative to `root`), if any."""
    if missing:
        raise FileNotFoundError(
            f"{str(root)!r} lacks {len(missing)} file(s): {tell_names(missing)}. "
            f"Expected {layout}; the download or its unpacking may be incomplete."
        )


def find_groups(names: list[str], pattern: str | re.Pattern) -> np.ndarray:
    """Return what a regular expression finds in each name: its first group, if any."""
    compiled = check_pattern(pattern)
    matches = [compiled.search(name) for name in names]
    groups = [match and match[1 if match.re.groups else 0] for match in matches]
    without = [name for name, group in zip(names, groups, strict=True) if not group]
    if without:
        raise ValueError(
            f"group_pattern {pattern!r} finds nothing in {len(without)} of "
            f"{len(names)} names: {tell_names(without)}."
        )
    return np.array(groups)


def read_mask(path: str, image: str) -> np.ndarray:
    """Read the label image of an image, and check that their sizes agree."""
    check_mask_size(path, read_size(path), image)  # before anything is decoded
    labels = read_labels(path, max_pixels=MAX_PIXELS)
    check_mask_size(path, labels.shape[:2], image)
    return labels


def add_classes(labels: np.ndarray, path: str, mask: str) -> np.ndarray:
    """Return ids with the classes of a class image as their second plane."""
    check_mask_size(path, read_size(path), mask)
    classes = read_labels(path, kind="classes", max_pixels=MAX_PIXELS)
    if labels.ndim != 2 or classes.shape != labels.shape:
        raise ValueError(
            f"{path!r} has shape {classes.shape}, and the ids of {mask!r} have "
            f"{labels.shape}; expected (height, width) of both."
        )
    planes = np.stack([labels, np.where(labels > 0, classes, 0)], axis=-1)
    planes[labels == -1] = -1
    pairs = np.unique(planes[labels > 0], axis=0)
    mixed = pairs[1:][np.diff(pairs[:, 0]) == 0]
    if len(mixed) or (pairs[:, 1:] < 0).any():
        number = (mixed if len(mixed) else pairs[pairs[:, 1] < 0])[0, 0]
        raise ValueError(
            f"{path!r} gives the object {number} of {mask!r} several classes, or -1; "
            "expected one class each, 0 where it is not known."
        )
    return planes


def check_mask_size(path: str, shape: tuple[int, ...], image: str) -> None:
    """Check the size of a mask against what the file of its image declares."""
    size = read_size(image)
    if tuple(shape) != size:
        raise ValueError(
            f"{path!r} has size {tuple(shape)} (height, width), but its image "
            f"{image!r} has {size}."
        )


def load_label_folder(
    folder: str | os.PathLike,
    *,
    images: str = "images",
    masks: str = "masks",
    require_masks: bool = True,
    image_suffix: str = "",
    mask_suffix: str = "",
    classes: str | None = None,
    class_suffix: str = "",
    group_pattern: str | re.Pattern | None = None,
) -> Bunch:
    r"""Load a folder of images and label images, paired by name.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds the two folders. An image and its mask have the same name;
        their suffixes may differ.
    images : str, default="images"
        Name of the folder of images (TIFF, PNG, JPEG, BMP or WebP); "." is
        `folder` itself. Pictures of other formats are told by a warning.
    masks : str, default="masks"
        Name of the folder of label images (TIFF, PNG or BMP); "." is `folder`
        itself.
    require_masks : bool, default=True
        If False, images without a mask, masks without an image, or no folder of
        masks, are no error.
    image_suffix : str, default=""
        What the names of images end in, before ".png" and the like; files that
        do not end so are passed over.
    mask_suffix : str, default=""
        The same for masks: `images="."`, `masks="."`, `image_suffix="_image"`
        and `mask_suffix="_inst"` pair `a_image.png` with `a_inst.png`.
    classes : str or None, default=None
        Name of a folder of class images, which hold the class of each pixel, 1..C,
        as label images do ids; None where there are none.
    class_suffix : str, default=""
        What the names of class images end in.
    group_pattern : str, compiled regular expression or None, default=None
        Finds the patient in each name: r"TCGA-\w+-\w+", or r"^(\d+)_" whose
        first group is taken.

    Returns
    -------
    Bunch
        With `images`, a list of absolute paths sorted by name; `masks`, a list
        of int32 label images, None where there is none (and None in place of
        the list if there is no mask at all), of shape (height, width, 2) with
        `classes`: ids and classes; `groups`, an array of str, or None
        without `group_pattern`; `names`, a list of str without the suffixes;
        `pixel_size`, None; `DESCR`.

    Raises
    ------
    FileNotFoundError
        If the folder, its images, or a required mask is missing, or, where
        masks are required, the image of one.
    TypeError
        If a parameter is of the wrong kind.
    ValueError
        If a mask is broken or differs in size from its image, if two files
        have the same name but for the suffix, if images and masks cannot be
        told apart, or if `group_pattern` finds nothing in a name.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.datasets import load_label_folder
    >>> from psmlearn.io import write_image, write_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("images", "masks"):
    ...         os.mkdir(os.path.join(folder, name))
    ...     write_image(os.path.join(folder, "images", "p1_a.png"),
    ...                 np.zeros((4, 5, 3), dtype=np.uint8))
    ...     write_labels(os.path.join(folder, "masks", "p1_a.tif"),
    ...                  np.eye(4, 5, dtype=int))
    ...     data = load_label_folder(folder, group_pattern="^p[0-9]+")
    >>> data.names, data.groups.tolist()
    (['p1_a'], ['p1'])
    """
    root = check_folder(folder)
    check_flag("require_masks", require_masks)
    image_suffix = check_text("image_suffix", image_suffix)
    mask_suffix = check_text("mask_suffix", mask_suffix)
    class_suffix = check_text("class_suffix", class_suffix)
    image_folder = check_folder(join_folder(root, images, "images"))
    mask_folder = join_folder(root, masks, "masks")
    together = mask_folder.is_dir() and image_folder.samefile(mask_folder)
    if together and image_suffix == mask_suffix:
        raise ValueError(
            f"images and masks lie in the same folder, {str(image_folder)!r}, and "
            f"their names end alike ({image_suffix!r}); give image_suffix and "
            "mask_suffix, such as '_image' and '_inst'."
        )
    kinds = [(image_folder, image_suffix), (mask_folder, mask_suffix)]
    if classes is not None:
        class_folder = check_folder(join_folder(root, classes, "classes"))
        kinds.append((class_folder, class_suffix))
    skipped = Skipped()
    beside = endings_beside(image_folder, kinds)
    image_paths = find_images(image_folder, image_suffix, beside, skipped)
    names = list(image_paths)
    groups = None if group_pattern is None else find_groups(names, group_pattern)
    mask_paths: dict[str, str] = {}
    if require_masks or mask_folder.is_dir():
        listed = list_by_stem(
            check_folder(mask_folder), LABEL_SUFFIXES, None if together else skipped
        )
        beside = endings_beside(mask_folder, kinds)
        mask_paths = select_by_ending(listed, mask_suffix, *beside)
    skipped.tell()
    if require_masks:
        # In one folder, names without a mask's ending may be of anything.
        strict = bool(mask_suffix) or not together
        _check_pairs(image_paths, mask_paths, image_folder, mask_folder, strict)
    class_paths: dict[str, str] = {}
    if classes is not None:
        masked = [name for name in names if name in mask_paths]
        class_paths = _find_classes(class_folder, class_suffix, masked)
    loaded = [
        _load_mask(mask_paths[name], class_paths.get(name), path)
        if name in mask_paths
        else None
        for name, path in image_paths.items()
    ]
    return Bunch(
        images=list(image_paths.values()),
        masks=None if all(mask is None for mask in loaded) else loaded,
        groups=groups,
        names=names,
        pixel_size=None,
        DESCR=_DESCR,
    )


def _find_classes(folder: Path, ending: str, names: list[str]) -> dict[str, str]:
    """Return the class images by name, all those of names with a mask."""
    paths = select_by_ending(list_by_stem(folder, LABEL_SUFFIXES), ending)
    missing = [name for name in names if name not in paths]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} masks have no class image in "
            f"{str(folder)!r}, named like the image and {ending!r}: "
            f"{tell_names(missing)}."
        )
    return paths


def _load_mask(path: str, class_path: str | None, image: str) -> np.ndarray:
    """Read the label image of an image, with its classes if they are given."""
    labels = read_mask(path, image)
    return labels if class_path is None else add_classes(labels, class_path, path)


def _check_pairs(
    images: dict[str, str],
    masks: dict[str, str],
    image_folder: Path,
    mask_folder: Path,
    strict: bool,
) -> None:
    """Raise an error that names images without masks, and if strict, the reverse."""
    missing = [name for name in images if name not in masks]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(images)} images have no mask in "
            f"{str(mask_folder)!r}: {tell_names(missing)}; add them, or use "
            "require_masks=False."
        )
    alone = [name for name in masks if name not in images]
    if strict and alone:
        raise FileNotFoundError(
            f"{len(alone)} of {len(masks)} masks have no image in "
            f"{str(image_folder)!r}: {tell_names(alone)}; add the images, or use "
            "require_masks=False to pass these masks over."
        )


def find_images(
    folder: Path, ending: str, others: Iterable[str], skipped: Skipped | None = None
) -> dict[str, str]:
    """Return the images of a folder by name, without those of other endings."""
    listed = list_by_stem(folder, IMAGE_SUFFIXES, skipped)
    paths = select_by_ending(listed, ending, *others)
    if not paths:
        raise FileNotFoundError(
            f"{str(folder)!r} holds no image; expected files ending in "
            f"{', '.join(ending + suffix for suffix in IMAGE_SUFFIXES)}."
        )
    return paths


def endings_beside(place: Path, kinds: Iterable[tuple[Path, str]]) -> list[str]:
    """Return the endings of those kinds, (folder, ending), that lie in a folder."""
    real = os.path.realpath(place)
    return [end for folder, end in kinds if os.path.realpath(folder) == real]


def select_by_ending(
    files: dict[str, str], ending: str, *others: str
) -> dict[str, str]:
    """Return the files whose names end in `ending`, by what stands before it.

    Longer endings of `others`, of files in the same folder, go before.
    """
    longer = tuple(other for other in others if len(other) > len(ending))
    chosen = {}
    for stem, path in files.items():
        taken = stem.endswith(longer)
        if stem.endswith(ending) and len(stem) > len(ending) and not taken:
            chosen[stem[: len(stem) - len(ending)]] = path
    return dict(sorted(chosen.items()))
