# SPDX-License-Identifier: BSD-3-Clause
"""Find the images that are named on the command line, and watch over them."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from psmlearn._cli._ledger import LEDGER_NAME, digest, read_ledger
from psmlearn._cli._terminal import Terminal, tell_some
from psmlearn.io import is_slide
from psmlearn.io._paths import IMAGE_SUFFIXES, printable, stem_of
from psmlearn.io._read import sniff_format

# What may be an image, and is not read.
_FOREIGN_SUFFIXES = frozenset(
    ".svs .ndpi .ndpis .scn .mrxs .vms .vmu .bif .qptiff .isyntax .czi .lif .nd2 .lsm "
    ".stk .oib .oif .oir .vsi .zvi .ims .dv .r3d .ets .dcm .dicom .gif .heic .heif "
    ".avif .jp2 .j2k .j2c .jpx .jpf .jxl .jxr .wdp .hdp .psd .psb .xcf .pcx .tga .exr "
    ".hdr .ppm .pgm .pbm .pnm .dng .cr2 .cr3 .nef .arw .orf .rw2 .svg .eps .pdf .ico "
    ".tf2 .apng .mng .jpm .ptif .ptiff .tiff.gz .tif.gz .npy .npz .nii .mha .mhd "
    ".nrrd .mat .h5 .hdf5 .zarr .n5".split()
)
# Of slides, what several files of a folder hold one of: it is taken if it is named.
_OF_MANY_FILES = (".dcm", ".dicom", ".vmu")

_FOLDER = "folder"
# What masks of an image are called, beside it.
MASK_NAME = re.compile(
    r"(.+?)[-_. ](?:cp_)?(?:masks?|labels?|inst|instances?|seg|segmentation|gt)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Search:
    """What is looked for: images, folders of images, and files that list both.

    Attributes
    ----------
    images : tuple of Path
        Files, folders, and patterns that no shell has resolved.
    lists : tuple of Path
        Text files with a path a line, from where they lie; lines that begin with #
        are left out.
    patterns : tuple of str
        Images of folders whose name, or path within the folder, fits one of them;
        none takes all.
    recursive : bool
        Whether folders within folders are searched.
    slides : bool
        Whether whole slides are images, too.
    """

    images: tuple[Path, ...]
    lists: tuple[Path, ...] = ()
    patterns: tuple[str, ...] = ()
    recursive: bool = False
    slides: bool = False

    def names(self) -> list[str]:
        """Return all that is named, in order."""
        named = [each for path in self.images for each in _resolve(str(path))]
        return named + [each for path in self.lists for each in _read_list(path)]

    def fits(self, path: str, folder: str) -> bool:
        """Tell whether an image of a folder is asked for."""
        if not self.patterns:
            return True
        name, within = os.path.basename(path), os.path.relpath(path, folder)
        within = within.replace(os.sep, "/")
        return any(
            fnmatch.fnmatch(name, each) or fnmatch.fnmatch(within, each)
            for each in self.patterns
        )


def _resolve(path: str) -> list[str]:
    """Return the paths that a pattern stands for, if it is one and no file."""
    if os.path.lexists(path) or not glob.has_magic(path):
        return [path]
    return sorted(glob.glob(path, recursive=True)) or [path]


def _read_list(path: Path) -> Iterator[str]:
    """Yield the paths that a text file lists.

    Raises
    ------
    ValueError
        If it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(
            f"{printable(str(path))!r} is no text (UTF-8) with a path a line."
        ) from None
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield os.path.join(path.parent, line.strip())


def find_images(search: Search, output: Path | None, terminal: Terminal) -> list[str]:
    """Return the paths of the images named, folders searched; say what is left out.

    Raises
    ------
    click.UsageError
        If there is no image.
    click.ClickException
        If something that is named is no regular file.
    """
    paths: list[str] = []
    results: list[str] = []
    known = _Ledgers()
    for path in search.names():
        if os.path.isdir(path) and not (search.slides and is_slide(path)):
            paths.extend(_search(path, search, output, known, terminal))
        elif _is_odd(path):
            raise terminal.failure(f"{path!r} is no regular file, and not read.")
        elif known.wrote(path):
            results.append(path)
        else:
            paths.append(path)
    if results:
        terminal.say(f"left out, psmlearn wrote them: {tell_some(results)}", err=True)
    kept = _without_twins(paths, terminal)
    if not kept:
        raise click.UsageError(
            "Name images or folders; `segment` takes --sample for a sample image, too."
        )
    terminal.know(kept)
    return kept


def _is_odd(path: str) -> bool:
    """Tell what is there, and is neither file nor folder."""
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


class _Ledgers:
    """The lists of own files of all folders that images lie in."""

    def __init__(self) -> None:
        self._of_folder: dict[str, Callable[[str], bool]] = {}

    def wrote(self, path: str) -> bool:
        """Tell whether a file is a result of psmlearn, changed since or not."""
        folder, name = os.path.split(path)
        if folder not in self._of_folder:
            try:
                self._of_folder[folder] = read_ledger(folder or ".").__contains__
            except (OSError, ValueError):  # not a list of ours
                self._of_folder[folder] = lambda name: False
        return self._of_folder[folder](name)


