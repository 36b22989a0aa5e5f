"""Which libraries made a dataset: recorded in receipts and manifests, never inside shards."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("unlabeled", "pillow", "soundfile", "soxr", "av", "numpy", "pyarrow", "tokenizers", "obstore", "ray")


@functools.cache
def codec_versions() -> dict[str, str]:
    """Return the versions of everything that decides bytes, by package name; packages not installed are left out."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
