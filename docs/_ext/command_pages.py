# SPDX-License-Identifier: BSD-3-Clause
"""A page for each command of ``psmlearn``, of the text that ``--help`` shows.

Pages are written to ``docs/commands`` when a build begins, so that the manual follows
whatever commands and options there are. Sphinx is imported by :func:`setup` alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

FOLDER = "commands"


def commands(group: click.Group, prefix: str = "psmlearn") -> dict[str, click.Command]:
    """Return all commands by their full names, those of groups within it, too."""
    found: dict[str, click.Command] = {}
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        full = f"{prefix} {name}"
        if isinstance(command, click.Group):
            found |= commands(command, full)
        else:
            found[full] = command
    return found


def page_name(full_name: str) -> str:
    """Return the name of the page of a command, without an ending."""
    return "_".join(full_name.split()[1:])


def render(full_name: str, command: click.Command) -> str:
    """Return the page of one command as reStructuredText."""
    context = click.Context(command, info_name=full_name)
    usage = " ".join([full_name, *command.collect_usage_pieces(context)])
    parts = [
        full_name,
        "=" * len(full_name),
        "",
        f".. program:: {full_name}",
        "",
        _code([usage], "text"),
        *_prose(command.help or ""),
    ]
    records = [each.get_help_record(context) for each in command.get_params(context)]
    # Arguments that say no more than their name are told by usage and text.
    shown = [record for record in records if record and record[1]]
    parts += ["Options", "-------", ""]
    for names, text in shown:
        parts += [f".. option:: {names}", "", f"   {_escape(text)}", ""]
    return "\n".join(parts)


def _prose(text: str) -> list[str]:
    """Turn help into paragraphs; what follows a ``\\b`` keeps its lines.

    Examples have a heading of their own and come last.
    """
    parts, examples = [], []
    for block in re.split(r"\n\s*\n", text.replace("\f", "").strip()):
        lines = block.splitlines()
        if lines[0].strip() != "\b":
            parts += [_escape(" ".join(line.strip() for line in lines)), ""]
            continue
        lines = [line.strip() for line in lines[1:]]
        heading = lines.pop(0) if lines and lines[0].endswith(":") else ""
        code = _code(lines, "text")
        if lines and all(line.startswith("psmlearn") for line in _joined(lines)):
            code = _code([f"$ {line}" for line in _joined(lines)], "console")
        if heading in ("Example:", "Examples:"):
            examples.append(code)
        else:
            parts += [_escape(heading), "", code]
    if examples:
        parts += ["Examples", "--------", "", *examples]
    return parts


def _joined(lines: list[str]) -> list[str]:
    """Join lines that end in a backslash with those that follow."""
    joined: list[str] = []
    for line in lines:
        if joined and joined[-1].endswith("\\"):
            joined[-1] = f"{joined[-1][:-1].rstrip()} {line}"
        else:
            joined.append(line)
    return joined


def _code(lines: list[str], language: str) -> str:
    inner = "\n".join(f"   {line}" for line in lines)
    return f".. code-block:: {language}\n\n{inner}\n"


def _escape(text: str) -> str:
    """Keep what means something in reStructuredText; backticks stay literals."""
    pieces = re.split(r"(`[^`]+`)", text)
    for place, piece in enumerate(pieces):
        if piece.startswith("`") and piece.endswith("`") and len(piece) > 2:
            pieces[place] = f"`{piece}`"
        else:
            piece = re.sub(r"([\\*_|`])", r"\\\1", piece)
            # Options, and what they take, are set as code.
            pieces[place] = re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"``\1``", piece)
    return " ".join("".join(pieces).split())


def write_pages(folder: Path, group: click.Group) -> list[Path]:
    """Write the pages, but those that are there and right; drop those of no command."""
    folder.mkdir(exist_ok=True)
    written = []
    for full_name, command in commands(group).items():
        path = folder / f"{page_name(full_name)}.rst"
        text = render(full_name, command)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        written.append(path)
    for path in set(folder.glob("*.rst")) - set(written):
        path.unlink()
    return written


def setup(app: Any) -> dict[str, Any]:
    """Write the pages before Sphinx looks for pages."""
    from psmlearn._cli import main

    def write(app: Any) -> None:
        write_pages(Path(app.srcdir) / FOLDER, main)

    app.connect("builder-inited", write)
    _add_table(app, main)
    return {"parallel_read_safe": True}


def _add_table(app: Any, group: click.Group) -> None:
    """Add the directive ``command-table``: all commands and what they do."""
    from docutils.statemachine import StringList
    from sphinx.util.docutils import SphinxDirective

    class CommandTable(SphinxDirective):
        def run(self) -> list[Any]:
            lines = [".. list-table::", "   :widths: 28 72", ""]
            for full_name, command in commands(group).items():
                target = f"/{FOLDER}/{page_name(full_name)}"
                first = (command.help or "").strip().split("\n\n")[0]
                lines += [
                    f"   * - :doc:`{full_name} <{target}>`",
                    f"     - {_escape(' '.join(first.split()))}",
                ]
            lines += ["", ".. toctree::", "   :hidden:", ""]
            lines += [f"   /{FOLDER}/{page_name(name)}" for name in commands(group)]
            return self.parse_content_to_nodes_of(lines)

        def parse_content_to_nodes_of(self, lines: list[str]) -> list[Any]:
            from docutils import nodes

            node = nodes.Element()
            node.document = self.state.document
            self.state.nested_parse(StringList(lines, source="commands"), 0, node)
            return node.children

    app.add_directive("command-table", CommandTable)
