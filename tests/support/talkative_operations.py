"""An operation that says things in every way that user code has."""

import logging
import sys
import threading

from tsd.operations.base import BatchProcessor, operation

library = logging.getLogger("some.library")


@operation("talk")
class Talk(BatchProcessor):
    """Says the slice number in all ways; raises for an odd one; passes the records on."""

    def on_batch(self, records):
        if not records:
            return records  # a flush
        slice_id = self.ctx.slice.slice_id
        print(f"printed {slice_id}")
        print(f"complained {slice_id}", file=sys.stderr)
        self.log.debug("talk.debugged", said=slice_id)
        library.info("told %s", slice_id)
        thread = threading.Thread(target=self.talk_in_thread, args=(slice_id,), name="mouth")
        thread.start()
        thread.join()
        if self.ctx.slice.slicer_order == 2:
            raise ValueError("the second one is no good")
        return records

    def talk_in_thread(self, slice_id):
        print(f"whispered {slice_id}")
        raise RuntimeError(f"choked {slice_id}")
