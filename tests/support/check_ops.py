"""Operations whose checks misbehave; `where` says in which of them."""

import os
import subprocess
import time
from pathlib import Path

import attrs

from tsd.operations import MapProcessor, OpConfig, operation, opt


def misbehave(how, note=""):
    """What the check of a job does; `note` is the file that gets the id of the process."""
    if note:
        with Path(note).open("a") as file:
            file.write(f"{os.getpid()}\n")
    if how == "hang":
        time.sleep(3600)
    elif how == "spin":
        while True:
            pass
    elif how == "exit":
        os._exit(3)
    elif how == "raise":
        raise RuntimeError("no database there")
    elif how == "flood":
        for descriptor in range(3, 60):
            try:
                os.write(descriptor, b"[" + b" " * 64_000)
                while True:
                    os.write(descriptor, b" " * 1_000_000)
            except OSError:
                continue
    elif how == "print":
        for _ in range(60):
            print("x" * 1_000_000)
    elif how == "children":
        child = subprocess.Popen(["sleep", "3600"])
        with Path(note).open("a") as file:
            file.write(f"{child.pid}\n")
        time.sleep(3600)


@attrs.define(kw_only=True)
class CheckedConfig(OpConfig):
    """Options of checked."""

    in_check: str = opt("", doc="what check_job does")
    in_faults: str = opt("", doc="what faults does")
    in_warnings: str = opt("", doc="what warnings does")
    note: str = opt("", doc="file for the id of the process")

    def faults(self):
        misbehave(self.in_faults, self.note)
        yield from ()

    def warnings(self, job):
        misbehave(self.in_warnings)
        yield from ()


@operation("checked", config=CheckedConfig)
class Checked(MapProcessor):
    """Passes records on."""

    def map(self, record, index, batch):
        return record

    @classmethod
    def check_job(cls, config, job):
        misbehave(config.in_check, config.note)
        yield from ()
