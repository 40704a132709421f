"""The plots of a report: that they show the numbers, and fit into a page."""

import re

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure

from gnnpre.inspection import GREY, INK, _parity, _periodic_table
from gnnpre.study.report import _curves, _elements, _plots
from gnnpre.study.report._looks import looks
from gnnpre.study.report._read_results import read_results
from gnnpre.study.report._record import Method
from gnnpre.study.report._statistics import average_improvements, improvements
from inspection.test_page import check_self_contained
from study.report_folder import (
    FORMULAS,
    all_evaluations,
    evaluation,
    pretraining,
    write_folder,
)

SCRATCH, EAD, FORCES = (Method("cgcnn", name) for name in ("scratch", "ead", "forces"))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    records = [*all_evaluations(), pretraining(), pretraining("ead")]
    return read_results(write_folder(tmp_path_factory.mktemp("run"), records))


@pytest.fixture
def figures(monkeypatch):
    """Keep the figures that are drawn, instead of their SVG."""
    kept = []

    def draw(name, label, size, paint):
        figure = Figure(figsize=size)
        paint(figure)
        kept.append(figure)
        return label

    for module in (_plots, _curves, _elements):
        monkeypatch.setattr(module, "draw", draw)
    return kept


def test_svg_fits_into_a_page(results):
    pair = [SCRATCH, EAD]
    svgs = [_plots.parity_plot(results, "jdft2d", pair, name) for name in ("a", "b")]
    checker = check_self_contained(f"<figure>{svgs[0]}{svgs[1]}</figure>")
    assert {"cgcnn scratch", "cgcnn ead"} <= set(checker.text)  # text, not outlines
    assert "currentColor" in svgs[0]
    assert INK not in svgs[0]
    references = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', svgs[0]))
    assert references
    assert references <= set(checker.ids)


def test_svg_is_the_same_each_time_and_leaves_settings_alone(results):
    before = dict(rcParams)
    first, again = (_curves.learning_plot(results, "jdft2d", "x") for _ in range(2))
    assert first == again
    assert dict(rcParams) == before


def test_names_are_escaped_and_no_formulas(tmp_path):
    name = 'a <b> "$x_1$" & 1'
    records = [evaluation("jdft2d", "cgcnn", name, seed=1)]
    results = read_results(write_folder(tmp_path, records))
    svg = _curves.learning_plot(results, "jdft2d", "x")
    assert name in check_self_contained(svg).text
    parity = _plots.parity_plot(results, "jdft2d", results.methods, "x")
    assert check_self_contained(parity).labels == [
        f"Predictions against targets on jdft2d: cgcnn {name}"
    ]


def test_parity_shows_each_crystal_of_each_run_on_equal_axes(results, figures):
    _plots.parity_plot(results, "jdft2d", [SCRATCH, EAD], "x")
    axes = figures[0].axes[1]
    shown = axes.lines[1].get_xydata()
    records = results.of("jdft2d", EAD)
    assert np.array_equal(shown[:, 0], np.concatenate([r.targets for r in records]))
    assert np.array_equal(shown[:, 1], np.concatenate([r.predictions for r in records]))
    assert axes.get_xlim() == axes.get_ylim() == figures[0].axes[0].get_xlim()
    assert shown.min() > axes.get_xlim()[0]


def test_many_points_are_counted(results, figures, monkeypatch):
    monkeypatch.setattr(_parity, "MAX_POINTS", 50)
    _plots.parity_plot(results, "jdft2d", [EAD], "x")
    (hexagons,) = figures[0].axes[0].collections
    assert hexagons.get_array().sum() == 120


def test_learning_curve_is_the_mean_over_seeds_as_far_as_all_go(tmp_path, figures):
    records = [evaluation("jdft2d", "cgcnn", "ead", seed=s) for s in (1, 2)]
    records[1]["history"] = records[1]["history"][:7]
    results = read_results(write_folder(tmp_path, records))
    _curves.learning_plot(results, "jdft2d", "x")
    (line,) = figures[0].axes[0].lines
    losses = [[epoch["valid_loss"] for epoch in r["history"][:7]] for r in records]
    assert line.get_ydata() == pytest.approx(np.mean(losses, axis=0))
    assert len(figures[0].axes[0].collections) == 1


