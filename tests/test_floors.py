"""The picture of the floors is that of today's imports, and no unit imports itself through others."""

import graphlib

import pytest

from docs import floors


def test_the_picture_in_the_page_is_that_of_todays_imports():
    text = floors.PAGE.read_text()
    assert floors.page(text) == text, "run: python -m docs.floors"


def test_units_stand_on_what_they_import_and_a_circle_is_an_error():
    edges = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert floors.floors(edges) == {"a": 2, "b": 1, "c": 0}
    assert floors.direct(edges) == {"a": {"b"}, "b": {"c"}, "c": set()}
    with pytest.raises(graphlib.CycleError, match=r"'b', 'c', 'b'|'c', 'b', 'c'"):
        floors.floors({"a": {"b"}, "b": {"c"}, "c": {"b"}})
