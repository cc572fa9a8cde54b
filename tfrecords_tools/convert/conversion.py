"""What is to be converted, and how: all that decides which bytes come out."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from seghgan_tf import __version__
from tfrecords_tools.actions import ActionTable
from tfrecords_tools.faces import Picturing


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What is to be converted; equal conversions of equal files give equal bytes.

    `validation` and `test` are fractions below 1 or numbers of photos, taken by whole subjects from the photos whose split
    the data set leaves open; None is 0.05 each, or nothing where the data set has splits of its own. `options` are
    the reader's. `share` is which of how many machines this is: each makes its shards of the one plan, in a folder of its own, to be merged.
    Raises ValueError where these cannot be.
    """

    dataset: str
    source: str
    picturing: Picturing = dataclasses.field(default_factory=Picturing)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    actions: ActionTable | None = None
    validation: float | None = None
    test: float | None = None
    seed: int = 0
    shard_size: int = 1024
    share: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            value = getattr(self, name)
            if value is not None and (value < 0 or (value > 1 and value != int(value))):
                raise ValueError(
                    f"`{name}` must be a fraction of 0 to 1 or a whole number of photos. Received: {value:g}"
                )
        if not 0 <= self.share[0] < self.share[1]:
            raise ValueError(f"`shard` must be I/N with I of 0 to N - 1. Received: {self.share[0]}/{self.share[1]}")
        if not 1 <= self.shard_size <= 1 << 20:
            raise ValueError(f"`shard_size` must be 1 to {1 << 20} records. Received: {self.shard_size}")

    def request(self) -> dict[str, Any]:
        """Return the conversion as plain values, with the version of this program."""
        values = {**dataclasses.asdict(self), "tool_version": __version__, "share": list(self.share)}
        if self.actions is not None:
            values["actions"] = {**self.actions._asdict(), "units": list(self.actions.units)}
        plain: dict[str, Any] = json.loads(json.dumps(values, default=os.fspath))
        return plain

    def told(self) -> dict[str, Any]:
        """Return the request as `dataset.json` tells it: of paths the last part alone, as they differ from machine to machine."""
        values = self.request()
        values["source"] = os.path.basename(os.path.abspath(self.source))
        values["options"] = {
            name: value.name if isinstance(value, Path) else value for name, value in self.options.items()
        }
        if self.actions is not None:
            values["actions"]["path"] = os.path.basename(os.path.abspath(self.actions.path))
        return values
