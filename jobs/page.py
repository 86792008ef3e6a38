"""Blocks of a page in HTML, complete in one file, and tables in LaTeX. Everything is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from string import Template

from jobs.study import Picture, Table

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }
h2 { margin-top: 2.5rem; font-size: 1.2rem; }
div.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ddd; padding: 0.3rem 0.8rem; text-align: left; }
th { border-bottom: 2px solid #222; vertical-align: bottom; }
p.note, figcaption { color: #555; font-size: 0.85rem; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; }
pre { background: #f4f4f4; padding: 0.8rem; font-size: 0.8rem; white-space: pre-wrap; }
div.warning { border-left: 4px solid #c60; padding: 0.2rem 1rem; background: #fff6ec; }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>""")

TEX = str.maketrans(
    {character: "\\" + character for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "−": "$-$", "×": r"$\times$"}
    | {"·": r"$\cdot$", "…": r"\dots{}", "≥": r"$\geq$", "≤": r"$\leq$"}
)


def html(title: str, blocks: Sequence[str]) -> str:
    """Return a page of blocks."""
    return PAGE.substitute(title=escape(title), body="\n".join(blocks))


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def warning(title: str, lines: Sequence[str]) -> str:
    """Return a box that cannot be overlooked."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="warning"><h2>{escape(title)}</h2><ul>{items}</ul></div>'


def table(shown: Table) -> str:
    """Return a table under its title; an empty header is left out."""
    rows = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in shown.rows]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in shown.header)
    parts = [f"<h2>{escape(shown.title)}</h2>", '<div class="scroll"><table>']
    parts += [f"<thead><tr>{head}</tr></thead>"] if any(shown.header) else []
    parts += ["<tbody>", *(f"<tr>{row}</tr>" for row in rows), "</tbody></table></div>"]
    if shown.note:
        parts.append(f'<p class="note">{escape(shown.note)}</p>')
    return "\n".join(parts)


def picture(shown: Picture) -> str:
    """Return a PNG file, inlined, with its caption."""
    data = base64.b64encode(shown.path.read_bytes()).decode()
    caption = escape(shown.caption)
    image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def commands(title: str, lines: Sequence[str]) -> str:
    """Return commands to be copied."""
    return f"<h2>{escape(title)}</h2>\n<pre>{escape(chr(10).join(lines))}</pre>"


def tex(tables: Sequence[Table]) -> str:
    """Return tables for LaTeX; they need no package."""
    parts = []
    for shown in tables:
        rows = [" & ".join(cell.translate(TEX) for cell in row) + r" \\" for row in shown.rows]
        head = " & ".join(name.translate(TEX) for name in shown.header) + r" \\"
        caption = f"{shown.title}. {shown.note}".strip().translate(TEX)
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
        lines += [rf"\begin{{tabular}}{{{'l' * len(shown.header)}}}", r"\hline", head, r"\hline"]
        parts.append("\n".join([*lines, *rows, r"\hline", r"\end{tabular}", r"\end{table}"]))
    return "\n\n".join(parts)
