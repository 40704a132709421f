"""What the README shows runs as it stands there, and its links work on a package index."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = re.compile(r"https://gnnpre\.readthedocs\.io/en/latest/(\w+)\.html$")
FILE = re.compile(
    r"https://(?:github|raw\.githubusercontent)\.com/gnnpre/gnnpre/(?:blob/)?main/(.*)"
)


def test_python_in_the_readme_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 8
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    baseline, network = (float(line.split()[-1]) for line in done.stdout.splitlines()[:2])
    assert baseline < network < 0, "the network errs more than the mean of the labels"


def test_readme_is_one_screen():
    assert len(README.split()) <= 700


def test_links_are_absolute_and_lead_to_pages_and_files_that_exist():
    links = re.findall(r"\]\(([^)]*)\)", README)
    assert len(links) >= 12
    assert all(link.startswith("https://") for link in links), links
    pages = [match[1] for match in map(PAGE.match, links) if match]
    files = [match[1] for match in map(FILE.match, links) if match]
    assert len(pages) >= 10
    assert len(files) == 2
    assert all((ROOT / "docs" / f"{page}.md").exists() for page in pages), pages
    assert all((ROOT / file).exists() for file in files), files
