"""Measure how readable the code is: ``python benchmarks/readability.py [FOLDER ...]``.

Each FOLDER is a checkout (this one by default; two for before and after). Printed for each:
lengths, openings of docstrings, wording, vague names, comments, the path of ``fit`` to the first
loss, classes under an estimator, and words of the README.
"""

import ast
import io
import json
import re
import statistics
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: First words of docstrings that no other project of this kind uses.
BANNED_OPENINGS = frozenset(
    {"Give", "Gives", "Say", "Says", "Put", "Let", "Tell", "Tells", "Refuse"}
)
#: Names that do not say what they hold.
VAGUE_NAMES = frozenset(
    [
        "found",
        "own",
        "ours",
        "theirs",
        "part",
        "parts",
        "known",
        "kind",
        "given",
        "place",
        "other",
        "others",
        "left",
        "kept",
        "word",
        "facts",
        "wanted",
    ]
)

# Run in a process of its own, with the package of the checkout, under a profiler. A reader of `fit`
# follows y through `estimators/` and `training/` down to the first loss. Two things decide how hard
# that is. The chain: the functions whose calls are open at the first loss, which have to be read
# (what they call on the way, a check or a split, is understood by its name). And the yo-yo: methods
# that a function calls on its own object but that stand in another file, where the reader has to
# know the class of the object to find them. All functions called on the way are counted too; that
# number grows with each check that is added, and with each long function that is split.
TRACE = """
import json, sys
from pathlib import Path
import gnnpre
from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property

root = str(Path(gnnpre.__file__).parent)
folders = (root + "/estimators/", root + "/training/")
structures, y = make_emt_property(24, random_state=0)
graphs = StructureToGraph(cutoff=4.0).transform(structures)
model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
package, path, chain, yo_yo = set(), set(), [], set()

def name(code):
    return code.co_filename[len(root) + 1:], code.co_qualname

def profile(frame, event, argument):
    code, caller = frame.f_code, frame.f_back
    if event != "call" or not code.co_filename.startswith(root) or code.co_name[0] == "<":
        return
    package.add(name(code))
    if chain:  # the first step has begun
        return
    if code.co_name == "losses":
        while frame is not None:
            if frame.f_code.co_filename.startswith(folders) and frame.f_code.co_name[0] != "<":
                chain.append(frame.f_code)
            frame = frame.f_back
    elif code.co_filename.startswith(folders):
        path.add(name(code))
        this = frame.f_locals.get("self")
        same = this is not None and caller.f_locals.get("self") is this
        if same and caller.f_code.co_filename.startswith(folders):
            if caller.f_code.co_filename != code.co_filename:
                yo_yo.add((name(caller.f_code), name(code)))

sys.setprofile(profile)
model.fit(graphs, y)
sys.setprofile(None)
classes = [c for c in PropertyRegressor.__mro__ if c.__module__.startswith("gnnpre.")]

def count(codes):
    return f"{len(codes)} / {len({file for file, _ in codes})}"

print(json.dumps({
    "chain from fit to the first loss: functions / files": count([name(c) for c in chain]),
    "yo-yo: calls on self that lead to another file": len(yo_yo),
    "all functions / files of estimators/ and training/ on that way": count(path),
    "all functions / files of the package in fit": count(package),
    "classes of ours under PropertyRegressor": len(classes),
}))
"""


def main() -> None:
    """Print a table with a column for each checkout."""
    folders = [Path(name) for name in sys.argv[1:]] or [Path(__file__).resolve().parents[1]]
    columns = [measure(folder.resolve()) for folder in folders]
    print("| measure | " + " | ".join(str(folder) for folder in folders) + " |")
    print("|---" * (len(folders) + 1) + "|")
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(str(column.get(name, "")) for column in columns) + " |")


def measure(folder: Path) -> dict[str, Any]:
    """Return all measures of a checkout."""
    sources = [
        path.read_text(encoding="utf-8") for path in sorted((folder / "gnnpre").rglob("*.py"))
    ]
    trees = [ast.parse(source) for source in sources]
    lengths = [len(source.splitlines()) for source in sources]
    functions = [n for tree in trees for n in ast.walk(tree) if _is_function(n)]
    lines = [function.end_lineno - function.lineno + 1 for function in functions]
    openings = Counter(o for tree in trees for o in docstring_openings(tree))
    names = Counter(name for tree in trees for name in bindings(tree))
    return {
        "files": len(sources),
        "lines": sum(lengths),
        "lines of a file, median / longest": f"{statistics.median(lengths):.0f} / {max(lengths)}",
        "lines of a function, median / longest": f"{statistics.median(lines):.0f} / {max(lines)}",
        "docstrings of functions with a banned opening": sum(openings[o] for o in BANNED_OPENINGS),
        "docstrings of functions": sum(openings.values()),
        "'what' per 10,000 words of docstrings": round(word_rate(trees, r"what"), 1),
        "'give(s)' per 10,000 words of docstrings": round(word_rate(trees, r"gives?"), 1),
        "vague names": sum(names[name] for name in VAGUE_NAMES),
        "vague names per 1,000 bindings": round(
            1000 * sum(names[name] for name in VAGUE_NAMES) / sum(names.values()), 1
        ),
        "comments per 100 lines of code": round(comment_rate(sources), 1),
        **path_of_fit(folder),
        "words in README": len((folder / "README.md").read_text(encoding="utf-8").split()),
    }


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def docstring_openings(tree: ast.Module) -> Iterator[str]:
    """Yield the first word of the docstring of each function and method."""
    for node in ast.walk(tree):
        docstring = ast.get_docstring(node) if _is_function(node) else None
        if docstring:
            yield re.split(r"\W", docstring, maxsplit=1)[0]


def word_rate(trees: list[ast.Module], pattern: str) -> float:
    """Return how often a word occurs in 10,000 words of docstrings."""
    words = sum(len(text.split()) for text in _docstrings(trees))
    return 1e4 * count_word(trees, pattern) / max(words, 1)


def count_word(trees: list[ast.Module], pattern: str) -> int:
    """Return how often a word occurs in docstrings."""
    expression = re.compile(rf"\b{pattern}\b", re.IGNORECASE)
    return sum(len(expression.findall(text)) for text in _docstrings(trees))


def _docstrings(trees: list[ast.Module]) -> list[str]:
    types = (ast.FunctionDef, ast.ClassDef, ast.Module)
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, types))
    return [ast.get_docstring(node) or "" for node in nodes]


def bindings(tree: ast.Module) -> Iterator[str]:
    """Yield every name that is bound: variables, arguments and functions, without underscores."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id.strip("_")
        elif isinstance(node, ast.arg):
            yield node.arg.strip("_")
        elif _is_function(node):
            yield node.name.strip("_")


def comment_rate(sources: list[str]) -> float:
    """Return lines with a comment per 100 lines of code: neither blank nor docstring."""
    comments = sum(
        token.type == tokenize.COMMENT and not re.match(r"# (noqa|type:)", token.string)
        for source in sources
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
    )
    return 100 * comments / sum(map(_code_lines, sources))


def _code_lines(source: str) -> int:
    """Return the number of lines that hold code."""
    empty = (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_docstring = token.type == tokenize.STRING and token.line.lstrip().startswith(
            ('"""', 'r"""')
        )
        if token.type not in empty and not is_docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def path_of_fit(folder: Path) -> dict[str, Any]:
    """Run a small ``fit`` under a profiler, and count files and functions of the package."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRACE],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"fit to first loss": done.stderr.strip().splitlines()[-1][:60]}
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
