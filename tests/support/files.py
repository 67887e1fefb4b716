"""Reading files in tests without a job around them."""

from tsd.operations.config import load
from tsd.operations.standard.disk_storage import DiskStorage
from tsd.operations.standard.file_reader import FileReaderConfig
from tsd.operations.standard.file_source import FileSource


class RejectedError(Exception):
    """A record was rejected in a test that expects none."""


def source(path, form="ldjson", *, rejects=None, reject=None, **options):
    """A source of files; rejected records go to the list `rejects`, or to the function `reject`."""

    def treat(record, error):
        if reject is not None:
            reject(record, error)
        elif rejects is not None:
            rejects.append(record)
        else:
            raise RejectedError(record) from error

    config, _ = load(FileReaderConfig, {"_op": "file_reader", "path": str(path), "format": form, **options})
    return FileSource(config, treat, DiskStorage())


def read_all(files):
    """The records of all slices, in order."""
    return [dict(record) for request in files.requests() for record in files.read(request)]
