"""Taking away, from time to time, unpacked bundles that nobody on the host has used for long."""

import time

import structlog
import trio

from tsd.assets.folders import AssetFolders

_PAUSE_MAX_S = 3600.0
_PAUSE_MIN_S = 0.2

log = structlog.get_logger()


async def keep_swept(folders: AssetFolders, unused_s: float) -> None:
    """Take away what was not used for so long, until cancelled.

    Args:
        folders: Of the host; other daemons may do the same there.
        unused_s: In seconds.
    """
    while True:
        await trio.sleep(min(max(unused_s / 4, _PAUSE_MIN_S), _PAUSE_MAX_S))
        try:
            gone = await trio.to_thread.run_sync(folders.remove_unused, unused_s, time.time())
        except OSError as error:
            log.warning("asset.left", path=str(folders.root), reason=str(error))
            continue
        for asset_id in gone:
            log.info("asset.dropped", asset_id=asset_id)
