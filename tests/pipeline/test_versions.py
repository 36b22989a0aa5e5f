from __future__ import annotations

from importlib.metadata import version

from unlabeled.pipeline.versions import codec_versions


def test_what_decides_bytes_is_recorded() -> None:
    found = codec_versions()
    assert {"pillow", "soundfile", "av", "numpy", "pyarrow"} <= set(found)
    assert found["pillow"] == version("pillow")


def test_what_is_not_installed_is_left_out() -> None:
    assert all(codec_versions().values())
