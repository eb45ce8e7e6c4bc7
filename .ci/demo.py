# SPDX-License-Identifier: BSD-3-Clause
"""What `make demo` runs: `psmlearn segment`, unless its results are there already.

    python .ci/demo.py OUTPUT ARGUMENTS...

Results and model are in OUTPUT. They are there already if an earlier run made them of
the same images with the same arguments, by the same psmlearn and versions of what it
computes with, and nobody changed them since: a file in OUTPUT tells.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

STAMP = ".demo.json"
MODEL = "model.psm"
# `psmlearn report` is to write it; where it is there, it is told last.
REPORT = "report.html"
_N_TOLD = 3
_COMPUTES = ("numpy", "scipy", "scikit-learn", "scikit-image", "torch")


def main(output: Path, arguments: Sequence[str]) -> int:
    """Make the results, or find them made, and tell where they are."""
    key = describe(output, arguments)
    stamp = read_stamp(output)
    if stamp["key"] == key and all(
        look(output / name) == told for name, told in stamp["files"].items()
    ):
        print(
            "The results of these images and options are there already, made by this "
            f"psmlearn: nothing is trained. To train anew, remove {output}."
        )
        tell(output, stamp["files"])
        return 0
    output.mkdir(parents=True, exist_ok=True)
    model = output / MODEL
    if MODEL in stamp["files"] and stamp["files"][MODEL] in (None, look(model)):
        model.unlink(missing_ok=True)  # of an earlier demo, and nobody else's
    if not model.exists():
        # What comes in its place is ours, even of a run that is killed.
        write_stamp(output, None, {MODEL: None})
    before = looks(output)
    places = ["--output", str(output), "--model", str(model)]
    status = run(["segment", *arguments, *places])
    # The report joins here: status = status or run(["report", str(output)]).
    if status == 0:
        now = looks(output)
        made = {name: now[name] for name in now if now[name] != before.get(name)}
        write_stamp(output, key, made)
        tell(output, made)
    elif not looks(output):
        (output / STAMP).unlink(missing_ok=True)
        with suppress(OSError):
            output.rmdir()
    return status


def describe(output: Path, arguments: Sequence[str]) -> str:
    """Return a digest of all that the results depend on."""
    told = {
        "arguments": list(arguments),
        "psmlearn": _digest_package("psmlearn"),
        "versions": [version(name) for name in _COMPUTES],
        "images": [
            [str(path), look(path)]
            for argument in arguments
            for path in sorted(_walk(Path(argument)))
            if output.absolute() not in path.absolute().parents
        ],
    }
    return _digest(json.dumps(told).encode())


def run(arguments: list[str]) -> int:
    """Run psmlearn's command line; return its exit status."""
    command = [sys.executable, "-m", "psmlearn", *arguments]
    return subprocess.run(command, check=False).returncode


def tell(output: Path, files: Iterable[str]) -> None:
    """Say where the results are, and what to do with them."""
    files, model = sorted(files), output / MODEL
    for kind in ("overlay", "map"):
        pictures = [name for name in files if name.endswith(f"_{kind}.png")]
        for name in pictures[:_N_TOLD]:
            print(f"{kind:9} {output / name}")
        if len(pictures) > _N_TOLD:
            print(f"{'':9} and {len(pictures) - _N_TOLD} more")
    print(f"model     {model}, for more images:")
    print(f"          {sys.executable} -m psmlearn apply IMAGES --model {model}")
    if REPORT in files:
        print(f"report    {output / REPORT}")


def look(path: Path) -> list[int] | None:
    """Return size and time of a file, as make itself goes by; None without one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def looks(folder: Path) -> dict[str, list[int] | None]:
    """Return those of the files of a folder, by name."""
    names = (path.name for path in folder.iterdir() if path.is_file())
    return {name: look(folder / name) for name in names if name != STAMP}


def read_stamp(output: Path) -> dict[str, Any]:
    """Return what the last run left; what is damaged is as good as none."""
    try:
        stamp = json.loads((output / STAMP).read_text(encoding="utf-8"))
        if isinstance(stamp["files"], dict) and "key" in stamp:
            return stamp
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"key": None, "files": {}}


def write_stamp(output: Path, key: str | None, files: dict[str, Any]) -> None:
    part = output / f"{STAMP}.part"
    part.write_text(json.dumps({"key": key, "files": files}), encoding="utf-8")
    os.replace(part, output / STAMP)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_package(name: str) -> list[tuple[str, str]]:
    """Return the digests of a package's files: code and what it ships."""
    spec = find_spec(name)
    places = [] if spec is None else spec.submodule_search_locations or []
    return [
        (str(path.relative_to(place)), _digest(path.read_bytes()))
        for place in places
        for path in sorted(_walk(Path(place)))
        if path.suffix != ".pyc"
    ]


def _walk(place: Path) -> Iterator[Path]:
    """Yield a file, or all files of a folder; nothing where there is neither."""
    if place.is_file():
        yield place
    for folder, _, names in os.walk(place):
        yield from (Path(folder, name) for name in names)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
