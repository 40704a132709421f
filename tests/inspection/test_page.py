"""The page of a report: well formed, self-contained, with all text escaped."""

from html.parser import HTMLParser

import pytest

from gnnpre.inspection import Entry, Plot, Section, Table, page

VOID = {"meta", "br", "hr", "img", "link", "input"}
LOADING = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}


class Checker(HTMLParser):
    """Collect tags, text and what a browser would load; every tag must be closed in turn."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen, self.loads, self.text, self.ids, self.labels = ([] for _ in range(6))
        self.feed(html)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.labels += [value for name, value in attrs if name == "aria-label"]
        self.loads += [
            value for name, value in attrs if name in LOADING and not value.startswith("#")
        ]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check_self_contained(html):
    """Check that all tags are closed and nothing is asked of another host or file."""
    checker = Checker(html)
    assert checker.loads == []
    assert not {"script", "link", "iframe", "object", "embed", "image", "img"} & set(checker.seen)
    assert len(set(checker.ids)) == len(checker.ids)
    for word in ("http://", "https://", "@import", "url(http", "javascript:"):
        assert word not in html
    return checker


NASTY = "<b>&\"'</table><script>alert('too long')</script>"


@pytest.fixture
def html():
    table = Table(NASTY, [NASTY, "n"], [[Entry(NASTY), Entry(NASTY, best=True)]], [NASTY])
    plot = Plot('<svg viewBox="0 0 1 1"><path d="M 0 0"/></svg>', NASTY)
    return page(NASTY, [Section(NASTY, [NASTY], [table], [plot], [NASTY])])


def test_page_is_closed_and_loads_nothing(html):
    check_self_contained(html)


def test_text_is_escaped_everywhere(html):
    checker = Checker(html)
    assert "script" not in checker.seen
    assert "b" not in checker.seen
    # Heading and title of the page, of the section (which its table shares), paragraph, two notes,
    # head and two cells of the table, caption.
    assert sum(NASTY in text for text in ["".join(checker.text)]) == 1
    assert "".join(checker.text).count(NASTY) == 10


def test_marks_are_classes(html):
    assert '<td class="best long">' in html


def test_page_adapts_to_phones_and_to_the_dark(html):
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html
    assert '<div class="scroll" tabindex="0"' in html


def test_table_without_rows_shows_its_notes():
    text = page("t", [Section("s", tables=[Table("empty", ["", "n"], [], ["None yet."])])])
    assert "None yet." in text
    assert "<table" not in text


def test_checker_sees_what_it_should():
    with pytest.raises(AssertionError, match="not closed"):
        Checker("<p><b>text</b>")
    with pytest.raises(AssertionError):
        check_self_contained('<p><a href="https://example.org/x.css"></a></p>')
    with pytest.raises(AssertionError):
        check_self_contained("<script src='x.js'></script>")
