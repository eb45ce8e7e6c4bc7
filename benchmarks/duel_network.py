# SPDX-License-Identifier: BSD-3-Clause
"""What the networks of peers cost beside ours: python -m benchmarks.duel_network.

Prints for each network its parameters, and GFLOP and CPU seconds for each megapixel of
useful output, on one thread in one run, with ratios to ours on tiles of slides. A tile
gives less than it takes, by the overlap that the authors of each network run it with;
StarDist takes images whole, which is to be held against ours on a whole image.
Multiplication and addition count as two. Networks are timed in turn, the best of some
rounds after a warm-up. Weights are random: the arithmetic is the same.

Only passes through the networks are timed. Ours runs as the segmenter runs it, with
scaling of the image and soft-max; peers run without anything around them, in the
memory layout that is the faster for each. What follows (watershed, polygons, flows)
comes on top.

Images are at 0.25 micrometres a pixel, where a nucleus has about the 30 pixels
to which Cellpose would bring it; nothing is rescaled.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._peer_networks import CellposeNet, CellposeSAM, HoVerNet, StarDistNet
from psmlearn._engine._inference import TileNetwork
from psmlearn.networks import UNet
from psmlearn.segmentation._appearance import ScaledNetwork
from psmlearn.segmentation._pixels import activate

_LAYOUTS = (torch.contiguous_format, torch.channels_last)
# Cellpose lays 1.2 tiles in a row where one would do (its overlap of 0.1).
_CELLPOSE_TILES = 1.2
_COLUMNS = ("parameters, M", "tile", "useful", "GFLOP", "ratio", "CPU s", "ratio")


class Case(NamedTuple):
    """A network and the tile that it is timed on.

    Attributes
    ----------
    name : str
    build : callable
        Returns the network.
    given, useful : float
        Sides of the tile, and of what counts of its answer, in pixels of the image.
    margin : int or None
        Context around each side of a tile of ours; None for a peer.
    layouts : tuple of torch.memory_format
        In which a peer is tried.
    dtype : torch.dtype
        The arithmetic.
    """

    name: str
    build: Callable[[], nn.Module]
    given: int
    useful: float
    margin: int | None = None
    layouts: tuple[torch.memory_format, ...] = _LAYOUTS
    dtype: torch.dtype = torch.float32


class Cost(NamedTuple):
    """What a network costs; GFLOP and seconds for each megapixel of useful output."""

    case: Case
    millions: float
    gflop: float
    seconds: float


# Two classes of pixels and the inner distance: what the segmenter asks for.
_build_ours = partial(UNet, 3, 3)
# The default tile of 1024 with the network's halo of 112; 1000 becomes 1008, as
# networks that halve four times ask for.
CASES = (
    Case("psmlearn U-Net, tile of a slide", _build_ours, 1248, 1024, margin=112),
    Case("psmlearn U-Net, whole image", _build_ours, 1008, 1000, margin=0),
    Case(
        "psmlearn U-Net, tile, bfloat16",
        _build_ours,
        1248,
        1024,
        margin=112,
        dtype=torch.bfloat16,
    ),
    Case("StarDist 2D_versatile_he", StarDistNet, 1008, 1000),
    Case("Cellpose 3 CPnet", CellposeNet, 224, 224 / _CELLPOSE_TILES),
    Case("HoVer-Net fast", HoVerNet, 256, 164),
    # bfloat16 is the default of its authors.
    *(
        Case(
            f"Cellpose-SAM, {name}",
            CellposeSAM,
            256,
            256 / _CELLPOSE_TILES,
            layouts=_LAYOUTS[:1],
            dtype=dtype,
        )
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    ),
)


def count_parameters(network: nn.Module) -> int:
    """Return how many parameters a network has."""
    return sum(parameter.numel() for parameter in network.parameters())


def measure(cases: Sequence[Case], n_rounds: int) -> list[Cost]:
    """Count and time networks, in turn."""
    millions, passes, flops = [], [], []
    for case in cases:
        torch.manual_seed(0)
        network = case.build().eval().requires_grad_(False)
        millions.append(count_parameters(network) / 1e6)
        passes.append(list(_passes(case, network)))
        # All are warmed up; the first is counted.
        with FlopCounterMode(display=False) as counter:
            passes[-1][0]()
        flops.append(counter.get_total_flops())
        for run in passes[-1][1:]:
            run()
    seconds = [float("inf")] * len(cases)
    for _ in range(n_rounds):
        for index, runs in enumerate(passes):
            seconds[index] = min(seconds[index], *map(_seconds, runs))
    return [
        Cost(
            case,
            millions[index],
            flops[index] / 1e3 / case.useful**2,
            seconds[index] * 1e6 / case.useful**2,
        )
        for index, case in enumerate(cases)
    ]


def _passes(case: Case, network: nn.Module) -> Iterator[Callable[[], object]]:
    """Yield the ways to answer for one tile."""
    shape = (1, getattr(network, "in_channels", 3), case.given, case.given)
    tile = torch.rand(shape)
    if case.margin is not None:
        answer = TileNetwork(
            ScaledNetwork(network, [0, 1, 2]),
            partial(activate, n_channels=2),
            torch.device("cpu"),
            precision=str(case.dtype).removeprefix("torch."),
        )
        yield partial(answer, tile, (case.margin,) * 4)
        return
    for layout in case.layouts:
        # torch's stubs do not know the memory format of modules.
        arranged = copy.deepcopy(network).to(case.dtype).to(memory_format=layout)  # type: ignore
        yield partial(
            _answer, arranged, tile.to(case.dtype).contiguous(memory_format=layout)
        )


@torch.inference_mode()
def _answer(network: nn.Module, tile: torch.Tensor) -> torch.Tensor:
    return network(tile)


def _seconds(run: Callable[[], object]) -> float:
    """Time one call, without what it waits for other programs."""
    start = time.process_time()
    run()
    return time.process_time() - start


def lines(costs: Sequence[Cost]) -> Iterator[str]:
    """Yield the lines of the table; ratios are to the first network."""
    yield _line("network", _COLUMNS)
    first = costs[0]
    for case, millions, gflop, seconds in costs:
        values = (
            f"{millions:.2f}",
            f"{case.given}",
            f"{case.useful:.0f}",
            f"{gflop:.0f}",
            f"{gflop / first.gflop:.1f}",
            f"{seconds:.2f}",
            f"{seconds / first.seconds:.1f}",
        )
        yield _line(case.name, values)


def _line(name: str, values: Sequence[str]) -> str:
    widths = (max(len(column), 6) + 3 for column in _COLUMNS)
    cells = (f"{value:>{width}}" for value, width in zip(values, widths, strict=True))
    return f"{name:31}" + "".join(cells)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(
        "Cost of networks for each megapixel of useful output, one CPU thread, torch "
        f"{torch.__version__}, best of {options.rounds}; ratios are to the first row"
    )
    for line in lines(measure(CASES, options.rounds)):
        print(line)


if __name__ == "__main__":
    main()