def test_no_curve_without_history(tmp_path):
    records = [evaluation("jdft2d", None, "mean", seed=1)]
    results = read_results(write_folder(tmp_path, records))
    assert _curves.learning_plot(results, "jdft2d", "x") is None
    assert _curves.pretraining_plot(results, "x") is None
    assert _plots.improvement_plot(results, {}, {}, "x") is None


def test_pretraining_curves_start_at_one(results, figures):
    _curves.pretraining_plot(results, "x")
    lines = figures[0].axes[0].lines
    assert len(lines) == 4
    assert {line.get_ydata()[0] for line in lines} == {1.0}
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["ead", "forces"]


def test_improvement_plot_has_point_and_interval_of_each_cell(results, figures):
    found = improvements(results, n_resamples=50)
    averages = average_improvements(results, found)
    _plots.improvement_plot(results, found, averages, "x")
    (axes,) = figures[0].axes
    points = {line.get_label(): line.get_xdata() for line in axes.lines}
    expected = [found["jdft2d", EAD].percent, found["phonons", EAD].percent, averages[EAD].percent]
    assert points["ead"] == pytest.approx(expected)
    ends = axes.collections[0].get_segments()[0][:, 0]
    assert ends == pytest.approx([found["jdft2d", EAD].low, found["jdft2d", EAD].high])
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["jdft2d", "phonons", "average"]


def test_looks_differ_and_scratch_is_grey():
    found = looks(["a", "scratch", *"bcdefghijklmnopqrstu"], "scratch")
    assert len(set(found.values())) == 22
    assert found["scratch"].color == GREY


def test_element_errors_are_those_of_the_crystals_that_have_it(results):
    errors = _elements.element_errors(results, "jdft2d", EAD)
    by_crystal = {}
    for record in results.of("jdft2d", EAD):
        for index, error in zip(record.test_indices, record.errors, strict=True):
            by_crystal.setdefault(index, []).append(error)
    with_iron = [np.mean(e) for index, e in by_crystal.items() if "Fe" in FORMULAS[index]]
    assert errors["Fe"].mean == pytest.approx(np.mean(with_iron))
    assert errors["Fe"].n_crystals == len(with_iron)
    assert set(errors) == {"Li", "O", "Fe", "Si", "Ce", "U"}


def test_difference_by_element_is_over_runs_that_both_have(tmp_path):
    records = [evaluation("jdft2d", "cgcnn", "ead", seed=s) for s in (1, 2)]
    records += [evaluation("jdft2d", "cgcnn", "scratch", seed=2)]
    results = read_results(write_folder(tmp_path, records))
    counts = [
        sum(e.n_crystals for e in _elements.element_errors(results, "jdft2d", *pair).values())
        for pair in ((EAD, SCRATCH), (SCRATCH, EAD), (EAD,))
    ]
    assert counts[0] == counts[1] < counts[2]


def test_elements_with_too_few_crystals_are_grey(results, figures, monkeypatch):
    errors = _elements.element_errors(results, "jdft2d", EAD)
    most = max(e.n_crystals for e in errors.values())
    monkeypatch.setattr(_elements, "MIN_CRYSTALS", most)
    _elements.periodic_plot(results, "jdft2d", (EAD, SCRATCH), "x")
    for axes in figures[0].axes:
        numbers = [t for t in axes.texts if re.fullmatch(r"-?[\d.]+", t.get_text())]
        assert len(numbers) == sum(e.n_crystals == most for e in errors.values())


def test_every_element_has_a_place_of_its_own():
    places = _periodic_table._positions()
    assert len(places) == len(set(places.values())) == 118
    assert places["H"] == (0, 0)
    assert places["He"] == (17, 0)
    assert places["Fe"] == (7, 3)
    assert places["Ce"][0] == places["Th"][0]
    assert places["Hf"] == (3, 5)
