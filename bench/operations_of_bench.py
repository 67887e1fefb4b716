"""Operations that only benches need."""

import json
import os
import time
from pathlib import Path

import attrs

from tsd.operations import BatchProcessor, OpConfig, operation, opt


@attrs.define(kw_only=True)
class BeginConfig(OpConfig):
    """Options of bench_begin."""

    path: str = opt(doc="file that tells which slice began when, and where")
    size: int = opt(1, doc="records in a slice")


@operation("bench_begin", config=BeginConfig)
class Begin(BatchProcessor):
    """Writes down that a slice has begun."""

    def on_batch(self, records):
        word = {"slice": self.ctx.slice.slice_id, "pid": os.getpid(), "at": time.time()}
        with Path(self.config.path).open("a") as file:
            file.write(json.dumps(word) + "\n")
        return records
