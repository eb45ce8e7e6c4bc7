# SPDX-License-Identifier: BSD-3-Clause
"""Every code block of the manual and of the README runs, or says why it does not.

The Python blocks of a page run one after another in one namespace, with trainings of
one step. A comment ``.. not run: reason`` (in Markdown ``<!-- not run: reason -->``)
before a block leaves it out; it is compiled all the same. Commands are parsed, not run.
"""

from __future__ import annotations

import functools
import re
import shlex
import warnings
from collections import OrderedDict
from configparser import ConfigParser
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import pytest
import sklearn
from skimage.io import imsave
from torch import nn

import psmlearn
from psmlearn import datasets, networks
from psmlearn._cli import main
from psmlearn.activation import _mapper, _maps
from psmlearn.exceptions import PsmlearnWarning
from psmlearn.io import write_image, write_labels, write_table
from psmlearn.networks import _registry

ROOT = Path(psmlearn.__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = {"_build", "auto_examples", "commands", "generated", "_templates"}
TRAINED = (
    "SelfActivationMapper",
    "NucleiDetector",
    "NucleiSegmenter",
    "RegionSegmenter",
    "ClassActivationMapper",
)

pytestmark = pytest.mark.skipif(
    not DOCS.is_dir(), reason="the docs folder is not beside the package"
)


@dataclass(frozen=True)
class Block:
    """A block of code, the line that it begins on, and why it is not run."""

    language: str
    line: int
    code: str
    not_run: str


def _rst_blocks(text: str) -> list[Block]:
    blocks, lines, place, reason = [], text.splitlines(), 0, ""
    while place < len(lines):
        line = lines[place]
        comment = re.match(r"\s*\.\. not run: (.+)", line)
        start = re.match(r"(\s*)\.\. code-block:: (\w+)", line)
        place += 1
        if comment:
            reason = comment[1]
        elif start:
            first = place
            while place < len(lines) and (
                not lines[place].strip() or lines[place].startswith(start[1] + "   ")
            ):
                place += 1
            code = [each[len(start[1]) + 3 :] for each in lines[first:place]]
            blocks.append(Block(start[2], first, "\n".join(code), reason))
            reason = ""
        elif line.strip():
            reason = ""
    return blocks


def _md_blocks(text: str) -> list[Block]:
    blocks = []
    pattern = r"(?:<!-- not run: ([^>]+) -->\s*)?^```(\w+)\n(.*?)^```"
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        line = text[: found.start(3)].count("\n")
        blocks.append(Block(found[2], line, found[3], found[1] or ""))
    return blocks


def _blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return _md_blocks(text) if page.suffix == ".md" else _rst_blocks(text)


def _pages() -> list[Path]:
    pages = [*DOCS.rglob("*.rst"), *DOCS.rglob("*.md")]
    pages = [p for p in pages if not GENERATED & set(p.relative_to(DOCS).parts)]
    return sorted([*pages, *filter(Path.is_file, [ROOT / "README.md"])])


PAGES = _pages()


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _commands(block: Block) -> list[list[str]]:
    """Return the words of each command of a block."""
    text = block.code.replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    words = [shlex.split(line, comments=True) for line in lines]
    return [each for each in words if each]


def _with_python(pages):
    return [p for p in pages if any(b.language == "python" for b in _blocks(p))]


# Pages that take some seconds each, by searches or many trainings.
LONG = {"ki67.rst", "model_selection.rst", "pipelines.rst", "pretexts.rst"}
LONG |= {"stains.rst", "weak_labels.rst"}

# -- Python ----------------------------------------------------------------------------


def _short(fit):
    """Let an estimator train for one step, whatever its parameters say."""
    least = {"max_epochs": 1, "steps_per_epoch": 1, "batch_size": 2}
    least |= {"patch_size": 64, "base_channels": 4}

    @functools.wraps(fit)
    def short_fit(self, *args, **kwargs):
        own = {name: getattr(self, name) for name in least if hasattr(self, name)}
        for name in own:
            setattr(self, name, least[name])
        try:
            return fit(self, *args, **kwargs)
        finally:
            for name, value in own.items():
                setattr(self, name, value)

    return short_fit


class _TinyBackbone(nn.Sequential):
    """Stages of the names and sizes that those of a residual network have."""

    def __init__(self, in_channels: int, n_outputs: int = 1) -> None:
        stages: dict[str, nn.Module] = {"stem": nn.Conv2d(in_channels, 4, 4, 4)}
        for number in range(1, 5):
            step = 1 if number == 1 else 2
            stages[f"layer{number}"] = nn.Conv2d(4, 4, 3, step, 1)
        stages |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
        super().__init__(OrderedDict(**stages, fc=nn.Linear(4, n_outputs)))


@pytest.fixture
def namespace(tmp_path, monkeypatch):
    """Give what the user guide says is there, in a folder with these files."""
    pytest.importorskip("matplotlib")
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    monkeypatch.chdir(tmp_path)
    for name in TRAINED:
        cls = getattr(psmlearn, name)
        for method in ("fit", "fit_predict", "fit_transform", "partial_fit"):
            if hasattr(cls, method):
                monkeypatch.setattr(cls, method, _short(getattr(cls, method)))
    monkeypatch.setattr(_maps, "_N_CROPS", 2)
    monkeypatch.setattr(_mapper, "_N_SAMPLE", 4)
    tiny = {"resnet18": _TinyBackbone, "unet": partial(networks.UNet, base_channels=2)}
    monkeypatch.setattr(_registry, "_FACTORIES", {**_registry._FACTORIES, **tiny})
    made = datasets.make_nuclei(4, (96, 96), n_nuclei=12, random_state=0)
    made["groups"] = np.array(["A", "B", "C", "D"])
    monkeypatch.setattr(datasets, "load_monuseg", lambda folder: made)
    make_lesions = datasets.make_lesions
    monkeypatch.setattr(
        datasets,
        "make_lesions",
        lambda *_, **known: make_lesions(12, (64, 64), **known),
    )
    places = ["slide1.png", "slide2.tif", "slide3.png", "slide4.png"]
    for place, image in zip(places, made.images, strict=True):
        imsave(tmp_path / place, image, check_contrast=False)
    before = sklearn.get_config()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PsmlearnWarning)
        yield {
            "images": places,
            "others": places[2:],
            "masks": list(made.masks),
            "patients": ["A", "A", "B", "B"],
            "labels": [1, 1, 0, 0],
            "fields": _write_fields(tmp_path / "fields"),
        }
    sklearn.set_config(**before)
    plt.close("all")


