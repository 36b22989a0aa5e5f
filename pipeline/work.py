"""What a worker does: take shards of one or more datasets, read and decode each source once, finish each shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from .ahead import MAX_BATCH, batches, images_ahead
from .cpu_stages import as_stats
from .decode.fence import Fence
from .decode.fence_media import FencedVideo
from .errors import Filtered, Reject, RejectReason, Stage
from .hang_watch import HangWatch
from .inventory import OpenSource, SourceReader
from .items import Clip, ClipRequest, Image, Video, Waveform
from .ledger import PartName, Receipt, begin_attempt, read_receipt
from .parts import part_names
from .plan import in_plan_order
from .plan_store import Chunk, read_parts
from .resample import SquareCrop
from .rng import ItemRng, sha256_hex
from .shard import ShardMaker, SourceRows, Target
from .storage import Store
from .task import Modality, PretextTask

#: From this attempt on, sources are tried in other processes first, which takes twice the time. Before, a worker's
#: death tells nothing of the source at hand: machines are taken away, and memory is filled by others.
_CAREFUL_FROM_ATTEMPT = 3
#: Makes one part (its plan row) of one shard (its plan row) in a process of its own, to no other end; returns what
#: that died of, or "" where it lives.
Trial: TypeAlias = Callable[[Target, Mapping[str, Any], Mapping[str, Any]], str]


@dataclass(frozen=True)
class Job:
    """One shard to make: which dataset (place in the list of targets), its plan row, and where its parts stand."""

    target: int
    shard_index: int
    shard: Mapping[str, Any]
    chunk: Chunk


@dataclass(frozen=True)
class WorkUnit:
    """Shards that are made together: those of several datasets that hold the same sources. `weight`: their parts."""

    jobs: tuple[Job, ...]
    weight: int


@dataclass(frozen=True)
class Tools:
    """What a worker works with: its decoder behind a fence, disk for growing files, a thread that closes them.

    A finished file is hashed, synced and put by `closing` while the next shard is being made. `hang_seconds`: see
    HangWatch. `trial`: without one, no source is ever found to be what workers die of.
    """

    fence: Fence
    spool: Path
    closing: Executor
    hang_seconds: float | None = None
    trial: Trial | None = None


def make_shards(
    targets: Sequence[Target], jobs: Sequence[Job], inputs: Store, tools: Tools
) -> Iterator[Future[Receipt]]:
    """Make the shards of `jobs` together, so that a source which several of them want is decoded once.

    Shards that have a receipt already are not made again; their receipts are yielded as they are.

    Raises:
        StoreError: the store failed beyond its retry budget.
    """
    open_jobs = []
    for job in jobs:
        done = read_receipt(targets[job.target].store, job.shard["shard_id"])
        if done is None:
            open_jobs.append(job)
        else:
            yield _settled(done)
    if open_jobs:
        yield from _make(targets, open_jobs, inputs, tools)


def _settled(receipt: Receipt) -> Future[Receipt]:
    future: Future[Receipt] = Future()
    future.set_result(receipt)
    return future


def _make(targets: Sequence[Target], jobs: Sequence[Job], inputs: Store, tools: Tools) -> Iterator[Future[Receipt]]:
    fence = tools.fence
    clock = fence.clock
    clock.lap()
    before = time.process_time(), fence.cpu_seconds, clock.elsewhere_seconds
    makers = [ShardMaker(targets[job.target], job.shard, tools.spool, clock) for job in jobs]
    parts = [read_parts(targets[job.target].store, job.chunk, job.shard_index) for job in jobs]
    closing = 0
    try:
        _feed(makers, parts, _begin_attempts(targets, jobs), inputs, tools)
        spent = clock.lap()
        # What other threads have done is reading ahead, apart from files being closed.
        in_process = time.process_time() - before[0] - (clock.elsewhere_seconds - before[2])
        spent["read"] += max(0.0, in_process - sum(spent.values()))
        spent["decode"] = fence.cpu_seconds - before[1]
        stats = as_stats({stage: seconds / len(makers) for stage, seconds in spent.items()})
        for maker in makers:
            closing += 1
            yield tools.closing.submit(maker.finish, stats)
    finally:
        for maker in makers[closing:]:
            maker.abort()


def _begin_attempts(targets: Sequence[Target], jobs: Sequence[Job]) -> int:
    """Record that work on every shard begins; return the highest attempt number."""
    return max(begin_attempt(targets[job.target].store, job.shard["shard_id"]) for job in jobs)


def _feed(makers: Sequence[ShardMaker], parts: Sequence[pa.Table], attempt: int, inputs: Store, tools: Tools) -> None:
    """Give every part to the shards that want it; in a careful attempt only after it was tried elsewhere."""
    trial = tools.trial if attempt >= _CAREFUL_FROM_ATTEMPT else None
    clock = tools.fence.clock
    is_image = makers[0].task.modality == Modality.IMAGE
    max_batch = MAX_BATCH if is_image and trial is None else 1
    with HangWatch(tools.hang_seconds) as watch:
        for rows in _passes(parts):
            wanted = _wanted(makers, rows)
            with SourceReader(inputs, _union(rows)) as reader:
                for batch in batches(clock.each("read", reader), max_batch):
                    watch.begin(sum(source.num_bytes for source in batch))
                    each_wanted: list[Wanted] = [wanted[source.source_key, source.start] for source in batch]
                    images = images_ahead(batch, [*map(_crops, batch, each_wanted)], tools.fence)
                    for source, of_source, image in zip(batch, each_wanted, images, strict=True):
                        wanting = of_source
                        if trial is not None:
                            watch.pause()
                            wanting = _survived(of_source, trial)
                        watch.begin(source.num_bytes)
                        if wanting:
                            decode_into(source, wanting, tools.fence, image)


def _survived(wanted: Wanted, trial: Trial) -> Wanted:
    """Return those for whom a source may be worked on; for the others, whose task dies of it, it is a reject."""
    survived = []
    for maker, part in wanted:
        cause = trial(maker.target, maker.shard, part)
        if cause:
            message = f"tried alone, it ended two processes of two; the last by {cause}"
            maker.reject(part, Reject(RejectReason.WORKER_DEATH, message, stage=Stage.EXAMPLES))
        else:
            survived.append((maker, part))
    return survived


#: Who wants a source: the shards being made, each with its own plan row of the source.
Wanted = Sequence[tuple[ShardMaker, Mapping[str, Any]]]


def _passes(parts: Sequence[pa.Table]) -> Iterator[list[pa.Table]]:
    """Yield the shards' context, where there is any, then their own parts.

    Own parts and context stand in plan order each, so every shard meets its sources in the same order, alone or with
    others; a source that is one shard's context and another's own is read twice.
    """
    context = [rows.filter(rows["is_context"]) for rows in parts]
    if any(rows.num_rows for rows in context):
        yield context
    yield [rows.filter(pc.invert(rows["is_context"])) for rows in parts]


def _union(parts: Sequence[pa.Table]) -> pa.Table:
    """Return every part that some shard wants, once, in plan order."""
    if len(parts) == 1:
        return parts[0]
    seen: set[str] = set()
    rows, whole = [], pa.concat_tables(parts)
    for row, name in enumerate(part_names(whole).to_pylist()):
        if name not in seen:
            seen.add(name)
            rows.append(row)
    return in_plan_order(whole.take(rows))


def _wanted(
    makers: Sequence[ShardMaker], parts: Sequence[pa.Table]
) -> dict[PartName, list[tuple[ShardMaker, Mapping[str, Any]]]]:
    wanted: dict[PartName, list[tuple[ShardMaker, Mapping[str, Any]]]] = {}
    for maker, table in zip(makers, parts, strict=True):
        for row in table.to_pylist():
            wanted.setdefault((row["source_key"], row["start"]), []).append((maker, row))
    return wanted


def _reject(wanted: Wanted, verdict: Reject, sha256: str, num_bytes: int) -> None:
    for maker, part in wanted:
        maker.reject(part, verdict, sha256, num_bytes)


def _crops(source: OpenSource, wanted: Wanted) -> list[SquareCrop]:
    """Return the crops of a picture that its tasks ask for, none where one of them may want something else."""
    crops = [maker.task.square_crop(maker.rng(source.source_key, 0)) for maker, _ in wanted]
    known = [crop for crop in crops if crop is not None]
    return known if len(known) == len(crops) else []


def decode_into(source: OpenSource, wanted: Wanted, fence: Fence, image: Image | None = None) -> None:
    """Read and decode one source (or part) and give its items to every shard that wants them.

    `image`: the picture, where it has been decoded ahead.
    """
    sha256, num_bytes = "", source.num_bytes
    try:
        if source.error is not None:
            raise source.error
        if source.data is not None:
            around = fence.clock.enter("read")
            sha256, num_bytes = sha256_hex(source.data), len(source.data)
            fence.clock.enter(around)
            wanted = _of_this_content(wanted, sha256, num_bytes)
        if not wanted:
            return
        rows = [maker.begin(part, sha256, num_bytes) for maker, part in wanted]
        _add_items(source, wanted, rows, fence, image)
    except Reject as verdict:
        _reject(wanted, verdict, sha256, num_bytes)
        return
    for (maker, _), of_source in zip(wanted, rows, strict=True):
        maker.end(of_source)


def _of_this_content(wanted: Wanted, sha256: str, num_bytes: int) -> Wanted:
    """Return those who want a source with the content that it has; for the others it is a reject."""
    found = [each for each in wanted if each[1]["content_version"] in ("", sha256)]
    if len(found) < len(wanted):
        others = [each for each in wanted if each[1]["content_version"] not in ("", sha256)]
        verdict = Reject(RejectReason.CHANGED, "its content is not the one that was planned", stage=Stage.READ)
        _reject(others, verdict, sha256, num_bytes)
    return found


def decoded(
    modality: Modality, source: OpenSource, fence: Fence, crops: Sequence[SquareCrop] = ()
) -> Iterator[tuple[int, Any]]:
    """Yield (segment, item) of a source, or of a part of one, whose items do not depend on the task.

    The segment is the item's place in the whole source. A picture brings `crops` along.
    """
    if modality == Modality.IMAGE:
        yield 0, fence.image(source.bytes(), source.source_key, crops=crops)
    elif modality == Modality.AUDIO:
        yield 0, fence.audio(source.ranged(), source.source_key)
    else:
        for document in fence.documents(source.ranged(), source.source_key, part_bytes=source.bounds):
            yield document.start_byte, document


def items_of(task: PretextTask[Any], source: OpenSource, fence: Fence) -> Iterator[Any]:
    """Yield a source's items for a task that looks at a sample; none where it does not decode."""
    if source.error is not None or task.modality in (Modality.VIDEO, Modality.VIDEO_AUDIO):
        return
    try:
        for _, item in decoded(task.modality, source, fence):
            yield item
    except Reject:
        return