def _search(
    folder: str,
    search: Search,
    output: Path | None,
    known: _Ledgers,
    terminal: Terminal,
) -> list[str]:
    """Return the images of a folder, sorted; say in one line what else lies there."""
    look = _Look(folder, search, output, known)
    look.into(folder)
    if look.left:
        told = "; ".join(f"{tell_some(n)} ({why})" for why, n in look.left.items())
        terminal.say(f"left out of {printable(folder)}: {told}", err=True)
    if not look.found:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        which = f" that fits {' or '.join(search.patterns)}" if search.patterns else ""
        raise click.UsageError(
            f"No image{which} in the folder {printable(folder)} ({suffixes})."
        )
    return look.found


@dataclass
class _Look:
    """A look into a folder: the images that were found, and what was left, by why."""

    top: str
    search: Search
    output: Path | None
    known: _Ledgers
    found: list[str] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)

    def into(self, folder: str) -> None:
        """Look into a folder, and the folders within where that is asked for."""
        images: list[str] = []
        folders: list[str] = []
        for entry in sorted(os.scandir(folder), key=lambda entry: Path(entry.path)):
            if entry.name.startswith((".", "__MACOSX")) or entry.name == LEDGER_NAME:
                continue
            slides = self.search.slides
            why = _why_not(entry, self.output, self.known, slides=slides)
            path = str(Path(entry.path))
            if why is None:
                images.append(path)
            elif why == _FOLDER and self.search.recursive:
                if entry.is_symlink():  # it may lead back to where it lies
                    self._leave(path, "link to a folder")
                else:
                    folders.append(entry.path)
            elif why:
                self._leave(path, why)
        stems = {stem_of(path) for path in images}
        for path in images:
            named = MASK_NAME.fullmatch(stem_of(path))
            if named and named[1] in stems:
                self._leave(path, "mask of an image beside it")
            elif self.search.fits(path, self.top):
                self.found.append(path)
        for each in folders:
            self.into(each)

    def _leave(self, path: str, why: str) -> None:
        self.left.setdefault(why, []).append(os.path.relpath(path, self.top))


def _why_not(
    entry: os.DirEntry, output: Path | None, known: _Ledgers, *, slides: bool
) -> str | None:
    """Say why what lies in a folder is no image; None if it is, "" if nobody asks."""
    suffix = os.path.splitext(entry.name)[1].lower()
    slides = slides and suffix not in (*IMAGE_SUFFIXES, *_OF_MANY_FILES)
    if slides and is_slide(entry.path) and not known.wrote(entry.path):
        return None
    if entry.is_dir():
        if output is not None and output.is_dir():
            return "" if os.path.samefile(entry.path, output) else _FOLDER
        return _FOLDER
    named = suffix in IMAGE_SUFFIXES
    if not entry.is_file():
        if not named and suffix not in _FOREIGN_SUFFIXES:
            return ""
        return "link to nothing" if entry.is_symlink() else "no regular file"
    if known.wrote(entry.path):
        return "psmlearn wrote it" if named else ""
    if named:
        return None
    if suffix in _FOREIGN_SUFFIXES:
        return "format that is not read"
    try:
        return f"{sniff_format(entry.path)} by its content, not by its name"
    except (OSError, ValueError):
        return ""


def _without_twins(paths: list[str], terminal: Terminal) -> list[str]:
    """Return the paths without those of a file that came before, which are told."""
    first: dict[str, str] = {}
    twins = []
    for path in dict.fromkeys(paths):
        place = os.path.realpath(path)
        if first.setdefault(place, path) != path:
            twins.append(path)
    if twins:
        terminal.say(f"left out, named twice: {tell_some(twins)}", err=True)
    return list(first.values())


def unique_names(paths: Iterable[str]) -> list[str]:
    """File names without suffix; with a number where two images share one.

    Names that differ in case alone, or in how their accents are written, are one file
    on some disks.
    """
    names: list[str] = []
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for path in paths:
        name = stem = stem_of(path)
        while fold_name(name) in taken:
            numbers[stem] = numbers.get(stem, 1) + 1
            name = f"{stem}-{numbers[stem]}"
        taken.add(fold_name(name))
        names.append(name)
    return names


def fold_name(name: str) -> str:
    """Return what two names share that a disk may take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def find_masks(folder: Path) -> dict[str, str]:
    """Return the masks of a folder by the names of their images.

    Where some files are called masks, only these are.

    Raises
    ------
    ValueError
        If two masks have one name.
    """
    masks: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        name = stem_of(path)
        named = MASK_NAME.fullmatch(name)
        place = masks if named else others
        place.setdefault(fold_name(named[1] if named else name), []).append(str(path))
    chosen = masks or others
    for paths in chosen.values():
        if len(paths) > 1:
            raise ValueError(
                f"{tell_some(paths)} are masks of one image; leave one of them there."
            )
    return {key: paths[0] for key, paths in chosen.items()}


@dataclass(frozen=True)
class Stamp:
    """What a file was like when it was looked at first."""

    path: str
    size: int
    time: int
    sha256: str

    @classmethod
    def of(cls, path: str | None) -> Stamp | None:
        """Look at a file; None where there is none, which others will tell."""
        if path is None:
            return None
        try:
            stat = os.stat(path)
            return cls(path, stat.st_size, stat.st_mtime_ns, digest(path))
        except OSError:
            return None

    def check(self) -> None:
        """Refuse a file that is another by now.

        Raises
        ------
        ValueError
            If its content has changed.
        FileNotFoundError
            If it is gone.
        """
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.path!r} is gone since the run began."
            ) from None
        same = (stat.st_size, stat.st_mtime_ns) == (self.size, self.time)
        if not same and digest(self.path) != self.sha256:
            raise ValueError(f"{self.path!r} has changed since the run began.")
