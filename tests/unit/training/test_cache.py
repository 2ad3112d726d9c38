from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from whippet_training.cache import Entry, FeatureCache, Key

WIDTH = 8


def key(seed: int) -> Key:
    return bytes([seed]) * 32, seed % 3


def entry(seed: int) -> tuple[Key, Entry]:
    feature = np.random.default_rng(seed).random(WIDTH, dtype=np.float32)
    return key(seed), Entry(bytes([seed]) * 16, feature)


def write(folder: Path, *seeds: int) -> None:
    with FeatureCache(folder, WIDTH) as cache:
        for seed in seeds:
            cache.write(*entry(seed))


def read(folder: Path, *seeds: int) -> set[int]:
    entries = FeatureCache(folder, WIDTH).read({key(seed) for seed in seeds})
    for (content, _), found in entries.items():
        expected = entry(content[0])[1]
        assert found.pixels == expected.pixels
        np.testing.assert_array_equal(found.feature, expected.feature)
    return {content[0] for content, _ in entries}


def test_what_is_written_is_read_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    assert read(tmp_path, 1, 2, 3) == {1, 2}
    assert read(tmp_path, 2) == {2}


def test_a_torn_record_counts_as_absent_and_the_others_are_kept(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    [segment] = tmp_path.iterdir()
    segment.write_bytes(segment.read_bytes()[:-5])
    assert read(tmp_path, 1, 2) == {1}


@pytest.mark.parametrize("place", [0, 33, 60, -1])
def test_a_damaged_record_counts_as_absent(tmp_path: Path, place: int) -> None:
    write(tmp_path, 1)
    [segment] = tmp_path.iterdir()
    damaged = bytearray(segment.read_bytes())
    damaged[place] ^= 1
    segment.write_bytes(damaged)
    assert read(tmp_path, 1) == set()


def test_a_view_is_not_taken_for_another_of_the_same_photo(tmp_path: Path) -> None:
    write(tmp_path, 1)
    content, number = key(1)
    assert FeatureCache(tmp_path, WIDTH).read({(content, number + 1)}) == {}


def test_a_cache_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    with FeatureCache(None, WIDTH) as cache:
        cache.write(*entry(1))
        assert cache.read({entry(1)[0]}) == {}


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from whippet_training.cache import Entry, FeatureCache\n"
        "start = int(sys.argv[2])\n"
        f"with FeatureCache(Path(sys.argv[1]), {WIDTH}) as cache:\n"
        "    for seed in range(start, start + 100):\n"
        f"        feature = np.random.default_rng(seed).random({WIDTH}, dtype=np.float32)\n"
        "        cache.write((bytes([seed]) * 32, seed % 3), Entry(bytes([seed]) * 16, feature))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(start)]) for start in (0, 50, 100)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert read(tmp_path, *range(200)) == set(range(200))
