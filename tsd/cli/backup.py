"""`tsd backup`: everything durable of a cluster in a folder."""

import shutil
from pathlib import Path

from tsd.errors import StoreError
from tsd.master.bundles import FOLDER
from tsd.store.backup import copy_store
from tsd.store.store import DATABASE_NAME


def back_up(data_dir: Path, target: Path) -> None:
    """Make the folder `target` with the store and the zips of the bundles.

    A bundle that is deleted meanwhile may be missing from it.

    Raises:
        StoreError: The folder is there already or can not be written, or the store can not be copied; what
            was made is removed then.
    """
    try:
        target.mkdir(parents=True, mode=0o700)
    except FileExistsError as error:
        raise StoreError(f"{target} is there already: name a new folder") from error
    except OSError as error:
        raise StoreError(f"{target} can not be made: {error.strerror}") from error
    try:
        copy_store(data_dir, target / DATABASE_NAME)
        if (data_dir / FOLDER).is_dir():
            (target / FOLDER).mkdir()
            for bundle in sorted((data_dir / FOLDER).glob("*.zip")):
                shutil.copy2(bundle, target / FOLDER)
    except (StoreError, OSError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise error if isinstance(error, StoreError) else StoreError(f"{target}: {error}") from error