def _write_fields(folder: Path) -> list[str]:
    """Write Ki-67 fields, with points and regions beside them."""
    folder.mkdir()
    made = datasets.make_nuclei(
        2, (128, 128), n_nuclei=20, stain="ki67", positive_fraction=0.4, random_state=0
    )
    names = []
    for number, image in enumerate(made.images):
        stem = folder / f"field{number}"
        names.append(f"fields/field{number}.png")
        write_image(f"{stem}.png", image)
        write_labels(f"{stem}_roi.tif", np.ones((128, 128), np.int32))
        points = {"class": ["positive", "negative"], "x": [20, 40], "y": [30, 60]}
        write_table(f"{stem}_points.csv", points)
    return names


def _marked(page: Path):
    marks = [pytest.mark.slow] if page.name in LONG else []
    return pytest.param(page, marks=marks, id=_name(page))


@pytest.mark.parametrize("page", [_marked(page) for page in _with_python(PAGES)])
def test_python_blocks_run(page, namespace):
    n_run = 0
    for block in _blocks(page):
        if block.language != "python":
            continue
        # Empty lines in front, so that an error tells the line of the page.
        code = compile("\n" * block.line + block.code, _name(page), "exec")
        if not block.not_run:
            exec(code, namespace)
            n_run += 1
    assert n_run


def test_what_is_not_run_is_the_exception():
    """A tenth of all blocks at most, each with a reason."""
    blocks = [b for page in PAGES for b in _blocks(page) if b.language == "python"]
    skipped = [block for block in blocks if block.not_run]
    assert all(len(block.not_run) > 10 for block in skipped)
    assert len(skipped) <= len(blocks) / 10


# -- commands --------------------------------------------------------------------------


def _parse(words: list[str]) -> None:
    """Parse a command of psmlearn; files need not be there."""
    context = main.make_context("psmlearn", words, resilient_parsing=True)
    name, command, rest = main.resolve_command(context, words)
    assert command is not None and name is not None
    try:
        command.make_context(name, list(rest), parent=context)
    except click.exceptions.Exit as end:  # --help
        assert end.exit_code == 0


