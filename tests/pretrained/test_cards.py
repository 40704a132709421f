"""Model cards: read from files, written as Markdown, refused where there is none."""

import json
import zipfile

import pytest

from gnnpre import CGCNN, PropertyRegressor, describe_pretrained
from gnnpre.pretrained import ModelCard, read_leak_keys


def test_card_has_the_metadata_and_shows_it(released_file):
    card = describe_pretrained(released_file)
    with zipfile.ZipFile(released_file) as archive:
        assert card.metadata == json.loads(archive.read("card.json"))
    text = str(card)
    assert text.startswith("# tiny\n")
    for shown in (
        "| EMT | 20 | K 20 | CC0-1.0 | made here |",
        "| K | GPa | 1.5 | 9 | 4 |",
        "- Anything but tests.",
        "2 elements, with the number of training structures that contain each: Au 9, Cu 7.",
        "- weights: 1,234",
        "- CPU hours: 0.001",
    ):
        assert shown in text
    assert repr(card) == "ModelCard('tiny')"


def test_incomplete_card_is_refused():
    with pytest.raises(ValueError, match="lacks summary, network"):
        ModelCard({"name": "x"})


def test_model_without_card_says_so(tmp_path, training_set):
    structures, y = training_set
    model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0).fit(structures, y)
    for path in (tmp_path / "model.gnnpre", tmp_path / "model"):
        model.save(path)
        with pytest.raises(ValueError, match=r"has no model card.*gnnpre info"):
            describe_pretrained(path)
        with pytest.raises(ValueError, match="has no leak keys"):
            read_leak_keys(path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 broken"])
def test_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "broken.gnnpre"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken.gnnpre' cannot be read"):
        describe_pretrained(path)


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"name": 1}', b"\xff"])
def test_damaged_card_is_named(tmp_path, released_file, content):
    path = tmp_path / "broken.gnnpre"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("card.json", content)
    with pytest.raises(ValueError, match=r"broken.gnnpre' cannot be read"):
        describe_pretrained(path)
