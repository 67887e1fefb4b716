#!/usr/bin/env python3
"""The bare loop: how many durable slices a second trio, ZeroMQ and SQLite allow with nothing around them.

One process is controller and store (ROUTER, batches, credits, group commit in a thread, WAL with
synchronous=FULL); the others are workers (DEALER, an operation thread that makes one record a slice).
No recovery, no checks, no API: an upper mark to compare tsd with, in the same run on the same machine.

    python limit.py --workers 2 --credits 64 --slices 40000

Prints one JSON line: {"workers", "credits", "slices", "seconds", "slices_per_second", "commits"}.
Needs pyzmq, trio and msgspec.
"""

import argparse
import collections
import json
import multiprocessing
import os
import queue
import sqlite3
import tempfile
import threading
import time

import msgspec
import trio
import zmq

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


class Socket:
    """A zmq socket with a trio receive.

    The FD is edge-triggered and a send can eat the edge, so a send wakes a receiver that would sleep on.
    """

    def __init__(self, socket):
        self.socket, self.fd, self.waiting = socket, socket.getsockopt(zmq.FD), None

    def has_input(self):
        return bool(self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN)

    async def receive(self):
        while True:
            try:
                return self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                if not self.has_input():
                    with trio.CancelScope() as self.waiting:
                        await trio.lowlevel.wait_readable(self.fd)
                    self.waiting = None

    def send(self, *frames):
        self.socket.send_multipart(frames, zmq.NOBLOCK)
        if self.waiting is not None and self.has_input():
            self.waiting.cancel()


def open_journal(folder):
    journal = sqlite3.connect(os.path.join(folder, "limit.db"), isolation_level=None, check_same_thread=False)
    journal.execute("pragma journal_mode=wal")
    journal.execute("pragma synchronous=full")
    journal.execute(
        "create table slices(ex int, slicer_id int, slicer_order int, state text, request blob,"
        " primary key(ex, slicer_id, slicer_order)) without rowid"
    )
    return journal


async def controller(address, total, credits, folder):
    socket = zmq.Context.instance().socket(zmq.ROUTER)
    socket.set_hwm(0)
    socket.bind(address)
    link, journal = Socket(socket), open_journal(folder)
    dirty, request = {}, pack({"count": 1})
    made = done = commits = 0
    recorded = trio.Event()

    def commit(rows):
        journal.execute("begin immediate")
        journal.executemany(
            "insert into slices values(1, 0, ?, ?, ?) on conflict do update set state = excluded.state", rows
        )
        journal.execute("commit")

    async def record():
        nonlocal commits
        while dirty or done < total:
            rows = list(dirty.values())
            dirty.clear()
            if rows:
                await trio.to_thread.run_sync(commit, rows)
                commits += 1
            await trio.sleep(0.01)
        recorded.set()

    def feed(worker, count):
        nonlocal made
        orders = range(made, min(made + count, total))
        made += len(orders)
        for order in orders:
            dirty[order] = (order, "start", request)
        if orders:
            link.send(worker, b"slices", pack([(order, request) for order in orders]))

    started = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(record)
        while done < total:
            worker, kind, body = await link.receive()
            started = started or time.perf_counter()
            if kind == b"ready":
                feed(worker, credits)
            else:
                orders = unpack(body)
                for order in orders:
                    dirty[order] = (order, "completed", request)
                done += len(orders)
                feed(worker, len(orders))
        await recorded.wait()
    seconds = time.perf_counter() - started
    (complete,) = journal.execute("select count(*) from slices where state = 'completed'").fetchone()
    assert complete == total, (complete, total)
    return seconds, commits


async def worker(address):
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.set_hwm(0)
    socket.connect(address)
    link, todo, done = Socket(socket), queue.SimpleQueue(), collections.deque()
    token, wake = trio.lowlevel.current_trio_token(), [trio.Event()]

    def operate():
        while True:
            order, request = todo.get()
            [{"i": i} for i in range(unpack(request)["count"])]
            idle = not done
            done.append(order)
            if idle:
                token.run_sync_soon(lambda: wake[0].set())

    async def report():
        while True:
            await wake[0].wait()
            wake[0] = trio.Event()
            orders = [done.popleft() for _ in range(len(done))]
            if orders:
                link.send(b"done", pack(orders))

    threading.Thread(target=operate, daemon=True).start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report)
        link.send(b"ready", b"")
        while True:
            _, body = await link.receive()
            for item in unpack(body):
                todo.put(item)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--credits", type=int, default=64)
    parser.add_argument("--slices", type=int, default=40_000)
    args = parser.parse_args()
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        address = f"ipc://{folder}/limit.sock"
        workers = [
            context.Process(target=trio.run, args=(worker, address), daemon=True) for _ in range(args.workers)
        ]
        for process in workers:
            process.start()
        seconds, commits = trio.run(controller, address, args.slices, args.credits, folder)
        for process in workers:
            process.kill()
    print(
        json.dumps(
            {
                **vars(args),
                "seconds": round(seconds, 3),
                "slices_per_second": round(args.slices / seconds),
                "commits": commits,
            }
        )
    )


if __name__ == "__main__":
    main()
