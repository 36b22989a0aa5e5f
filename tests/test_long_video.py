"""An hour of video takes no more memory than a few minutes: worker and decoder together."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import pytest
from unlabeled.pipeline.items import ClipRequest

from tests import media_files, samples
from tests.runs import cli

pytestmark = pytest.mark.slow

_MAX_RSS_BYTES = 600_000_000
_CLIP_SECONDS = 20


def moving_clip() -> bytes:
    info = samples.video_info(_CLIP_SECONDS, 25, 320, 256)
    whole = ClipRequest(targets_us=(0,), crop_box=(0, 0, 320, 256), width_px=320, height_px=256)
    frames = [samples.video_frame(info, int(at), 1, whole) for at in samples.frame_times(info)]
    return media_files.video_file("mp4", frames, num_b_frames=0)


def repeated(clip: bytes, num_times: int, path: Path) -> None:
    """Write the clip's packets again and again, each time later: hours of video in seconds."""
    with av.open(io.BytesIO(clip)) as source, av.open(path, "w", format="mp4") as target:
        stream = source.streams.video[0]
        assert stream.time_base is not None
        copy = target.add_stream_from_template(stream)
        step = round(_CLIP_SECONDS / stream.time_base)
        packets = [(bytes(one), one.pts, one.dts, one.is_keyframe) for one in source.demux(stream) if one.size]
        for number in range(num_times):
            for data, pts, dts, is_keyframe in packets:
                packet = av.Packet(data)
                packet.stream, packet.time_base = copy, stream.time_base
                packet.pts, packet.dts = pts + number * step, dts + number * step
                packet.is_keyframe = is_keyframe
                target.mux(packet)


@pytest.mark.parametrize("task", ["video_frame_pairs", "video_masked_tubes"])
def test_memory_does_not_grow_with_the_length_of_a_video(task: str, tmp_path: Path) -> None:
    clip = moving_clip()
    peaks = []
    for minutes in (6, 60):
        folder = tmp_path / str(minutes)
        folder.mkdir()
        repeated(clip, minutes * 60 // _CLIP_SECONDS, folder / "long.mp4")
        done = cli(
            *("materialize", "--task", task, "--input", str(folder), "--output", str(tmp_path / f"out {minutes}")),
            *("--num-cpus", "1", "--json"),
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["num_used"] == 1
        peaks.append(report["peak_worker_rss_bytes"])
    assert peaks[1] < _MAX_RSS_BYTES
    assert peaks[1] - peaks[0] < 0.1 * peaks[0], peaks
