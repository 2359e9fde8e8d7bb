"""Values that others wrote are held against a schema within bounds."""

import json
import os
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from napari_vdsr.schema import DEEPEST, Damaged, checked, parse_json, read_toml


class Recipe(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    depth: Annotated[int, Meta(ge=2, le=64)] = 20
    steps: Annotated[int, Meta(ge=1, le=10**12)] = 1
    lr: Annotated[float, Meta(gt=0, le=10)] = 1.0
    pair: tuple[float, float] = (0.0, 1.0)
    sizes: tuple[int, ...] = ()
    mode: Literal["sr", "jpeg"] = "sr"
    more: dict[str, int] = {}


def test_values_that_fit():
    found = checked({"name": "a", "lr": 1, "pair": [1, 2], "sizes": [3]}, Recipe)
    assert (found.lr, found.pair, found.sizes, found.depth) == (1.0, (1.0, 2.0), (3,), 20)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depth": 1}, "depth is 1; allowed is 2 to 64"),
        ({"depth": 10**400}, "depth is a number of 401 digits; allowed is 2 to 64"),
        ({"depth": True}, "depth is True; it must be a whole number"),
        ({"depth": None}, "depth is None; it must be a whole number"),
        ({"steps": 0}, "steps is 0; allowed is at least 1"),
        ({"steps": 10**13}, "steps is 10000000000000; allowed is 1 to 1000000000000"),
        ({"lr": 0}, "lr is 0; allowed is above 0 to 10"),
        ({"lr": float("nan")}, "lr is nan; it must be finite"),
        ({"lr": 10**400}, "lr is a number of 401 digits; allowed is above 0 to 10"),
        ({"lr": "x" * 10**5}, r"lr is 'x+\.\.\.x+'; it must be a number"),
        ({"pair": [1]}, r"pair is \[1\]; it must be two numbers"),
        ({"sizes": [2.5]}, r"sizes is \[2.5\]; it must be a list of whole numbers"),
        ({"mode": "blur"}, "mode is 'blur'; allowed are sr, jpeg"),
        ({"name": 3}, "name is 3; it must be a text"),
        ({"more": [3]}, r"more is \[3\]; it must be a table of names and values"),
        ({"colour\n": 3}, r"unknown 'colour\\+n'; allowed are name, depth"),
    ],
)
def test_values_that_do_not(changes, says):
    with pytest.raises(Damaged, match=f"^{says}") as caught:
        checked({"name": "a", **changes}, Recipe)
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


def test_no_table_and_no_name():
    with pytest.raises(Damaged, match="name is missing"):
        checked({}, Recipe)
    for values in ([], 3, None, "text"):
        with pytest.raises(Damaged, match="it must be a table"):
            checked(values, Recipe)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 10**5, "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
     '{"a":' * 999 + "1" + "}" * 999, "1" * 10**4, b"\xff\xfe", '"\\ud800', " " * (16 * 2**20 + 1)],
    ids=range(9),
)  # fmt: skip
def test_json_that_is_none(text):
    with pytest.raises(Damaged) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 300


def test_json():
    values = {"a": [1, 2.5, None, {"b": "µ"}], "nan": "x"}
    assert parse_json(json.dumps(values)) == values
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)


@pytest.mark.parametrize(
    "content",
    [b"a = = 1", b"\xff\xfe\x00", b"a = " + b"[" * 9999, b"a = " + b"{a=" * 50 + b"1" + b"}" * 50,
     b".".join([b"a"] * 999) + b" = 1", b"a = " + b"9" * 9999, b"#" * (2**20 + 1)],
    ids=range(7),
)  # fmt: skip
def test_toml_that_is_none(tmp_path, content):
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(Damaged) as caught:
        read_toml(tmp_path / "a.toml")
    assert len(str(caught.value)) < 300


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.toml")
    with pytest.raises(Damaged, match="no such file"):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize("key", ["a", '"a"', "'a'", " a "])
@pytest.mark.parametrize("line", ["{} = 1", "[{}]", "x = {{ {} = 1 }}"])
def test_names_of_endless_parts_are_not_parsed(tmp_path, key, line):
    (tmp_path / "a.toml").write_text(line.format(".".join([key] * 50_000)))
    with pytest.raises(Damaged, match="parts"):
        read_toml(tmp_path / "a.toml")


def test_many_file_names_are_no_such_names(tmp_path):
    (tmp_path / "a.toml").write_text(f"images = {json.dumps([f'a.b/{i}.tif' for i in range(99)])}")
    assert len(read_toml(tmp_path / "a.toml")["images"]) == 99
    (tmp_path / "a.toml").write_text("a = '" + "a" * 10**6 + "'")
    assert len(read_toml(tmp_path / "a.toml")["a"]) == 10**6
