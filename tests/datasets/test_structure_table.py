"""Tables of structures: ids as they are written, and columns that are not what they seem."""

import pandas as pd
import pytest

from gnnpre.datasets import make_emt_property, read_structures
from gnnpre.exceptions import DataQualityWarning

STRUCTURES, _ = make_emt_property(4, random_state=0)


def write_table(folder, text, encoding="utf-8"):
    for number, name in enumerate(("001", "NA", "b")):
        STRUCTURES[number].to(str(folder / f"{name}.cif"))
    (folder / "table.csv").write_bytes(text.encode(encoding))
    return folder / "table.csv"


def test_ids_are_read_as_they_are_written(tmp_path):
    path = write_table(tmp_path, "material,file,K\n001,001,1.5\nNA,NA,2.5\n1e3,b.cif,3.5\n")
    crystals, y = read_structures(path, "K", id_column="material")
    assert crystals.ids.tolist() == y.index.tolist() == ["001", "NA", "1e3"]
    assert y.tolist() == [1.5, 2.5, 3.5]
    path = write_table(tmp_path, "material,file,K\n7,001,1.5\n8,b,2.5\n")
    assert read_structures(path, "K", id_column="material")[1].index.tolist() == [7, 8]
    (tmp_path / "id_prop.csv").write_text("001,1.5\nNA,2.5\n")
    assert read_structures(tmp_path / "id_prop.csv")[0].ids.tolist() == ["001", "NA"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,K\nb.cif,1,\nb.cif,2,\n", "more fields than its header"),
        ("K,file\n1,b.cif,x\n", "more fields than its header"),
        ("file,K,K\nb.cif,1,2\n", "several columns are named 'K'"),
        ('file,K\nb.cif,"1,5"\n001.cif,"2,5"\n', "numbers with commas, '1,5' first"),
        ("file,K\nb.cif,1\n,2\n", "Row 1 .*the cell is empty"),
    ],
)
def test_tables_that_are_not_as_they_seem(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_structures(write_table(tmp_path, text), "K")


@pytest.mark.parametrize("codes", [["001", "1", "010"], ["-01", "", "-1"]])
def test_numbers_with_leading_zeros_are_codes(tmp_path, codes):
    names = ("001", "NA", "b")
    rows = [f"{names[n]},{code},{n}.5" for n, code in enumerate(codes)]
    _, y = read_structures(write_table(tmp_path, "\n".join(["file, label,K", *rows])))
    assert y["label"].fillna("").tolist() == codes
    assert y["K"].tolist() == [0.5, 1.5, 2.5]
    (tmp_path / "id_prop.csv").write_text("001,00\nNA,0\nb,10\n")
    assert read_structures(tmp_path / "id_prop.csv", "target_1")[1].tolist() == ["00", "0", "10"]
    (tmp_path / "id_prop.csv").write_text("001,0.5\nNA,-0\nb,10\n")
    assert read_structures(tmp_path / "id_prop.csv", "target_1")[1].tolist() == [0.5, 0, 10]


def test_tables_in_other_encodings(tmp_path):
    path = write_table(tmp_path, "\ufefffile,K\r\nb.cif,1\r\n")
    assert read_structures(path, "K")[1].tolist() == [1]
    for encoding in ("utf-16", "latin-1"):
        path = write_table(tmp_path, "file,K,note\nb.cif,1,\xfc\n", encoding)
        with pytest.raises(ValueError, match=r"table.csv is not text in UTF-8 .*save it as UTF-8"):
            read_structures(path, "K")


def test_ids_that_are_missing_or_repeated(tmp_path):
    path = write_table(tmp_path, "material,file,K\nx,b.cif,1\n,001.cif,2\n")
    with pytest.raises(ValueError, match=r"id_column='material': row 1 of .*table.csv has none"):
        read_structures(path, "K", id_column="material")
    path = write_table(tmp_path, "material,file,K\nx,b.cif,1\nx,001.cif,2\n")
    with pytest.warns(DataQualityWarning, match=r"1 of 2 crystals .*'x' occurs 2 times.*row 0 and"):
        assert read_structures(path, "K", id_column="material")[1].tolist() == [1, 2]
    table = pd.DataFrame({"structure": STRUCTURES[:2], "material": ["x", None]}).convert_dtypes()
    with pytest.raises(ValueError, match=r"id_column='material': row 1 of the table has none"):
        read_structures(table, id_column="material")


def test_an_index_that_repeats_ids():
    table = pd.DataFrame({"structure": STRUCTURES[:2]}, index=["a", "a"])
    with pytest.warns(DataQualityWarning, match=r"1 of 2 crystals .*'a' occurs 2 times"):
        assert read_structures(table)[0].ids.tolist() == ["a", "a"]


def test_columns_of_one_name_in_a_data_frame():
    for columns in (["structure", "structure", "K"], ["structure", "K", "K"]):
        table = pd.DataFrame([[STRUCTURES[0], STRUCTURES[1], 1.0]], columns=columns)
        with pytest.raises(ValueError, match=r"several columns named"):
            read_structures(table, "K")


def test_names_without_suffix_are_ids(tmp_path):
    structures, _ = make_emt_property(2, random_state=0)
    for name, structure in zip(("c 00", "c 01"), structures, strict=True):
        structure.to(str(tmp_path / f"{name}.cif"))
    (tmp_path / "t.csv").write_text("file,K\nc 00,1.5\nc 01,2.5\n")
    crystals, y = read_structures(tmp_path / "t.csv", "K")
    assert crystals.ids.tolist() == ["c 00", "c 01"]
    assert y.tolist() == [1.5, 2.5]


def test_blanks_around_names_of_columns_are_no_part_of_them(tmp_path):
    structures, _ = make_emt_property(1, random_state=0)
    structures[0].to(str(tmp_path / "a.cif"))
    (tmp_path / "t.csv").write_text("file, K \na.cif, 1.5\n")
    assert read_structures(tmp_path / "t.csv", "K")[1].tolist() == [1.5]


@pytest.mark.parametrize("name", ["table.csv", "table.tsv"])
def test_words_that_pandas_reads_as_missing(tmp_path, name):
    text = "file, magnetism,y\n001,FM,1\nNA,None,NA\nb,,3\n"
    path = write_table(tmp_path, text.replace(",", "," if name.endswith("csv") else "\t"))
    path.rename(tmp_path / name)
    with pytest.warns(DataQualityWarning, match="'magnetism' .* 'None' in 1 rows") as record:
        read_structures(tmp_path / name)
    assert len(record) == 1  # of numbers, NA is missing without a doubt


def test_names_of_files_as_other_systems_write_them(tmp_path):
    composed, apart = "\u00c5ngstr\u00f6m", "A\u030angstro\u0308m"
    for name in (f"{apart}.cif", "sub/a.cif", "b.cif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        STRUCTURES[0].to(str(tmp_path / name))
    rows = [f"{composed}.cif,1", "sub\\a.cif,2", "b.cif ,3", f"{composed},4"]
    (tmp_path / "table.csv").write_text("\n".join(["file,K", *rows]), encoding="utf-8")
    crystals, y = read_structures(tmp_path / "table.csv", "K")
    assert len(crystals) == 4
    assert y.tolist() == [1, 2, 3, 4]


def test_blanks_in_front_of_quotes(tmp_path):
    STRUCTURES[0].to(str(tmp_path / "a.cif"))
    (tmp_path / "table.csv").write_text('"file", "K", "class"\n"a.cif", "1.5", "one, two"\n')
    _, y = read_structures(tmp_path / "table.csv")
    assert y.to_dict("list") == {"K": [1.5], "class": ["one, two"]}
