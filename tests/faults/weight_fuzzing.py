# SPDX-License-Identifier: BSD-3-Clause
"""Reads mutated weight files, and says what came of each: a program for a process.

``python weight_fuzzing.py FOLDER SUFFIX FIRST LAST`` prints a line for each mutation
that is not answered as promised, and the number of those that were refused.
"""

from __future__ import annotations

import resource
import signal
import struct
import sys
from pathlib import Path

import numpy as np

_MEMORY, _SECONDS = 8 << 30, 20
_WORDS = (0, 1, 127, 128, 255, (1 << 16) - 1, (1 << 31) - 1, 1 << 40, (1 << 63) - 1)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes: flip bits, write numbers, cut, double, or mix pieces."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(changed)))
        kind = int(rng.integers(7))
        if kind == 0:
            changed[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            word = struct.pack("<Q", _WORDS[int(rng.integers(len(_WORDS)))])
            size = int(rng.choice([1, 2, 4, 8]))
            changed[place : place + size] = word[:size]
        elif kind == 2:
            del changed[max(place, 1) :]
        elif kind == 3:
            end = place + int(rng.integers(1, 200))
            changed[place:place] = changed[place:end]
        elif kind == 4:
            del changed[place : place + int(rng.integers(1, 50))]
        elif kind == 5:  # a digit of a header
            digits = [i for i, byte in enumerate(changed[:4096]) if 48 <= byte <= 57]
            if digits:
                chosen = digits[int(rng.integers(len(digits)))]
                changed[chosen] = 48 + int(rng.integers(10))
        else:
            size = int(rng.integers(1, 64))
            changed[place : place + size] = rng.bytes(size)
        if len(changed) < 2:
            break
    return bytes(changed)


def read(path: Path) -> str:
    """Load a file into a network; return what came of it."""
    import torch

    from psmlearn._engine._state import load_weights

    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    try:
        load_weights(network, path)
    except (ValueError, MemoryError) as error:
        return "refused" if str(path) in str(error) else f"unnamed: {error!r}"
    except BaseException as error:  # noqa: BLE001 - whatever came is to be told
        return f"raised {type(error).__name__}: {error}"
    finite = all(torch.isfinite(v).all() for v in network.state_dict().values())
    return "loaded" if finite else "loaded what is not finite"


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {_SECONDS} s")


def main(folder: str, suffix: str, first: str, last: str) -> int:
    """Read the mutations of that range of seeds."""
    import torch  # before the limit counts

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    original = Path(folder, f"original.{suffix}").read_bytes()
    counts: dict[str, int] = {}
    for seed in range(int(first), int(last)):
        path = Path(folder, f"mutated.{suffix}")
        path.write_bytes(mutate(original, np.random.default_rng(seed)))
        sys.stderr.write(f"seed {seed}\n")  # where it was if the process dies
        signal.alarm(_SECONDS)
        outcome = read(path)
        signal.alarm(0)
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome not in ("refused", "loaded"):
            sys.stdout.write(f"seed {seed}: {outcome}\n")
    sys.stdout.write(f"{counts.get('refused', 0)} refused\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
