"""A report as one HTML file that loads nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape as escape_html
from itertools import count

from ._table import Entry, Table, printable

__all__ = ["Plot", "Section", "page"]

CSS = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #59636e; --paper: #ffffff;
  --line: #d5dae0; --mark: #e3f1e6; --gap: #fdf1dc; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e7eb; --soft: #9aa5b1; --paper: #15191d;
  --line: #39424c; --mark: #1e3a27; --gap: #40331a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
.notes { color: var(--soft); font-size: .85rem; padding-left: 1.2rem; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left;
  white-space: nowrap; }
td.long { white-space: normal; min-width: 18rem; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; }
tbody th { background: var(--paper); color: var(--ink); left: 0; position: sticky; }
td.best { background: var(--mark); font-weight: 700; } td.missing { background: var(--gap); }
figure { margin: .5rem 0 1.5rem; overflow-x: auto; }
figure svg { display: block; height: auto; max-width: 100%;
  font-family: system-ui, sans-serif; }
figure svg * { stroke-linejoin: round; }
figcaption { color: var(--soft); font-size: .85rem; max-width: 46rem; }
"""


def escape(text: object) -> str:
    """Escape text for HTML, without letters that a UTF-8 file cannot hold."""
    return escape_html(printable(text))


#: Cells with more characters than this may break into lines.
LONG = 40


@dataclass
class Plot:
    """A figure as SVG text, and its caption."""

    svg: str
    caption: str


@dataclass
class Section:
    """A part of a page: paragraphs, then tables, then plots, with a heading if it has a title."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = field(default_factory=list)


def page(title: str, sections: Iterable[Section]) -> str:
    """Return the whole file. All text is escaped; the SVG of plots is not."""
    numbers = count(1)
    body = "\n".join(_section(section, f"s{next(numbers)}") for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section, identity: str) -> str:
    blocks = [f"<h2>{escape(section.title)}</h2>"] if section.title else []
    blocks += [f"<p>{escape(text)}</p>" for text in section.paragraphs]
    blocks += [_list(section.notes, "")]
    # A table that has the section's own title needs none of its own.
    blocks += [_table(table, own_title=table.title != section.title) for table in section.tables]
    blocks += [_figure(plot) for plot in section.plots]
    return f'<section id="{identity}">\n' + "\n".join(filter(None, blocks)) + "\n</section>"


def _list(notes: Sequence[str], css: str) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="{css or "text"}">{items}</ul>' if items else ""


def _table(table: Table, *, own_title: bool) -> str:
    title = f"<h3>{escape(table.title)}</h3>" if own_title else ""
    notes = _list(table.notes, "notes")
    if not table.rows:
        return title + notes
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = "\n".join(_row(row) for row in table.rows)
    grid = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    # Who has no mouse scrolls with the keyboard, which needs the focus.
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">'
    return f"{title}{box}{grid}</div>{notes}"


def _row(row: Sequence[Entry]) -> str:
    first, *cells = row
    return f'<tr><th scope="row">{escape(first.text)}</th>{"".join(map(_entry, cells))}</tr>'


def _entry(entry: Entry) -> str:
    names = {"best": entry.best, "missing": entry.missing, "long": len(entry.text) > LONG}
    css = " ".join(name for name, holds in names.items() if holds)
    opening = f'<td class="{css}">' if css else "<td>"
    return f"{opening}{escape(entry.text)}</td>"


def _figure(plot: Plot) -> str:
    return f"<figure>{plot.svg}<figcaption>{escape(plot.caption)}</figcaption></figure>"
