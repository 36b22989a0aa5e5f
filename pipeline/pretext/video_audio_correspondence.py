"""Predict whether a second of sound belongs to a video frame.

Arandjelovic, Zisserman: Look, Listen and Learn, ICCV 2017 (arXiv:1705.08168); Cramer et al.: Look, Listen and Learn
More, ICASSP 2019 (OpenL3).

A positive is a frame with a second of sound that contains its moment: start_us <= frame_pts_us <= start_us + 1 s is
asserted for every row. Every frame also comes with a sound that is not its own: half of them of the same video, far
away in time, by exchanging the sounds of two places (so neither frame nor sound alone tells the label), the others of
another video. Videos too short for two places far apart have the second kind alone. Level and equalisation of every
sound are random, so that a recorder's loudness and colour do not stand in for what is heard; silent sounds and blank
frames are not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import frames, windows
from ..errors import ConfigError, Filtered
from ..features import Features, audio, box, class_label, image, value
from ..items import ClipRequest, Video, VideoInfo, Waveform
from ..rng import ItemRng
from ..sound import EQ_POINTS_HZ, Conditioning, Samples, is_same_sound, is_usable, rms_dbfs
from ..task import Example, Modality, Objective, PartneredTask, setting

CLASSES = ("mismatch", "match")
#: Sounds that a video lends to others.
MAX_LENT = 4


@dataclass(frozen=True)
class Lent:
    """A sound that a video lends: int16 [num_samples], its start in that video, and the video's key."""

    samples: NDArray[np.int16]
    start_us: int
    source_key: str


@dataclass(frozen=True)
class Place:
    """A good frame, at `index` of the item's clips, and the first sample of the sound around it."""

    index: int
    frame_pts_us: int
    start: int
    start_us: int


@dataclass(frozen=True)
class Pairing:
    """One example to make: the frame of a place with its own sound, another place's, or a lent one."""

    place: Place
    sound: Place | Lent
    relation: Literal["same_time", "same_video_far", "other_video"]
    clip_us: int

    def __post_init__(self) -> None:
        """Assert that the frame's moment lies within the sound where it must, and not where it must not."""
        is_inside = 0 <= self.place.frame_pts_us - self.sound.start_us <= self.clip_us
        if self.relation != "other_video" and is_inside != (self.relation == "same_time"):
            raise ValueError(f"{self.relation}: frame at {self.place.frame_pts_us} us, {self.sound.start_us=}")


