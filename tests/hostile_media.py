"""Files that make careless callers of FFmpeg read other files or reach the network, and what is called on them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
from PIL import Image
from unlabeled.pipeline.decode.audio import open_sound, read_waveform
from unlabeled.pipeline.decode.bytes_source import MemoryBytes
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.decode.video import open_video
from unlabeled.pipeline.errors import Reject
from unlabeled.pipeline.items import ClipRequest

from tests.media_files import chirp, default_video, sound_file


def tricks(sibling: Path) -> dict[str, bytes]:
    """Return the files by name; they point at `sibling`, a video that plays, and at a port of this machine."""
    url = "http://127.0.0.1:9/x.ts"
    playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    found = {
        "hls-file": playlist.format(sibling.as_uri()),
        "hls-http": playlist.format(url),
        "hls-concat": playlist.format(f"concat:{sibling}|{sibling}"),
        "concat-relative": f"ffconcat version 1.0\nfile {sibling.name}\n",
        "concat-absolute": f"ffconcat version 1.0\nfile 'file:{sibling}'\n",
        "concat-http": f"ffconcat version 1.0\nfile '{url}'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 25004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "asf-reference": f"[Reference]\r\nRef1={url}\r\n",
        "dash": f'<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>',
        "subtitles": f"1\n00:00:00,000 --> 00:00:01,000\n{url}\n",
        "ffmetadata": f";FFMETADATA1\ntitle={url}\n",
    }
    encoded = {name: text.encode() for name, text in found.items()}
    encoded["avi-subtitle-playlist"] = _avi_with_subtitle(found["hls-file"].encode())
    encoded["picture"] = _jpeg()
    return encoded


def watch(data: bytes) -> bytes:
    """Return the reason why `data` is no video to us, or the number of frames asked for; b"" stands for a good one."""
    data = data or default_video("mp4")
    limits, options = Limits(), DecodeOptions()
    try:
        video = open_video(MemoryBytes(data), limits, options)
        request = ClipRequest(
            targets_us=(0, video.info.end_us // 2, video.info.end_us), crop_box=(0, 0, 16, 16), width_px=8, height_px=8
        )
        num_frames = len(video.clips([request])[0].frames)
    except Reject as reject:
        return str(reject.reason).encode()
    return f"{num_frames} frames".encode()


def listen(data: bytes) -> bytes:
    """Return the reason why `data` is no sound to us, or the number of samples; b"" stands for a good one."""
    data = data or sound_file("wav", chirp(8_000, 0.1), 8_000)
    try:
        wave = read_waveform(open_sound(MemoryBytes(data), Limits(), DecodeOptions()))
    except Reject as reject:
        return str(reject.reason).encode()
    return f"{len(wave.samples)} samples".encode()


def open_carelessly(data: bytes) -> bytes:
    """Open `data` as the manual of PyAV does; b"" stands for a good file."""
    data = data or default_video("mp4")
    try:
        with av.open(io.BytesIO(data), timeout=2) as container:
            return container.format.name.encode()
    except av.FFmpegError as error:
        return type(error).__name__.encode()


def _jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _avi_with_subtitle(subtitle: bytes) -> bytes:
    """Return an AVI of one MJPEG frame and a subtitle stream whose text is `subtitle` (the GAB2 trick of 2016)."""
    header = struct.pack("<14I", 40_000, 0, 0, 0x10, 1, 0, 2, 0, 16, 16, 0, 0, 0, 0)
    video = struct.pack("<4s4s10I4H", b"vids", b"MJPG", 0, 0, 0, 1, 25, 0, 1, 0, 0, 0, 0, 0, 16, 16)
    text = struct.pack("<4s4s10I4H", b"txts", b"\0\0\0\0", 0, 0, 0, 1, 25, 0, 1, 0, 0, 0, 0, 0, 0, 0)
    bitmap = struct.pack("<3I2H4s5I", 40, 16, 16, 1, 24, b"MJPG", 0, 0, 0, 0, 0)
    gab2 = b"GAB2\0" + struct.pack("<HI", 2, 0) + struct.pack("<HI", 4, len(subtitle)) + subtitle
    streams = [
        _chunk(b"LIST", b"strl" + _chunk(b"strh", video) + _chunk(b"strf", bitmap)),
        _chunk(b"LIST", b"strl" + _chunk(b"strh", text) + _chunk(b"strf", b"")),
    ]
    head = _chunk(b"LIST", b"hdrl" + _chunk(b"avih", header) + b"".join(streams))
    body = _chunk(b"LIST", b"movi" + _chunk(b"01tx", gab2) + _chunk(b"00dc", _jpeg()))
    return _chunk(b"RIFF", b"AVI " + head + body)
