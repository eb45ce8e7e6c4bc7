# SPDX-License-Identifier: BSD-3-Clause
"""Mutations of sound files, loaded in a process with limits of memory and time.

Run as a script, this is that process: it takes the name of a set, a folder, and the
numbers of the first and the last mutation, and writes one line for each.
"""

from __future__ import annotations

import gzip
import os
import random
import re
import subprocess
import sys
import zlib
from pathlib import Path

PROMISED = (ValueError, TypeError, OSError)
SECONDS_EACH = 10
MEMORY_MORE = 2 << 30
_NUMBERS = [0, 1, 7, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**40]
_TOKENS = [
    "0", "-1", "1e400", "-1e400", "nan", "NaN", "null", "true", "[]", "{}", '""', "99",
    "1e9", "4294967296", "9" * 400, "0x10", "1_000", "\u0661", "\0", "\ufeff", "\ud7ff",
]  # fmt: skip


def mutate(content: bytes, seed: int) -> bytes:
    """Return the content with one to three faults, the same for the same seed."""
    rng = random.Random(seed)
    data = bytearray(content)
    is_text = b"\0" not in content[:200]
    for _ in range(rng.choice((1, 1, 2, 3))):
        kinds = [_flip, _set, _number, _cut, _insert, _remove, _repeat, _append]
        kinds += [_token, _token, _token, _line] if is_text else []
        data = bytearray(rng.choice(kinds)(data, rng) or b"\0")
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    # Heads tell more than what follows.
    end = min(len(data), 600) if rng.random() < 0.5 else len(data)
    return rng.randrange(max(end, 1))


def _flip(data, rng):
    data[_place(data, rng)] ^= 1 << rng.randrange(8)
    return data


def _set(data, rng):
    data[_place(data, rng)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return data


def _number(data, rng):
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    value = rng.choice(_NUMBERS) % (1 << 8 * size)
    place = _place(data, rng) // 4 * 4
    data[place : place + size] = value.to_bytes(size, order)
    return data


def _cut(data, rng):
    return data[: _place(data, rng)]


def _insert(data, rng):
    place = _place(data, rng)
    data[place:place] = rng.randbytes(rng.choice((1, 4, 8, 64)))
    return data


def _remove(data, rng):
    place = _place(data, rng)
    del data[place : place + rng.choice((1, 4, 8, 64))]
    return data


def _repeat(data, rng):
    place = _place(data, rng)
    part = data[place : place + rng.choice((8, 64, 512))]
    data[place:place] = part * rng.choice((1, 2, 9))
    return data


def _append(data, rng):
    return data + rng.choice((b"\0" * 8, rng.randbytes(20), bytes(data[:200])))


def _token(data, rng):
    text = data.decode("utf-8", "replace")
    found = list(re.finditer(r'-?\d+(\.\d+)?|"[^"]*"|[\[\]{},<>/]|\w+', text))
    if not found:
        return data
    match = rng.choice(found)
    word = rng.choice([*_TOKENS, "", match[0] * 2, rng.choice(found)[0]])
    text = text[: match.start()] + word + text[match.end() :]
    return bytearray(text.encode("utf-8", "replace"))


def _line(data, rng):
    lines = bytes(data).split(b"\n")
    index = rng.randrange(len(lines))
    lines[index:index] = [lines[rng.randrange(len(lines))]] * rng.choice((0, 1, 3))
    del lines[rng.randrange(len(lines))]
    return bytearray(b"\n".join(lines))


def mutate_packed(content: bytes, seed: int) -> bytes:
    """Mutate what is packed in a file, every second time, so that checksums hold."""
    if seed % 2 == 0:
        return mutate(content, seed)
    if content[:2] == b"\x1f\x8b":
        return gzip.compress(mutate(gzip.decompress(content), seed))
    if content[126:128] == b"IM" and content[128] == 15:
        return _mutate_matlab(content, seed)
    return mutate(content, seed)


def _mutate_matlab(content: bytes, seed: int) -> bytes:
    """Mutate the first packed array of a MATLAB file."""
    n_bytes = int.from_bytes(content[132:136], "little")
    inner = zlib.compress(mutate(zlib.decompress(content[136 : 136 + n_bytes]), seed))
    tag = (15).to_bytes(4, "little") + len(inner).to_bytes(4, "little")
    return content[:128] + tag + inner + content[136 + n_bytes :]


def run(name: str, folder: Path, n_mutations: int) -> list[str]:
    """Load mutations of a set in processes of their own; return what went wrong."""
    problems, first = [], 0
    here = Path(__file__)
    path = os.pathsep.join([str(here.parents[2]), *filter(None, sys.path)])
    while first < n_mutations:
        done = subprocess.run(
            [
                sys.executable,
                str(here),
                name,
                str(folder),
                str(first),
                str(n_mutations),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS_EACH * n_mutations,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        lines = done.stdout.splitlines()
        problems += [line for line in lines if not line.endswith((": sound", ": told"))]
        last = int(lines[-1].partition(":")[0]) if lines else first - 1
        if last + 1 >= n_mutations:
            break
        # It ended before it was done: the next mutation did that.
        problems.append(f"{last + 1}: ended by {done.returncode}: {done.stderr[-300:]}")
        first = last + 2
    return problems


def _work(name: str, folder: Path, first: int, last: int) -> None:
    import signal
    import warnings

    from loader_sets import SETS, check_result, labels_of

    warnings.simplefilter("ignore")
    chosen = SETS[name]
    target = chosen.write(folder)
    sound = target.read_bytes()
    truth = [part.tobytes() for part in labels_of(chosen.read(folder, target))]
    _limit_memory()
    for seed in range(first, last):
        content = mutate_packed(sound, seed)
        target.write_bytes(content)
        signal.alarm(SECONDS_EACH)  # ends the process, whatever it does
        try:
            data = chosen.read(folder, target)
            check_result(data)
            found = [part.tobytes() for part in labels_of(data)]
            packed = sound[:2] == b"\x1f\x8b" and seed % 2 == 0
            outcome = "other labels" if packed and found != truth else "sound"
        except PROMISED as error:
            named = target.name in str(error) or folder.name in str(error)
            outcome = "told" if named else f"no path: {type(error).__name__} {error}"
        except MemoryError as error:
            outcome = f"MemoryError {error}"
        except Exception as error:
            outcome = f"{type(error).__name__} {error}"
        signal.alarm(0)
        sys.stdout.write(f"{seed}: {outcome}".replace("\n", " ") + "\n")
        sys.stdout.flush()


def _limit_memory() -> None:
    import resource

    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limit = used + MEMORY_MORE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
