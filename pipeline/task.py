"""The contract of a pretext task: one file, one frozen dataclass, settings as documented fields.

@dataclass(frozen=True)
class MyTask(PretextTask[Image]):
    '''What is predicted, and the paper.'''

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.CLASSIFICATION

    side_px: int = setting(224, "side of the stored square", unit="px", at_least=16)

    def features(self) -> Features: ...
    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]: ...
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from .errors import ConfigError
from .features import Features
from .items import ClipRequest, VideoInfo
from .rendering import Rendering
from .resample import SquareCrop
from .rng import ItemRng

ItemT = TypeVar("ItemT")


class Modality(StrEnum):
    """What a task's items are decoded from."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    TEXT = "text"
    #: A video with its sound: items are `Video` with `audio` set.
    VIDEO_AUDIO = "video_audio"


class Objective(StrEnum):
    """What a trainer does with the examples; it picks head and loss from this alone."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    MASKED_PREDICTION = "masked_prediction"
    FRAME_PREDICTION = "frame_prediction"
    CONTRASTIVE = "contrastive"
    TOKEN_PREDICTION = "token_prediction"  # noqa: S105 - not a password


#: How the loader keeps a source's examples: in one batch, in different batches, or as it comes.
Batching = Literal["together", "apart", "any"]


@dataclass(frozen=True, slots=True)
class Example:
    """One pretext example: `values` for exactly the columns of the task's features().

    `draw` numbers the item's examples from 0 in the order they are yielded. `kept`: what `store: recipe` keeps of it
    instead, the columns of the task's kept_features(), where it has a rendering(). The crop is one and the same array
    for all examples of an item that have it in common.
    """

    draw: int
    values: Mapping[str, Any]
    kept: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def setting(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    multiple_of: int | None = None,
) -> Any:
    """Return a dataclass field for one setting of a task: its default, meaning, unit and inclusive bounds."""
    metadata = {
        "doc": doc,
        "unit": unit,
        "at_least": at_least,
        "at_most": at_most,
        "multiple_of": multiple_of,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class PretextTask(ABC, Generic[ItemT]):
    """Base of every pretext task. Pure: what it yields depends on settings, assets, item and rng alone."""

    version: ClassVar[str]
    modality: ClassVar[Modality]
    objective: ClassVar[Objective]
    #: Author, title, venue, year and, where there is one, the arXiv number.
    paper: ClassVar[str]
    #: Whether examples may be stored as recipes (`store: recipe`): a crop and parameters, applied at load.
    has_recipe: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the settings' bounds; tasks with rules between settings extend this.

        Raises:
            ConfigError: naming field, found and expected.
        """
        for field in dataclasses.fields(self):
            _check_bounds(field.name, getattr(self, field.name), field.metadata)

    @classmethod
    def name(cls) -> str:
        """Return the task's name: the name of its file."""
        return cls.__module__.rpartition(".")[2]

    @abstractmethod
    def features(self) -> Features:
        """Return the columns that every example of this task has, in order (without the envelope)."""

    def kept_features(self) -> Features:
        """Return the columns that `store: recipe` keeps: features() where nothing is left to be made at load."""
        return self.features()

    def rendering(self) -> Rendering | None:
        """Return how an example is made of what `store: recipe` keeps; None where that is the example."""
        return None

    def square_crop(self, rng: ItemRng) -> SquareCrop | None:
        """Return the crop of a picture that `examples` asks for, where that is known before it is decoded.

        It decides nothing: a picture that is decoded behind the fence then brings it along, at once.
        """
        return None

    @abstractmethod
    def examples(self, item: ItemT, rng: ItemRng) -> Iterator[Example]:
        """Yield the item's examples, numbered from 0; the item is not changed.

        Raises:
            Filtered: before the first example, where this item can give none (say why: `too_short`, `too_small`).
        """

    @property
    def batching(self) -> Batching:
        """How the loader keeps the examples of one source."""
        return "any"

    @property
    def bundle_size(self) -> int:
        """Number of consecutive rows that the loader keeps as one bundle (`together`); 1 for most tasks."""
        return 1

    @property
    def num_partners(self) -> int:
        """How many partners from other groups `examples` needs for one item (negatives); 0 for most tasks."""
        return 0

    def requests(self, info: VideoInfo, rng: ItemRng) -> Sequence[ClipRequest]:
        """Return the clips that `examples` will look at (video tasks only): all of them, so that one decode serves.

        Raises:
            Filtered: where this video can give no example.
        """
        raise NotImplementedError(f"{type(self).__name__} does not read video")

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return about how many shard bytes a source of `source_num_bytes` gives, from constants alone.

        Plans are packed by it, so it depends on settings and size only; `plan` reports a pilot's figure beside.
        """
        return source_num_bytes

    def estimate_recipe_num_bytes(self, source_num_bytes: int) -> int:
        """Return what `estimate_num_bytes` does, for `store: recipe`."""
        return self.estimate_num_bytes(source_num_bytes)

    def rederive(self, row: Mapping[str, Any], item: ItemT) -> Mapping[str, Any]:
        """Return the label columns (and others that follow from them) recomputed for a stored row.

        `row` holds the stored columns, media decoded as `Features.check` has them; `item` is the source, decoded
        again. The way must not call `examples`: it is the second opinion that `verify --rederive` compares with.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rederive")

    def make_assets(self, sample: Callable[[], Iterable[ItemT]]) -> Mapping[str, bytes]:
        """Return files that the dataset freezes in its first version (a tokenizer, a permutation set).

        `sample()` iterates over a bounded, deterministic sample of decoded items. Must be deterministic.
        """
        return {}

    def make_assets_of_keys(self, keys: Callable[[], Iterable[str]]) -> Mapping[str, bytes]:
        """Return further files that the dataset freezes in its first version, which follow from its source keys.

        `keys()` iterates over the source keys of the inventory, sorted: the names of classes may stand in them.
        """
        return {}

    def with_assets(self, assets: Mapping[str, bytes]) -> Self:
        """Return this task reading the frozen `assets`; self where it needs none."""
        return self


class PartneredTask(PretextTask[ItemT]):
    """A task that needs material of other sources (negatives of a contrastive or adjacency task).

    Partners come from other groups of the same split and the same shard, chosen by key. Where a source has too few,
    `examples` gets fewer than `num_partners` and filters itself with `no_partner`.
    """

    @abstractmethod
    def offer(self, item: ItemT, rng: ItemRng) -> Any:
        """Return what this item lends to others: small (under 1 MB), since all of a shard's offers are kept.

        Raises:
            Filtered: where it has nothing to lend.
        """

    @abstractmethod
    def examples(self, item: ItemT, rng: ItemRng, partners: Sequence[Any] = ()) -> Iterator[Example]:
        """Yield the item's examples; `partners` are `num_partners` (or fewer) offers of other groups."""


def _check_bounds(name: str, found: Any, metadata: Mapping[str, Any]) -> None:
    at_least, at_most, multiple_of = (metadata.get(key) for key in ("at_least", "at_most", "multiple_of"))
    for number in found if isinstance(found, tuple) else (found,):
        if at_least is not None and number < at_least:
            raise ConfigError(f"`{name}` must be at least {at_least}, but is {number}.")
        if at_most is not None and number > at_most:
            raise ConfigError(f"`{name}` must be at most {at_most}, but is {number}.")
        if multiple_of is not None and number % multiple_of:
            raise ConfigError(f"`{name}` must be a multiple of {multiple_of}, but is {number}.")