@dataclass(frozen=True)
class VideoAudioCorrespondence(PartneredTask[Video]):
    """Predict whether a second of sound belongs to a video frame (Look, Listen and Learn)."""

    version = "1"
    modality = Modality.VIDEO_AUDIO
    objective = Objective.CLASSIFICATION
    paper = "Arandjelovic, Zisserman: Look, Listen and Learn, ICCV 2017 (arXiv:1705.08168)"

    side_px: int = setting(224, "side of the stored frame", unit="px", at_least=64, at_most=1024, multiple_of=16)
    sample_rate_hz: int = setting(16_000, "rate of the decoded sound", unit="hz", at_least=4000, at_most=48_000)
    clip_us: int = setting(1_000_000, "length of a sound", unit="us", at_least=100_000, at_most=10_000_000)
    negatives: Literal["both", "same_video", "other_video"] = setting(
        "both", "where sounds that do not belong come from: half of each, or one kind alone"
    )
    far_us: int = setting(3_000_000, "least time between the sounds of one video that are exchanged", unit="us")
    level_dbfs: float = setting(-26, "mean level of a stored sound", unit="dBFS", at_least=-60, at_most=-6)
    level_spread_db: float = setting(6, "a level is uniform in level_dbfs +- this", unit="dB", at_least=0, at_most=20)
    eq_db: float = setting(6, "gains, octave by octave, are uniform in +- this", unit="dB", at_least=0, at_most=20)
    min_level_dbfs: float = setting(-60, "quieter sounds are not used", unit="dBFS", at_least=-120, at_most=0)
    max_clipped_fraction: float = setting(0.05, "sounds with more clipped samples are not used", at_least=0, at_most=1)
    min_contrast: float = setting(4, "least deviation of a frame's luma", unit="levels of 255", at_least=0)
    max_windows: int = setting(8, "most frames of one source, spread over its whole duration", at_least=1)
    num_spares: int = setting(4, "frames decoded beside them, in case some are blank or silent", at_least=0)
    crop_fraction: float = setting(
        0.7, "share of the short side that is stored, where the source is large enough", at_least=0.1, at_most=1
    )

    def __post_init__(self) -> None:
        """Check bounds, that far sounds do not overlap, and that the frames of one source fit into memory."""
        super().__post_init__()
        if self.far_us < 2 * self.clip_us:
            raise ConfigError(f"`far_us` must be at least twice `clip_us` = {self.clip_us}, but is {self.far_us}.")
        frame_px = frames.request_px(self.side_px, self.crop_fraction)
        windows.check_clip_bytes(self.max_windows + self.num_spares, 1, frame_px)

    @property
    def num_partners(self) -> int:
        """Two, where sounds of other videos are used."""
        return 0 if self.negatives == "same_video" else 2

    def features(self) -> Features:
        """Return frame, sound, whether they belong together, and where each was taken."""
        return Features.of(
            frame=image("a frame"),
            clip=audio("a sound", sample_rate_hz=self.sample_rate_hz),
            label=class_label(CLASSES, "whether the frame's moment lies within the sound"),
            relation=value("string", "parameter", "same_time, same_video_far or other_video"),
            frame_pts_us=value("int64", "parameter", "presentation time of the frame", unit="us"),
            start_us=value("int64", "parameter", "start of the sound, in the video it is of", unit="us"),
            partner_key=value(
                "string", "parameter", "source_key of the sound where it is of another video, else empty"
            ),
            sample_rate_hz=value("int32", "parameter", "rate of the sound", unit="hz"),
            num_samples=value("int32", "parameter", "length of the sound", unit="samples"),
            rms_dbfs=value("float32", "parameter", "level of the sound in its video", unit="dBFS"),
            level_dbfs=value("float32", "parameter", "level that was asked for", unit="dBFS"),
            eq_db=value(
                "float32", "parameter", "gains at 125 hz to 8000 hz, by octaves", shape=(len(EQ_POINTS_HZ),), unit="dB"
            ),
            crop_box=box("crop in the upright source, to the nearest px"),
        )

    @property
    def _clip_samples(self) -> int:
        return self.clip_us * self.sample_rate_hz // 1_000_000

    def _moments(self, info: VideoInfo, rng: ItemRng) -> tuple[windows.FrameGrid, list[tuple[int, int]]]:
        """Return the frame grid, and for each candidate its frame and how many frames before it the sound starts."""
        grid = windows.frame_grid(info)
        span = self._span(grid)
        num = windows.num_windows(grid, span, self.max_windows) + self.num_spares
        starts = windows.window_starts(grid, span, num, rng)
        offsets = rng.item("moments").integers(span, size=len(starts)).tolist()
        return grid, [(start + offset, offset) for start, offset in zip(starts, offsets, strict=True)]

    def _span(self, grid: windows.FrameGrid) -> int:
        return int(self.clip_us / grid.interval_us) + 1

    def requests(self, info: VideoInfo, rng: ItemRng) -> Sequence[ClipRequest]:
        """Return one frame a candidate, spares included, in keyed order."""
        crop_box, size_px = frames.square_request(info, self.side_px, self.crop_fraction)
        grid, moments = self._moments(info, rng)
        return [
            ClipRequest(
                targets_us=windows.targets(grid, [frame]), crop_box=crop_box, width_px=size_px, height_px=size_px
            )
            for frame, _ in moments
        ]

    def offer(self, item: Video, rng: ItemRng) -> tuple[Lent, ...]:
        """Return up to `MAX_LENT` of the video's sounds: of places that it uses itself.

        Raises:
            Filtered: as `examples`, or `nothing_to_lend` where sounds of other videos are not used.
        """
        if self.num_partners == 0:
            raise Filtered("nothing_to_lend", "negatives are of the same video")
        sound = self._sound(item)
        return tuple(
            Lent(sound.samples[place.start :][: self._clip_samples].copy(), place.start_us, rng.source_key)
            for place in self._places(item, rng)[:MAX_LENT]
        )

    def examples(self, item: Video, rng: ItemRng, partners: Sequence[Any] = ()) -> Iterator[Example]:
        """Yield each good frame with its own sound and with another, in keyed order."""
        if self.num_partners and not partners:
            raise Filtered("no_partner", "no other video lends a sound")
        sound = self._sound(item)
        inner = frames.inner_crop(item.clips, self.side_px)
        pairings = self._pairings(self._places(item, rng), partners, rng)
        order = rng.order(len(pairings))
        for draw in range(len(pairings)):
            pairing = pairings[order[draw]]
            clip = item.clips[pairing.place.index]
            yield Example(
                draw,
                {
                    "frame": frames.cut_out(clip.frames, inner)[0],
                    "label": int(pairing.relation == "same_time"),
                    "relation": pairing.relation,
                    "frame_pts_us": pairing.place.frame_pts_us,
                    "crop_box": frames.source_box(clip.request, inner),
                }
                | self._sound_values(sound, pairing, rng.draw(draw)),
            )

    def _sound(self, item: Video) -> Waveform:
        if item.audio is None:
            raise Filtered("no_audio", "the video has no sound")
        if item.audio.sample_rate_hz != self.sample_rate_hz:
            raise ConfigError(
                f"`sample_rate_hz` is {self.sample_rate_hz}, but the sound was decoded to {item.audio.sample_rate_hz}."
            )
        return item.audio

    def _places(self, item: Video, rng: ItemRng) -> list[Place]:
        """Return the first good places in keyed order.

        Raises:
            Filtered: `letterbox`, `no_audio`, or the commonest fault of all places: `blank`, `silent`, `clipped`,
                `outside_sound`.
        """
        sound = self._sound(item)
        grid, moments = self._moments(item.info, rng)
        inner = frames.inner_crop(item.clips, self.side_px)
        places, faults = [], []
        for index, (clip, (_, offset)) in enumerate(zip(item.clips, moments, strict=True)):
            frame_pts_us = int(clip.pts_us[0])
            from_us = frame_pts_us - int(offset * grid.interval_us) - sound.start_us
            start = max(0, from_us * self.sample_rate_hz // 1_000_000)
            start_us = sound.start_us + -(-start * 1_000_000 // self.sample_rate_hz)
            places.append(Place(index, frame_pts_us, start, start_us))
            pixels = frames.cut_out(clip.frames, inner)
            faults.append(self._fault(places[-1], sound, pixels))
        num = windows.num_windows(grid, self._span(grid), self.max_windows)
        return [places[index] for index in windows.first_good(faults, num)]

    def _fault(self, place: Place, sound: Waveform, pixels: NDArray[np.uint8]) -> str:
        ends = place.start + self._clip_samples > len(sound.samples)
        if ends or not place.start_us <= place.frame_pts_us <= place.start_us + self.clip_us:
            return "outside_sound"
        if float(frames.luma_grid(pixels).std()) < self.min_contrast:
            return "blank"
        clip = sound.clip(place.start, self._clip_samples)
        if is_usable(clip, self.min_level_dbfs, self.max_clipped_fraction):
            return ""
        return "silent" if is_usable(clip, -np.inf, self.max_clipped_fraction) else "clipped"

    def _pairings(self, places: list[Place], partners: Sequence[Any], rng: ItemRng) -> list[Pairing]:
        """Return two examples a place: its own sound, and one of the same or of another video."""
        by_time = sorted(places, key=lambda place: place.start_us)
        half = len(by_time) // 2
        couples = [
            (early, late)
            for early, late in zip(by_time[:half], by_time[half:], strict=False)
            if late.start_us - early.start_us >= self.far_us
        ]
        if self.negatives == "both":
            kept = windows.balanced_labels(len(couples), 2, rng, "exchanged")
            couples = [couple for couple, is_kept in zip(couples, kept, strict=True) if is_kept]
        exchanged = {} if self.negatives == "other_video" else dict(couples + [couple[::-1] for couple in couples])
        generator = rng.item("lent")
        pairings = []
        for number, place in enumerate(by_time):
            if place in exchanged:
                pairings.append(Pairing(place, exchanged[place], "same_video_far", self.clip_us))
            elif self.negatives == "same_video":
                continue
            else:
                lender = partners[number % len(partners)]
                lent = lender[int(generator.integers(len(lender)))]
                pairings.append(Pairing(place, lent, "other_video", self.clip_us))
            pairings.append(Pairing(place, place, "same_time", self.clip_us))
        if not pairings:
            raise Filtered("too_short", f"no two sounds {self.far_us / 1e6:g} s apart")
        return pairings

    def _sound_values(self, sound: Waveform, pairing: Pairing, generator: np.random.Generator) -> dict[str, Any]:
        """Return the sound of a pairing, conditioned, and what was done to it."""
        if isinstance(pairing.sound, Lent):
            clip, partner_key = _as_float(pairing.sound.samples), pairing.sound.source_key
        else:
            clip, partner_key = sound.clip(pairing.sound.start, self._clip_samples), ""
        condition = Conditioning.draw(generator, self.level_dbfs, self.level_spread_db, self.eq_db)
        return {
            "clip": condition(clip, self.sample_rate_hz),
            "start_us": pairing.sound.start_us,
            "partner_key": partner_key,
            "sample_rate_hz": self.sample_rate_hz,
            "num_samples": self._clip_samples,
            "rms_dbfs": rms_dbfs(clip),
            "level_dbfs": condition.level_dbfs,
            "eq_db": list(condition.eq_db),
        }

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return two JPEGs and two FLAC sounds of 1.1 bytes a sample a frame."""
        num = windows.estimate_windows(source_num_bytes, self.clip_us, self.max_windows)
        return int(num * 2 * (700 + windows.estimate_still_bytes(self.side_px) + 1.1 * self._clip_samples))

    def rederive(self, row: Mapping[str, Any], item: Video) -> Mapping[str, Any]:
        """Return label and relation from where the stored sound stands in the video, if it does.

        The label is -1 where the frame is not what the source shows at its time.
        """
        shown = frames.shown_at(item.clips, [row["frame_pts_us"]], self.side_px)
        if not frames.fits([row["frame"]], shown):
            return {"label": -1, "relation": ""}
        sound = self._sound(item)
        start = (row["start_us"] - sound.start_us) * self.sample_rate_hz // 1_000_000
        condition = Conditioning(row["level_dbfs"], tuple(row["eq_db"]))
        if not 0 <= start <= len(sound.samples) - len(row["clip"]):
            return {"label": 0, "relation": "other_video"}
        own = condition(sound.clip(start, len(row["clip"])), self.sample_rate_hz)
        if not is_same_sound(own, row["clip"]):
            return {"label": 0, "relation": "other_video"}
        is_inside = row["start_us"] <= row["frame_pts_us"] <= row["start_us"] + self.clip_us
        return {"label": int(is_inside), "relation": "same_time" if is_inside else "same_video_far"}


def _as_float(samples: NDArray[np.int16]) -> Samples:
    return samples.astype(np.float32) / np.float32(32768)