@pytest.fixture
def any_path(monkeypatch):
    """Let paths pass that are not there."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: value)
    monkeypatch.setattr("psmlearn._cli._config.read_config", lambda path: ({}, {}))


def _check_command(words: list[str], extras: set[str], targets: set[str]) -> None:
    while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    program, *rest = words
    program = program.removeprefix(".venv/bin/")
    if program == "psmlearn":
        if rest and rest[0] not in ("--help", "--version", "COMMAND"):
            _parse(rest)
    elif program == "make":
        assert {word for word in rest if "=" not in word} <= targets
    elif program == "pip":
        named = re.findall(r"\.\[([\w,]+)\]", " ".join(rest))
        assert {extra for each in named for extra in each.split(",")} <= extras
    else:
        assert program in ("python", ".", "asv"), program


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_are_understood(page, any_path, capsys):
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = set(setup["options.extras_require"])
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    for block in _blocks(page):
        if block.language == "console":
            for words in _commands(block):
                _check_command(words, extras, targets)
        elif block.language == "bash":
            for words in _commands(block):
                if words[0] == "psmlearn":
                    _parse(words[1:])


@pytest.mark.parametrize("name", sorted(main.commands))
def test_examples_of_help_are_understood(name, any_path):
    lines = (main.commands[name].help or "").replace("\\\n", " ").splitlines()
    examples = [line.split() for line in lines if line.strip().startswith("psmlearn ")]
    assert any(words[1] == name for words in examples), f"{name} --help has no example"
    for words in examples:
        _parse(words[1:])


# -- Commands in running text ----------------------------------------------------------

OPTIONS = {
    name
    for command in (main, *main.commands.values())
    for each in command.params
    for name in (*each.opts, *each.secondary_opts)
} | {"-h", "--help"}
# Options of other programs that the manual names; these pages speak of benchmarks.
FOREIGN = {"--doctest-modules", "--set", "--write"}
OF_BENCHMARKS = {"accuracy.md", "accuracy_ki67.md", "accuracy_weak.md"}


def _running_text(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = text.splitlines()
    for block in _rst_blocks(text):
        n_lines = block.code.count("\n") + 1
        lines[block.line : block.line + n_lines] = [""] * n_lines
    return "\n".join(lines)


def _quoted(text: str, mark: str) -> list[str]:
    """Return what stands between marks, on one line."""
    found = re.findall(rf"(?<!`){mark}([^`]+){mark}(?!`)", text)
    return [" ".join(each.split()) for each in found]


def _check_mention(text: str) -> None:
    """Look up the command, options and values that a text in code style names."""
    words = shlex.split(text)
    if words[0].startswith("-"):
        known = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert known <= OPTIONS | FOREIGN, f"no command has an option {text!r}"
        return
    if words[:1] != ["psmlearn"] or len(words) == 1 or words[1] == "COMMAND":
        return
    rest = [word for word in words[1:] if word not in ("...", "…", "[OPTIONS]")]
    if rest[0].startswith("-"):
        assert rest[0] in OPTIONS, f"psmlearn has no option {rest[0]}"
        return
    command = main.commands.get(rest[0])
    assert command is not None, f"psmlearn has no command {rest[0]!r}"
    context = click.Context(command, info_name=rest[0])
    given = [word for word in rest[1:] if word not in ("-h", "--help")]
    if given[-1:] and given[-1].startswith("--"):  # named without a value
        own = {name for each in command.params for name in each.opts}
        assert given.pop() in own, f"psmlearn {rest[0]} has no such option: {text}"
    values, left, seen = command.make_parser(context).parse_args(given)
    assert not left, f"psmlearn {rest[0]} takes no {left}"
    for each in seen:
        if isinstance(each, click.Option) and not each.is_flag:
            each.type_cast_value(context, values[each.name])


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_in_running_text_are_there(page, any_path):
    mark = "`" if page.suffix == ".md" else "``"
    starts = ("psmlearn ",) if page.name in OF_BENCHMARKS else ("psmlearn ", "--")
    for text in _quoted(_running_text(page), mark):
        if text.startswith(starts):
            _check_mention(text)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_commands_in_help_are_there(name, any_path):
    command = main.commands[name]
    texts = [
        command.help or "",
        *(getattr(e, "help", "") or "" for e in command.params),
    ]
    for text in texts:
        for quoted in _quoted(text, "`"):
            if quoted.startswith(("psmlearn ", "--")):
                _check_mention(quoted)
        plain = re.findall(r"(?<![\w`-])--[a-z][a-z-]*", text)
        assert set(plain) <= OPTIONS, f"{name} --help names {plain}"


@pytest.mark.parametrize(
    "text",
    [
        "psmlearn trian x",
        "psmlearn train x --modle m.psm",
        "psmlearn segment x --classes ki76",
        "psmlearn segment x --max-epochs many",
        "psmlearn info --recursivly x",
        "psmlearn evaluate one two three",
        "psmlearn info --overwrite",
        "--resumed",
    ],
)
def test_wrong_commands_in_text_are_noticed(text, any_path):
    with pytest.raises((AssertionError, click.UsageError)):
        _check_mention(text)
