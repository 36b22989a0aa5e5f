"""Synthetic items for tests of tasks: what a decoder would yield, made from seeded noise with structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from unlabeled.pipeline.items import Clip, ClipRequest, Document, Image, Video, VideoInfo, Waveform
from unlabeled.pipeline.resample import Box, crop_resize
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.task import Example, Modality, PretextTask


def photograph(seed: int = 0, width_px: int = 480, height_px: int = 360) -> NDArray[np.uint8]:
    """Return a colourful picture with a sky-like gradient, blobs and texture: uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    picture = np.stack([120 + 80 * y / height_px, 140 - 60 * y / height_px, 200 - 150 * y / height_px], axis=-1)
    for _ in range(40):
        centre_x, centre_y = rng.random(2) * (width_px, height_px)
        radius = rng.uniform(8, 60)
        blob = ((x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2)[..., None]
        picture = np.where(blob, 0.4 * picture + 0.6 * rng.uniform(0, 255, 3), picture)
    picture = picture + rng.normal(0, 6, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def landscape(seed: int = 0, width_px: int = 480, height_px: int = 360) -> NDArray[np.uint8]:
    """Return clouded sky over a furrowed field, with a little of `photograph`: uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    waves = sum(
        np.sin(x * rng.uniform(-0.09, 0.09) + y * rng.uniform(-0.09, 0.09) + rng.uniform(0, 6)) for _ in range(8)
    )
    horizon = y > height_px * (0.5 + 0.05 * np.sin(x / 60 + seed))
    ground = np.where(horizon[..., None], (96, 118, 44), (120, 160, 214))
    picture = ground + 5 * np.asarray(waves)[..., None] + 0.2 * (photograph(seed, width_px, height_px) - 128.0)
    return np.clip(picture, 0, 255).astype(np.uint8)


def landscape_item(seed: int = 0, width_px: int = 480, height_px: int = 360) -> Image:
    return Image(media_kind="image", codec="jpeg", pixels=landscape(seed, width_px, height_px))


def image_item(seed: int = 0, width_px: int = 480, height_px: int = 360) -> Image:
    return Image(media_kind="image", codec="jpeg", pixels=photograph(seed, width_px, height_px))


def waveform_item(seed: int = 0, seconds: float = 20.0, rate_hz: int = 16000) -> Waveform:
    """Return sound with syllable-like bursts of filtered noise and tones; never silent for long."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    tone = np.sin(2 * np.pi * np.cumsum(200 + 80 * np.sin(2 * np.pi * 0.7 * t + seed)) / rate_hz)
    envelope = 0.35 + 0.3 * np.sin(2 * np.pi * 3.1 * t + rng.uniform(0, 6))
    samples = envelope * (0.4 * tone + 0.1 * rng.normal(0, 1, len(t)))
    return Waveform(
        media_kind="audio",
        codec="pcm_s16le",
        samples=np.clip(samples * 32768, -32768, 32767).astype(np.int16),
        sample_rate_hz=rate_hz,
        source_sample_rate_hz=rate_hz,
        num_channels=1,
    )


def video_info(seconds: float = 20.0, fps: int = 25, width_px: int = 320, height_px: int = 240) -> VideoInfo:
    num_frames = int(seconds * fps)
    return VideoInfo(
        media_kind="video",
        codec="h264",
        width_px=width_px,
        height_px=height_px,
        start_us=0,
        end_us=(num_frames - 1) * 1_000_000 // fps,
        fps_num=fps,
        fps_den=1,
        time_base_num=1,
        time_base_den=12800,
        num_frames=num_frames,
        is_indexed=True,
    )


@lru_cache(maxsize=64)
def backdrop(seed: int, info: VideoInfo, crop_box: Box, width_px: int, height_px: int) -> NDArray[np.uint8]:
    return crop_resize(photograph(seed, info.width_px, info.height_px), crop_box, width_px, height_px)


def video_frame(info: VideoInfo, pts_us: int, seed: int, request: ClipRequest) -> NDArray[np.uint8]:
    """Return what a request sees of a world in which a ball moves over a photograph: uint8 [height, width, 3]."""
    frame = backdrop(seed, info, request.crop_box, request.width_px, request.height_px).copy()
    t = pts_us / 1e6
    box_x, box_y, box_w, box_h = request.crop_box
    # A circle whose radius changes slowly: never still, never twice at one place, always in the middle of the view.
    radius = info.height_px * (0.14 + 0.08 * np.sin(0.37 * t + seed))
    centre_x = info.width_px / 2 + radius * np.cos(2.7 * t + 2 * seed)
    centre_y = info.height_px / 2 + radius * np.sin(2.7 * t + 2 * seed)
    # Pixel centres of the request, in px of the video.
    x = box_x + (np.arange(request.width_px) + 0.5) * box_w / request.width_px
    y = box_y + (np.arange(request.height_px) + 0.5) * box_h / request.height_px
    ball = (x[None, :] - centre_x) ** 2 + (y[:, None] - centre_y) ** 2 < (info.height_px / 5) ** 2
    frame[ball] = (240, 40, 30)
    return frame


Paint = Callable[[VideoInfo, int, int, ClipRequest], NDArray[np.uint8]]


def frame_times(info: VideoInfo) -> NDArray[np.int64]:
    """Return the presentation times of all frames, evenly spaced, in microseconds."""
    step_us = 1_000_000 * info.fps_den / info.fps_num
    return np.round(np.arange(round(info.end_us / step_us) + 1) * step_us).astype(np.int64)


def answer(
    info: VideoInfo,
    requests: Sequence[ClipRequest],
    seed: int = 0,
    times_us: NDArray[np.int64] | None = None,
    paint: Paint = video_frame,
) -> list[Clip]:
    """Return the clips that a decoder would give for `requests`: of the synthetic world, or of what `paint` draws."""
    times_us = frame_times(info) if times_us is None else times_us
    clips = []
    for request in requests:
        pts_us = times_us[np.searchsorted(times_us, request.targets_us, side="right") - 1]
        clips.append(
            Clip(
                request=request,
                frames=np.stack([paint(info, int(at), seed, request) for at in pts_us]),
                pts_us=pts_us,
                pict_types=np.where(np.searchsorted(times_us, pts_us) % 12 == 0, 1, 2).astype(np.int8),
            )
        )
    return clips


def video_item(
    task: PretextTask[Any],
    rng: ItemRng,
    seed: int = 0,
    info: VideoInfo | None = None,
    times_us: NDArray[np.int64] | None = None,
    paint: Paint = video_frame,
) -> Video:
    info = info or video_info()
    clips = answer(info, task.requests(info, rng), seed, times_us, paint)
    sound = waveform_item(seed, (info.end_us - info.start_us) / 1e6) if task.modality == "video_audio" else None
    return Video(media_kind="video", codec=info.codec, info=info, clips=clips, audio=sound)


def video_examples(task: PretextTask[Any], seed: int = 0, **world: Any) -> tuple[Video, list[Example]]:
    """Return a synthetic video, see `video_item`, and the task's examples of it."""
    rng = ItemRng(seed=0, task=task.name(), source_key=f"source-{seed}")
    item = video_item(task, rng, seed, **world)
    return item, list(task.examples(item, rng))


_WORDS = tuple(
    "the river runs past old houses where people sell bread and fish every morning before rain begins "
    "children learn names of birds while their parents repair wooden boats near a quiet harbour town".split()
)


def document_item(seed: int = 0, num_sentences: int = 60) -> Document:
    rng = np.random.default_rng(seed)
    sentences = []
    for _ in range(num_sentences):
        words = [str(word) for word in rng.choice(_WORDS, rng.integers(6, 18))]
        sentences.append(" ".join(words).capitalize() + ".")
    return Document(media_kind="text", codec="utf-8", text=" ".join(sentences))


def item_for(task: PretextTask[Any], rng: ItemRng, seed: int = 0) -> Any:
    """Return a synthetic item of the task's modality."""
    if task.modality in (Modality.VIDEO, Modality.VIDEO_AUDIO):
        return video_item(task, rng, seed)
    makers = {Modality.IMAGE: landscape_item, Modality.AUDIO: waveform_item, Modality.TEXT: document_item}
    return makers[task.modality](seed)
