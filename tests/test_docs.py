"""Code on the pages of the documentation runs, and links within it lead somewhere."""

import re
from pathlib import Path

import pytest

import gnnpre
from gnnpre.study import load_study

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[str]:
    return CODE.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda p: p.stem)
def test_code_on_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


def test_study_on_the_page_can_be_read(tmp_path):
    text = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    toml, model = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "study.toml").write_text(toml)
    assert load_study(tmp_path / "study.toml").strategy_names == ["scratch", "ead", "ead_head"]
    (tmp_path / "study.toml").write_text('name = "a"\ndata = ["jdft2d"]\n' + model)
    study = load_study(tmp_path / "study.toml")
    assert study.strategy_names == ["scratch", "finetuned", "default", "frozen", "ensemble"]


def test_page_of_studies_has_the_tables_of_each_report(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    from study_pages import RESULTS, study_page

    page = study_page()
    reports = sorted(RESULTS.glob("*/report.md"))
    assert len(reports) >= 4
    for report in reports:
        text = report.read_text(encoding="utf-8")
        errors = text.split("## Mean absolute error")[1].split("\n## ")[0]
        rows = [line for line in errors.splitlines() if line.startswith("| ")]
        assert len(rows) > 4
        assert all(row in page for row in rows)
        assert f"results/{report.parent.name})" in page
    tables = [line for line in page.splitlines() if line.startswith("| ")]
    everything = "".join(report.read_text(encoding="utf-8") for report in reports)
    assert all(line in everything for line in tables)


@pytest.mark.parametrize("name", ["Study", "DataSet", "Pretraining", "Strategy"])
def test_toml_reference_names_every_field(name):
    from dataclasses import fields

    text = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    missing = [f.name for f in fields(getattr(gnnpre.study, name)) if f"`{f.name}`" not in text]
    assert not set(missing) - {"estimators", "name"}


def test_architecture_page_names_every_folder():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in Path(gnnpre.__file__).parent.glob("*/__init__.py")}
    assert not {folder for folder in folders if f"`{folder}/`" not in text}
