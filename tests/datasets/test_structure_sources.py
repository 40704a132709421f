"""Folders, links, archives and compressions: no structure is lost without a word."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gnnpre.datasets import make_emt_property, read_structures
from gnnpre.exceptions import DataQualityWarning

STRUCTURES, _ = make_emt_property(4, random_state=0)


def test_links(folder):
    (folder / "other.cif").symlink_to("mp-0.cif")
    (folder / "around").symlink_to(folder)
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    STRUCTURES[0].to(str(elsewhere / "far.cif"))
    (folder / "linked").symlink_to(elsewhere)
    crystals, _ = read_structures(folder)
    assert crystals.ids.tolist() == ["linked/far", "mp-0", "mp-1", "mp-2", "mp-3", "other"]
    (folder / "broken.cif").symlink_to("nowhere.cif")
    with pytest.raises(
        ValueError, match=r"broken.cif is a link to nowhere.cif, which is not there"
    ):
        read_structures(folder)


def test_a_folder_that_cannot_be_listed(folder, monkeypatch):
    def walk(top, onerror, **options):
        onerror(PermissionError(13, "Permission denied", f"{top}/mp-3"))
        yield str(top), [], ["mp-0.cif"]

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(PermissionError, match=r"mp-3 cannot be listed .*would be missing"):
        read_structures(folder)


def test_compressions_in_any_case_and_those_that_are_not_read(folder):
    (folder / "mp-2.json.gz").rename(folder / "mp-2.JSON.GZ")
    assert len(read_structures(folder)[0]) == 4
    (folder / "mp-4.cif.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.warns(DataQualityWarning, match=r"1 archives or compressed files .*mp-4.cif.zst"):
        assert len(read_structures(folder)[0]) == 4
    with pytest.raises(ValueError, match="compressed in a way that is not read"):
        read_structures(folder / "mp-4.cif.zst")


def test_archives_in_archives(tmp_path):
    cif = STRUCTURES[0].to(fmt="cif")
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as file:
        file.writestr("a.cif", cif)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as file:
        file.write(tmp_path / "inner.zip", "sub/inner.zip")
    with pytest.raises(
        ValueError, match=r"outer.zip: .*It holds inner.zip, which has to be unpacked"
    ):
        read_structures(tmp_path / "outer.zip")
    with zipfile.ZipFile(tmp_path / "outer.zip", "a") as file:
        file.writestr("b.cif", cif)
    with pytest.warns(DataQualityWarning, match=r"not read, sub/inner.zip first"):
        assert read_structures(tmp_path / "outer.zip")[0].ids.tolist() == ["b"]


def test_truncated_zip_and_members_of_one_name(tmp_path):
    cif = STRUCTURES[0].to(fmt="cif")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as file:
        file.writestr("a.cif", cif)
        file.writestr("./a.cif", STRUCTURES[1].to(fmt="cif"))
    with pytest.raises(ValueError, match=r"several members named a.cif"):
        read_structures(tmp_path / "two.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "two.zip").read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"cut.zip is a zip archive that is truncated"):
        read_structures(tmp_path / "cut.zip")


def test_members_with_absolute_names_of_windows(tmp_path):
    outside = tmp_path / "outside.cif"
    for name in (str(outside), str(outside).replace("/", "\\"), str(outside.with_suffix(".zip"))):
        with zipfile.ZipFile(tmp_path / "up.zip", "w") as file:
            file.writestr(name, STRUCTURES[0].to(fmt="cif"))
        with pytest.raises(ValueError, match="absolute name"):
            read_structures(tmp_path / "up.zip")
    assert not outside.exists()
    assert not outside.with_suffix(".zip").exists()


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_ends_of_lines_and_byte_order_marks(tmp_path, end):
    cif = STRUCTURES[0].to(fmt="cif")
    (tmp_path / "a.cif").write_bytes(("\ufeff" + cif).replace("\n", end).encode())
    read = read_structures(tmp_path / "a.cif")[0][0]
    # CIF files sort the atoms.
    distances = (np.sort(item.distance_matrix.ravel()) for item in (read, STRUCTURES[0]))
    np.testing.assert_allclose(*distances, atol=1e-5)
    (tmp_path / "a.cif").write_bytes(cif.encode("utf-16"))
    with pytest.raises(ValueError, match=r"a.cif is text in UTF-16: save it as UTF-8"):
        read_structures(tmp_path / "a.cif")


def test_a_full_disk_is_no_damaged_archive(folder, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(folder / "mp-0.cif", "a.cif")

    def no_space(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", no_space)
    with pytest.raises(OSError, match=r"The disk of .* is full: .*a.zip is unpacked there.*TMPDIR"):
        read_structures(tmp_path / "a.zip")
