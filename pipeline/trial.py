"""Does a source kill whoever works on it? It is tried alone, in a process that may die of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from .hang_watch import HangWatch
from .inventory import SourceReader
from .plan import PARTS_SCHEMA
from .shard import ShardMaker, Target
from .storage import Store
from .work import Tools, decode_into


def try_source(target: Target, shard: Mapping[str, Any], part: Mapping[str, Any], inputs: Store, tools: Tools) -> None:
    """Do with one part (a row of the plan) what making its shard does, and throw away what comes of it.

    Returns where the process survives, whatever becomes of the source. A task with partners gets what the source
    itself lends: whether it kills is asked, not what its examples are.

    Raises:
        StoreError, ConfigError: as making the shard would.
    """
    own = {name: part[name] for name in PARTS_SCHEMA.names}
    num_lenders = max(target.task.num_partners, int(own["is_context"]))
    lender = {**own, "is_context": True}
    rows = [{**lender, "group_id": f"{own['group_id']} lends {number}"} for number in range(num_lenders)]
    rows += [] if own["is_context"] else [own]
    maker = ShardMaker(target, shard, tools.spool, tools.fence.clock)
    try:
        with HangWatch(tools.hang_seconds) as watch:
            for row in rows:
                with SourceReader(inputs, pa.Table.from_pylist([row], PARTS_SCHEMA)) as reader:
                    for source in reader:
                        watch.begin(source.num_bytes)
                        decode_into(source, [(maker, row)], tools.fence)
            maker.close()
    finally:
        maker.abort()
