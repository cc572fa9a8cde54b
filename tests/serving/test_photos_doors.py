"""Every odd picture gives the same pixels, edit and expression through every door: converter, editor, both clients."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seghgan_tf.editing import Editor
from seghgan_tf.photos import read
from serving.client import AsyncSegHGANClient, SegHGANClient
from tests.photo_files import ODD
from tfrecords_tools.images import open_picture

FULL = {"AU06": 5.0, "AU12": 5.0, "AU25": 5.0}


@pytest.fixture(scope="module")
def editor(export_v1: Path, open_once: Any) -> Editor:
    return open_once(export_v1)


@pytest.fixture(scope="module")
def client(embedded: tuple[Any, str]) -> Iterator[SegHGANClient]:
    with SegHGANClient(embedded[1]) as opened:
        yield opened


async def asked(address: str, photo: bytes, regions: list[str] | None) -> tuple[bytes, np.ndarray]:
    async with AsyncSegHGANClient(address) as client:
        return await client.edit(photo, [1.0] * 3, regions), await client.analyze(photo)


@pytest.mark.parametrize("name", ODD)
def test_every_door_reads_the_same(name: str, editor: Editor, client: SegHGANClient, embedded: tuple[Any, str]) -> None:
    photo, wanted, away = ODD[name]
    pixels = np.asarray(open_picture(photo, 1_000_000).image)
    assert pixels.shape == wanted.shape
    assert np.abs(pixels.astype(int) - wanted).max() <= away
    for regions, expected in (([], pixels), (None, np.minimum(pixels.astype(int) + 64, 255))):
        awaited, seen = asyncio.run(asked(embedded[1], photo, regions))
        doors = (editor.edit(photo, FULL, regions=regions), client.edit(photo, [1.0] * 3, regions), awaited)
        for edited in doors:
            np.testing.assert_array_equal(read(edited).pixels, expected)
    here = np.array(list(editor.analyze(photo).values())) / 5
    np.testing.assert_allclose(client.analyze(photo), here, atol=1e-6)
    np.testing.assert_allclose(seen, here, atol=1e-6)
