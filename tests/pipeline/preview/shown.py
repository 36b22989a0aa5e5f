"""Rows as they stand in a shard, without a dataset; and a page read back as a browser would."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from unlabeled.pipeline import discover
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.encode import encode_values
from unlabeled.pipeline.features import ENVELOPE, Features, with_envelope
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.task import PartneredTask, PretextTask
from unlabeled.pipeline.work import Tools

from tests import samples
from tests.small_datasets import fill, jpeg, make, target

_VOID = {"img", "meta"}


def build(name: str) -> PretextTask[Any]:
    """Return a built-in task with its default settings, its assets made from sample items."""
    task = discover.make_task(discover.find_task(name), {})
    items = lambda: (samples.item_for(task, _rng(name, seed), seed) for seed in range(4))  # noqa: E731
    return task.with_assets(task.make_assets(items))


def make_dataset(folder: Path, files: Mapping[str, bytes]) -> Store:
    """Return a dataset of the turns of `files`, made in this process; pictures under 32 px are filtered."""
    of = target(folder / "dataset", discover.make_task(discover.find_task("image_rotation"), {"side_px": 32}))
    inputs = Store.open(str(fill(folder / "in", files)))
    (folder / "spool").mkdir()
    with Fence(Limits(), DecodeOptions()) as fence, ThreadPoolExecutor(1) as pool:
        make(of, inputs, Tools(fence, folder / "spool", pool))
    return of.store


#: Keys that must never be markup, a picture too small and a file that is none.
FILES = {
    **{f"{number}.jpg": jpeg(number, 48, 40) for number in range(12)},
    "a<script>alert(1)</script>.jpg": jpeg(90, 64, 64),
    '"><img src=x onerror=alert(1)>.jpg': jpeg(91, 64, 64),
    "<b>small.jpg": jpeg(92, 16, 16),
    "<i>broken.jpg": b"this is no picture",
}


def features_of(task: PretextTask[Any]) -> Features:
    return with_envelope(task.features())


def row(task: PretextTask[Any], seed: int = 0, **envelope: Any) -> dict[str, Any]:
    """Return the first example of a sample item as a stored row; envelope columns as given, else empty."""
    rng = _rng(task.name(), seed)
    item = samples.item_for(task, rng, seed)
    if isinstance(task, PartneredTask):
        others = range(1001, 1001 + task.num_partners)
        keyed = [(samples.item_for(task, _rng(task.name(), at), at), _rng(task.name(), at)) for at in others]
        example = next(iter(task.examples(item, rng, [task.offer(*other) for other in keyed])))
    else:
        example = next(iter(task.examples(item, rng)))
    stored = encode_values(task.features(), example.values)
    classes = task.features()["label"].classes if "label" in task.features() else ()
    names = {"label_name": classes[stored["label"]]} if classes else {}
    blank = dict.fromkeys(ENVELOPE.names)
    return {**stored, **names, **blank, "source_key": f"source-{seed}", "split": "train", **envelope}


def _rng(name: str, seed: int) -> ItemRng:
    return ItemRng(seed=0, task=name, source_key=f"source-{seed}")


@dataclass
class Read(HTMLParser):
    """A page read back: elements with attributes, the text of each, and whether all were closed in order."""

    elements: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag: str) -> list[Mapping[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(html: str) -> Read:
    """Return what a parser sees in `html`; fails where an element is not closed."""
    reader = Read()
    reader.feed(html)
    reader.close()
    assert not reader._open
    return reader
