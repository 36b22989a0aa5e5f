"""The decoder of a worker's process: started once for each set of limits, then shared by all that the process does."""

from __future__ import annotations

import json

from .decode.fence import Fence
from .shard import Target

_FENCES: dict[str, Fence] = {}


def fence_of(target: Target) -> Fence:
    """Return this process's fence for the target's limits, started when it is first used."""
    recipe = target.recipe
    key = json.dumps([recipe.model_dump(mode="json", include={"limits", "decode", "decoders"})])
    if key not in _FENCES:
        for old in _FENCES.values():
            old.close()
        _FENCES.clear()
        _FENCES[key] = target.fence()
    return _FENCES[key]
