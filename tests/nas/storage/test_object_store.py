"""Files in an object store, and URLs."""

import errno
import gzip
from pathlib import Path
from typing import Any

import pytest

from nas.storage import object_store as store_module
from nas.storage import urls
from nas.storage.object_store import Store, StoreError
from search_spaces.errors import ConfigError
from search_spaces.files import is_disk_full


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/bucket/run", patience_s=0.0)


def test_files_and_folders_are_listed_by_their_names_below_the_url(store: Store) -> None:
    store.write("search.yaml", b"abc")
    store.write("stage1/0001/metrics.csv", b"12345")
    store.write("b/search.yaml", b"")
    assert {name: entry.size for name, entry in store.list().items()} == {
        "b/search.yaml": 0,
        "search.yaml": 3,
        "stage1/0001/metrics.csv": 5,
    }
    assert list(store.list("stage1/0001")) == ["stage1/0001/metrics.csv"]
    assert store.list("stage2") == {}
    assert store.folders() == ["b", "stage1"]
    assert Store(f"{store.url}/nowhere").folders() == []


def test_write_replaces_a_file_and_leaves_nothing_else(store: Store) -> None:
    store.write("a/b", b"old")
    store.write("a/b", b"new one")
    assert store.read("a/b") == b"new one"
    assert list(store.list()) == ["a/b"]
    store.remove("a/b")
    store.remove("a/b")
    assert store.read("a/b") is None
    assert store.entry("a/b") is None


def test_download_writes_a_whole_file(store: Store, tmp_path: Path) -> None:
    store.write("a", b"content")
    assert store.download("a", tmp_path / "here" / "a")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["a"]
    assert (tmp_path / "here" / "a").read_bytes() == b"content"
    assert not store.download("b", tmp_path / "here" / "b")
    assert not (tmp_path / "here" / "b").exists()


def test_compressed_files_are_not_decompressed(store: Store, tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(1000))
    store.write("a.gz", bomb)
    assert (tmp_path / "bucket" / "run" / "a.gz").read_bytes() == bomb
    assert store.read("a.gz") == bomb
    assert store.download("a.gz", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == bomb


def test_large_files_are_downloaded_whole_in_chunks(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 40
    monkeypatch.setattr(store_module, "MAX_READ_BYTES", 1000)
    monkeypatch.setattr(store_module, "_CHUNK_BYTES", 999)
    store.write("a", content)
    assert store.read("a") == content[:1000]
    assert store.download("a", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == content


def test_full_disk_is_not_retried(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store.write("a", b"content")
    store.patience_s = 60.0
    monkeypatch.setattr(store_module.shutil, "copyfileobj", fail)
    with pytest.raises(StoreError, match="No space left") as raised:
        store.download("a", tmp_path / "here")
    assert is_disk_full(raised.value)
    assert list(tmp_path.glob(".here*")) == []


class Listing:
    """A filesystem with given keys."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def get_file_info(self, selector: Any) -> list[Any]:
        from pyarrow import fs

        kinds = {"type": fs.FileType.File, "size": 1, "mtime_ns": 1}
        return [fs.FileInfo(f"{selector.base_dir}/{name}", **kinds) for name in self._names]


def test_keys_that_would_leave_the_folder_are_ignored(store: Store) -> None:
    names = ("a/../../x", "../y", "a//b", "./c", "ok/d")
    store.__dict__["_place"] = (Listing(*names), "bucket/run")
    assert list(store.list()) == ["ok/d"]


class Faulty:
    """A filesystem that fails a number of times."""

    type_name = "s3"

    def __init__(self, failures: int, text: str = "curlCode: 7") -> None:
        self.failures, self.text, self.asked = failures, text, 0

    def delete_file(self, path: str) -> None:
        self.asked += 1
        if self.asked <= self.failures:
            raise OSError(f"AWS Error\n{self.text}")


def faulty(store: Store, failures: int, **more: str) -> Faulty:
    system = Faulty(failures, **more)
    store.__dict__["_place"] = (system, "bucket/run")
    return system


def test_failed_request_is_repeated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr(store_module.time, "sleep", paused.append)
    store.patience_s = 60.0
    system = faulty(store, 3)
    store.remove("a")
    assert system.asked == 4
    assert paused == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("patience_s", "text"), [(0.0, "curlCode: 7"), (60.0, "ACCESS_DENIED during PutObject")]
)
def test_refused_request_is_not_repeated_and_its_error_is_one_line(
    store: Store, patience_s: float, text: str
) -> None:
    store.patience_s = patience_s
    system = faulty(store, 9, text=text)
    with pytest.raises(StoreError) as raised:
        store.remove("a")
    assert system.asked == 1
    message = f"{store.url}/a: cannot be removed (AWS Error {text}); "
    assert str(raised.value) == message + "resolve this, then the same command continues"


@pytest.mark.parametrize("url", ["zz://bucket/run", "s3://bucket/run?colour=red", "file://a/b"])
def test_url_without_a_filesystem_is_an_error(url: str) -> None:
    with pytest.raises(ConfigError, match="s3://, gs://, abfs:// or file://"):
        Store(url).list()


def test_options_stay_at_the_end_of_a_url() -> None:
    url = urls.check_url("s3://bucket/run/?region=eu-west-1&scheme=http")
    assert url == "s3://bucket/run?region=eu-west-1&scheme=http"
    inner = urls.below(url, "stage1/0007")
    assert inner == "s3://bucket/run/stage1/0007?region=eu-west-1&scheme=http"
    assert urls.split(inner, 2) == (url, "stage1/0007")
    assert urls.name_of(url) == "run"
    assert urls.below(url, "") == url


@pytest.mark.parametrize("url", ["s3://", "s3:///", "s3://bucket/run#part", "s3://bucket//run"])
def test_url_has_a_scheme_a_bucket_and_a_folder(url: str) -> None:
    with pytest.raises(ConfigError, match="s3://BUCKET/FOLDER"):
        urls.check_url(url)
    assert urls.is_url("s3://b/x")
    assert not any(urls.is_url(text) for text in ("runs/x", "s3:/b", "C://x"))
    azure = "abfs://container@account.dfs.core.windows.net/run"  # a container is no credential
    assert urls.check_url(azure) == azure


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter2@bucket/run",
        "s3://AKIAhunter2@bucket/run",
        "s3://bucket/run?access_key=AKIA&secret_key=hunter2",
        "abfs://container:hunter2@account/run",
        "s3://bucket/run?session_token=hunter2",
    ],
)
def test_credentials_in_a_url_are_an_error_that_does_not_repeat_them(url: str) -> None:
    with pytest.raises(ConfigError, match="must not hold credentials") as raised:
        urls.check_url(url)
    assert "hunter2" not in str(raised.value)
    assert "AKIA" not in str(raised.value)
