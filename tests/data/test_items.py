"""Item files of every kind: ids, titles, categories, other columns."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from moerec.data.items import read_items
from moerec.errors import DataError

U_ITEM_FLAGS = "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"


def items(folder: Path, data: str | bytes, name: str = "items.csv") -> pl.DataFrame:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_items(path).frame


def test_movies_dat_in_latin1_or_utf8(tmp_path: Path) -> None:
    text = '1::Misérables, Les: "New" (1995)::Drama|Musical\n2::Heat (1995)::\n'
    for encoding in ("latin-1", "utf-8"):
        for pack in (bytes, gzip.compress):
            frame = items(tmp_path, pack(text.encode(encoding)), "movies.dat")
            assert frame.rows() == [
                ("1", 'Misérables, Les: "New" (1995)', ["Drama", "Musical"]),
                ("2", "Heat (1995)", []),
            ]


def test_u_item(tmp_path: Path) -> None:
    text = f"1|Café (1995)|01-Jan-1995||http://x|{U_ITEM_FLAGS}\n"
    frame = items(tmp_path, text.encode("latin-1"), "u.item")
    assert frame.columns[:3] == ["item_id", "title", "categories"]
    assert frame.columns[3:] == ["release_date", "video_release_date", "imdb_url"]
    assert frame.row(0)[:4] == (
        "1",
        "Café (1995)",
        ["Animation", "Children's", "Comedy"],
        "01-Jan-1995",
    )


def test_latin1_in_other_item_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="UTF-8") as caught:
        items(tmp_path, "item_id,title\n1,Café\n".encode("latin-1"))
    assert caught.value.line == 2


def test_movies_csv(tmp_path: Path) -> None:
    text = 'movieId,title,genres,year\n1,"Heat, the film",Action|Crime,1995\n\n2,Odd,(no genres listed),\n'
    frame = items(tmp_path, text)
    assert frame.columns == ["item_id", "title", "categories", "year"]
    assert frame.rows() == [
        ("1", "Heat, the film", ["Action", "Crime"], "1995"),
        ("2", "Odd", [], None),
    ]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ('"a|b, c"', ["a", "b, c"]),
        ("a; b", ["a", "b"]),
        ('"a, b"', ["a", "b"]),
        ("a b", ["a b"]),
        ("", []),
    ],
)
def test_categories_in_one_cell(tmp_path: Path, cell: str, expected: list[str]) -> None:
    frame = items(tmp_path, f"id,category\n1,{cell}\n2,\n")
    assert frame.get_column("categories").to_list() == [expected, []]


def test_a_table_with_an_id_alone_is_enough(tmp_path: Path) -> None:
    assert items(tmp_path, "item_id;colour\n7;red\n").rows() == [("7", "red")]


def test_json_lines_and_parquet_keep_types(tmp_path: Path) -> None:
    lines = [
        {"product_id": 1, "name": "Lamp", "categories": ["home", "light"], "price": 9.5},
        {"product_id": 2, "name": None, "categories": None, "price": None},
    ]
    frame = items(tmp_path, "\n".join(map(json.dumps, lines)), "items.jsonl")
    assert frame.columns == ["item_id", "title", "categories", "price"]
    assert frame.rows() == [("1", "Lamp", ["home", "light"], 9.5), ("2", None, [], None)]
    path = tmp_path / "items.parquet"
    pl.DataFrame(lines).write_parquet(path)
    assert read_items(path).frame.equals(frame)


@pytest.mark.parametrize("indent", [None, 1])
def test_attributes_by_item(tmp_path: Path, indent: int | None) -> None:
    text = json.dumps({"4": [1, 2, 1, "x"], "83": []}, indent=indent)
    frame = items(tmp_path, text, "Some_item2attributes.json")
    assert frame.rows() == [("4", ["1", "2", "x"]), ("83", [])]


def test_attributes_may_be_one_very_long_line(tmp_path: Path) -> None:
    text = json.dumps({str(item): [f"{item:01000}"] for item in range(5000)})
    assert len(text) > 4 << 20
    assert len(items(tmp_path, gzip.compress(text.encode()), "a.json.gz")) == 5000


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("item_id,title\n1,a\n,b\n", 3, "nothing where the id of the item"),
        ("item_id,title\n1,a\nNaN,b\n", 3, "'NaN' where the id of the item"),
        ("item_id,title\n1,a\n\n2,b\n1,c\n", 5, "the item '1' is there twice"),
        ("item_id,title\n1,a,b\n", 2, "3 fields, but the table has 2"),
        ("1,Heat\n2,Odd\n", 1, "no header line"),
        ("title,colour\nHeat,red\n", None, "no column for the item id .*: title, colour"),
        ('{"item_id": 1}\n{"item_id": 1}\n', None, "row 2: the item '1' is there twice"),
        ('{"item_id": \n', 1, "not JSON"),
        ("", None, "empty"),
    ],
)
def test_bad_item_files_are_refused(
    tmp_path: Path, text: str, line: int | None, words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        items(tmp_path, text)
    assert caught.value.line == line
    assert caught.value.remedy


def test_a_cut_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Parquet file cannot be read"):
        items(tmp_path, b"PAR1 and no more", "items.parquet")


def test_repeated_names_are_numbered(tmp_path: Path) -> None:
    assert items(tmp_path, "item_id,note,note\n1,a,b\n").columns == ["item_id", "note", "note_2"]
