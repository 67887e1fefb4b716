"""Bundles on their way from the master to a node, with what a network does to messages."""

import pytest
import trio
import trio.testing

from tests.support.bundles import bundle, id_of
from tsd.assets.archive import Limits
from tsd.assets.folders import AssetFolders
from tsd.core.messages import AssetAsk, AssetPart
from tsd.errors import AssetError
from tsd.master import handout
from tsd.master.bundles import BundleFiles
from tsd.master.handout import Handout
from tsd.node.library import ANSWER_WITHIN_S, GIVE_UP_AFTER_S, Library

DATA = bundle(files={"a.bin": bytes(range(256)) * 500, "ops/__init__.py": ""})


class Network:
    """A node's library and the master's handout, and all messages between them.

    Args:
        deliver: Gets each answer and the number of it; returns the answers that arrive.
    """

    def __init__(self, folder, nursery, deliver=lambda answer, number: [answer]):
        self.folder = folder
        self.asks = []
        self.answers = 0
        self.deliver = deliver
        self._nursery = nursery
        self.files = BundleFiles(folder / "master/bundles", 10**9)
        self.handout = Handout(bundles=self.files, answer=self._answer)
        self.library = Library(
            node_id="node",
            folders=AssetFolders(folder / "node/assets"),
            neighbours=folder / "node/bundles",
            limits=Limits(unpacked_b=10**8),
            send=self._ask,
        )

    def store(self, data=DATA, folder="master"):
        path = self.folder / folder / f"bundles/{id_of(DATA)}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def _ask(self, ask):
        self.asks.append(ask)
        self.handout.take("node", ask, self._nursery)

    def _answer(self, _peer, answer):
        self.answers += 1
        for arrived in self.deliver(answer, self.answers):
            self.library.take(arrived)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(handout, "PIECE_B", len(DATA) // 5)


def left(network):
    return {path.name for path in network.library.folders.root.iterdir()} - {".locks"}


async def test_a_bundle_comes_in_pieces_and_is_unpacked(tmp_path, nursery, small_pieces):
    network = Network(tmp_path, nursery)
    network.store()

    await network.library.provide(id_of(DATA))

    assert network.library.folders.read(id_of(DATA)).modules == ("ops",)
    assert len(network.asks) == 6
    assert left(network) == {id_of(DATA)}


async def test_a_bundle_that_is_there_is_not_asked_for(tmp_path, nursery):
    """Point 27 of bundles."""
    network = Network(tmp_path, nursery)
    network.store()
    await network.library.provide(id_of(DATA))
    network.asks.clear()

    await network.library.provide(id_of(DATA))

    assert network.asks == []


async def test_the_zip_of_a_master_with_the_same_data_folder_is_taken_as_it_is(tmp_path, nursery):
    network = Network(tmp_path, nursery)
    network.store(folder="node")

    await network.library.provide(id_of(DATA))

    assert network.asks == []
    assert network.library.folders.has(id_of(DATA))


async def test_processes_that_want_the_same_bundle_wait_for_one_transfer(tmp_path, nursery):
    """Point 29 of bundles."""
    network = Network(tmp_path, nursery)
    network.store()

    async with trio.open_nursery() as wanting:
        for _ in range(5):
            wanting.start_soon(network.library.provide, id_of(DATA))

    assert network.asks == [AssetAsk(asset_id=id_of(DATA), offset=0)]


async def test_answers_that_come_twice_or_late_do_no_harm(tmp_path, nursery, small_pieces):
    earlier = []

    def deliver(answer, _number):
        earlier.append(answer)
        return [*earlier, answer, answer]

    network = Network(tmp_path, nursery, deliver)
    network.store()

    await network.library.provide(id_of(DATA))

    assert network.library.folders.has(id_of(DATA))


async def test_what_was_lost_is_asked_for_again(tmp_path, nursery, small_pieces, autojump_clock):
    autojump_clock.autojump_threshold = 0.2  # files are written in threads
    network = Network(tmp_path, nursery, lambda answer, number: [] if number in {1, 3} else [answer])
    network.store()
    began_at = trio.current_time()

    await network.library.provide(id_of(DATA))

    assert trio.current_time() - began_at >= 2 * ANSWER_WITHIN_S
    assert network.library.folders.has(id_of(DATA))


async def test_a_master_that_does_not_answer_is_given_up(tmp_path, nursery, autojump_clock):
    """Point 30 of bundles."""
    network = Network(tmp_path, nursery, lambda answer, number: [])
    began_at = trio.current_time()

    with pytest.raises(AssetError, match="the master has not sent it for 30 s"):
        await network.library.provide(id_of(DATA))

    assert trio.current_time() - began_at >= GIVE_UP_AFTER_S
    assert left(network) == set()


async def test_what_a_transfer_left_that_was_cut_short_is_swept_away(tmp_path, nursery):
    network = Network(tmp_path, nursery)
    network.store()
    await network.library.provide(id_of(DATA))
    (tmp_path / f"node/assets/.{'a' * 40}.node.zip").write_bytes(b"half")

    network.library.sweep()

    assert left(network) == {id_of(DATA)}


async def test_a_bundle_that_the_master_does_not_have_is_given_up_at_once(tmp_path, nursery):
    network = Network(tmp_path, nursery)

    with pytest.raises(AssetError, match=f"asset {id_of(DATA)}: the master has no such asset"):
        await network.library.provide(id_of(DATA))


async def test_a_bundle_that_was_damaged_on_its_way_is_not_unpacked(tmp_path, nursery):
    def deliver(answer, _number):
        data = answer.data[:-1] + b"x"
        return [AssetPart(asset_id=answer.asset_id, offset=answer.offset, size_b=answer.size_b, data=data)]

    network = Network(tmp_path, nursery, deliver)
    network.store()

    with pytest.raises(AssetError, match=f"the zip of asset {id_of(DATA)} is damaged"):
        await network.library.provide(id_of(DATA))
    assert left(network) == set()


async def test_a_folder_that_can_not_be_written_to_is_told(tmp_path, nursery):
    network = Network(tmp_path, nursery)
    network.store()
    (tmp_path / "node").mkdir(exist_ok=True)
    (tmp_path / "node/assets").write_text("in the way")

    with pytest.raises(AssetError, match="can not be unpacked on this node"):
        await network.library.provide(id_of(DATA))


async def test_what_is_no_id_reads_no_file(tmp_path, nursery):
    network = Network(tmp_path, nursery)
    answers = []
    questions = Handout(bundles=network.files, answer=lambda peer, answer: answers.append(answer))
    questions.take("node", AssetAsk(asset_id="../../etc/passwd", offset=0), nursery)
    await trio.testing.wait_all_tasks_blocked()

    assert answers[0].reason == "this is no id of an asset"


async def test_bundles_of_processes_that_run_are_not_taken_away(tmp_path, nursery):
    network = Network(tmp_path, nursery)
    network.store()
    library, asset_id = network.library, id_of(DATA)
    await library.provide_for("one", [asset_id])
    await library.provide_for("two", [asset_id])

    library.release({"two"})
    assert library.folders.remove_unused(0, now=1e12) == []
    library.release(set())
    assert library.folders.remove_unused(0, now=1e12) == [asset_id]
    await library.provide_for("three", [asset_id])
    assert library.folders.has(asset_id)


async def test_a_bundle_that_can_not_be_had_is_let_go_of(tmp_path, nursery):
    network = Network(tmp_path, nursery)
    with pytest.raises(AssetError, match="has no such asset"):
        await network.library.provide_for("one", [id_of(DATA)])
    network.store()
    await network.library.provide(id_of(DATA))
    network.library.release(set())

    assert network.library.folders.remove(id_of(DATA)) is True
