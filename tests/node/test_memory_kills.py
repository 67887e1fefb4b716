"""Whether the kernel has ended a process because memory ran out: files as the kernel writes them."""

from pathlib import Path

from tsd.node.memory_kills import MemoryKills

V2 = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\noom_group_kill 9\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


def test_a_kill_since_the_last_look_is_seen_once(tmp_path):
    for number, form in enumerate((V2, V1)):
        file = tmp_path / str(number)
        file.write_text(form.format(3))
        kills = MemoryKills((file,))
        assert not kills.look()

        file.write_text(form.format(4))
        assert kills.look()
        assert not kills.look()


def test_the_group_of_the_process_is_believed_before_the_host(tmp_path):
    group, host = tmp_path / "group", tmp_path / "host"
    group.write_text(V2.format(0))
    host.write_text("oom_kill 5\n")
    kills = MemoryKills((tmp_path / "nowhere", group, host))

    host.write_text("oom_kill 6\n")
    assert not kills.look()


def test_without_any_count_nothing_is_seen(tmp_path):
    assert not MemoryKills((tmp_path / "nowhere",)).look()


def test_the_files_of_this_process_can_be_read():
    """Nothing is killed for memory in a test, so all that can be said is that it does not raise."""
    assert Path("/proc/vmstat").is_file()
    assert not MemoryKills().look()