def _add_items(
    source: OpenSource, wanted: Wanted, rows: Sequence[SourceRows], fence: Fence, image: Image | None
) -> None:
    modality = wanted[0][0].task.modality
    if modality in (Modality.VIDEO, Modality.VIDEO_AUDIO):
        _add_video(source, wanted, rows, fence)
        return
    crops = [maker.task.square_crop(maker.rng(source.source_key, 0)) for maker, _ in wanted]
    known = [crop for crop in crops if crop is not None]
    for segment, item in decoded(modality, source, fence, known) if image is None else [(0, image)]:
        for (maker, _), of_source in zip(wanted, rows, strict=True):
            maker.add(of_source, segment, item)


def _add_video(source: OpenSource, wanted: Wanted, rows: Sequence[SourceRows], fence: Fence) -> None:
    """Ask every task for the clips it wants, decode them all in one pass, and hand each its own."""
    video = fence.video(source.ranged())
    asked: list[Sequence[ClipRequest]] = []
    for (maker, part), of_source in zip(wanted, rows, strict=True):
        try:
            asked.append(tuple(maker.task.requests(video.info, maker.rng(part["source_key"], 0))))
        except Filtered as verdict:
            maker.filter(of_source, verdict)
            asked.append(())
    clips = video.clips([request for requests in asked for request in requests])
    for maker, _ in wanted:  # of the pass that they share
        maker.count(
            num_frames_decoded=video.counters.get("num_frames_decoded", 0),
            num_frames_used=video.counters.get("num_frames_used", 0),
            num_video_bytes=source.num_bytes,
            num_video_bytes_fetched=source.num_bytes_fetched,
            # Those that had to be read from beginning to end, since nothing lists their key frames.
            num_unindexed_videos=int(not video.info.is_indexed),
        )
    sound: Waveform | None = None
    first = 0
    for (maker, _), of_source, requests in zip(wanted, rows, asked, strict=True):
        mine = clips[first : first + len(requests)]
        first += len(requests)
        if not requests:
            continue
        if maker.task.modality == Modality.VIDEO_AUDIO and sound is None:
            sound = _sound_of(video)
        item = _as_item(video, mine, sound if maker.task.modality == Modality.VIDEO_AUDIO else None)
        maker.add(of_source, 0, item)


def video_item(task: PretextTask[Any], source: OpenSource, rng: ItemRng, fence: Fence) -> Video:
    """Return the video as one task alone sees it: with the clips that the task requests.

    Raises:
        Filtered: the task can make no example of it.
        Reject: it cannot be decoded.
    """
    video = fence.video(source.ranged())
    clips = video.clips(tuple(task.requests(video.info, rng)))
    sound = _sound_of(video) if task.modality == Modality.VIDEO_AUDIO else None
    return _as_item(video, clips, sound)


def _as_item(video: FencedVideo, clips: Sequence[Clip], sound: Waveform | None) -> Video:
    return Video(
        media_kind="video",
        codec=video.info.codec,
        is_truncated=video.is_truncated,
        info=video.info,
        clips=clips,
        audio=sound,
    )


def _sound_of(video: FencedVideo) -> Waveform | None:
    """Return a video's sound, None for a silent film: other tasks may want its frames all the same."""
    try:
        return video.audio()
    except Reject as verdict:
        if verdict.reason is RejectReason.NO_STREAM:
            return None
        raise
