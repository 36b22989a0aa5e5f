"""A run that takes its time, so that there is time to stop it."""

from __future__ import annotations

from pathlib import Path

from unlabeled.jobs import Materialize, Settings
from unlabeled.pipeline.config import ShardSettings

from tests.runs import Place

#: So long everything that is waited for may take on a machine that does much else.
PATIENCE_SECONDS = 600.0
#: A task of the user's own, in a file that travels with the job; slow, so that there is time to stop it.
SLOW_TASK = '''"""Say nothing, slowly."""

import time
from dataclasses import dataclass

from unlabeled.pipeline.features import Features, class_label
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.task import Example, Modality, Objective, PretextTask


@dataclass(frozen=True)
class SlowTask(PretextTask[Image]):
    """Say nothing, slowly."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.CLASSIFICATION

    def features(self):
        return Features.of(label=class_label(("a", "b"), "whichever"))

    def examples(self, item, rng):
        time.sleep(0.25)
        for draw in range(2):
            yield Example(draw, {"label": draw})
'''


def slow_run(place: Place, folder: Path) -> Materialize:
    """A run of twelve photographs in some shards; each shard takes a while."""
    path = folder / "slow_task.py"
    path.write_text(SLOW_TASK)
    settings = Settings(shard=ShardSettings(spread_min_num_bytes=4096, spread_num_shards=12))
    return Materialize([str(path)], place.path("in"), place.path("slow"), settings)
