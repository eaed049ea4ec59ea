"""The MovieLens download against a real HTTP server on this machine."""

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from moerec.data.download import GROUPLENS, download, download_with_bar
from moerec.data.interactions import read_interactions
from moerec.data.items import read_items
from moerec.errors import DataError, StorageError, UsageError

RATINGS = "".join(
    f"{user}::{item}::5::{978300000 + item}\n" for user in range(1, 60) for item in range(1, 60)
)


def zipped(members: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return packed.getvalue()


ARCHIVE = zipped(
    {
        "ml-1m/": "",
        "ml-1m/README": "terms",
        "ml-1m/ratings.dat": RATINGS,
        "ml-1m/movies.dat": "".join(f"{item}::Film {item}::Drama\n" for item in range(1, 60)),
    }
)


class Mirror:
    """A server of files; it can forget ranges, or break off once."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.break_after: int | None = None
        self.requests: list[tuple[str, str | None]] = []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/datasets"

    def offer(self, data: bytes, name: str = "ml-1m.zip") -> None:
        self.files = {
            f"/datasets/{name}": data,
            f"/datasets/{name}.md5": f"MD5 ({name}) = {hashlib.md5(data).hexdigest()}\n".encode(),  # noqa: S324
        }

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.requests.append((request.path, asked))
        if request.path not in self.files:
            request.send_error(404)
            return
        data = self.files[request.path]
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        if start >= len(data):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        end = len(data)
        if self.break_after is not None and request.path.endswith(".zip"):
            end, self.break_after = start + self.break_after, None
        request.wfile.write(data[start:end])

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Mirror()
    server.offer(ARCHIVE)
    yield server
    server.close()


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_can_be_read_at_once(tmp_path: Path, mirror: Mirror) -> None:
    seen: list[tuple[int, int | None]] = []
    done = download("movielens-1m", tmp_path / "new", mirror.url + "/", lambda *at: seen.append(at))
    assert read_interactions(done.ratings).report.users == 59
    assert len(read_items(done.items).frame) == 59
    assert done.folder == tmp_path / "new" / "ml-1m"
    assert "research" in done.licence
    assert str(done.folder / "README") in done.licence
    assert seen[-1] == (len(ARCHIVE), len(ARCHIVE))
    assert left_over(tmp_path / "new") == ["ml-1m"]


def test_what_is_there_is_not_fetched_again(tmp_path: Path, mirror: Mirror) -> None:
    download("movielens-1m", tmp_path, mirror.url)
    before = len(mirror.requests)
    download("movielens-1m", tmp_path, mirror.url)
    assert len(mirror.requests) == before


def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path: Path, mirror: Mirror) -> None:
    mirror.break_after = 1000
    with pytest.raises(DataError, match=r"broke off after 1,000 of") as caught:
        download("movielens-1m", tmp_path, mirror.url)
    assert "goes on" in caught.value.remedy
    assert left_over(tmp_path) == [".ml-1m.zip.part"]
    download("movielens-1m", tmp_path, mirror.url)
    assert mirror.requests[-1] == ("/datasets/ml-1m.zip", "bytes=1000-")
    assert left_over(tmp_path) == ["ml-1m"]


def test_a_server_without_ranges_starts_again(tmp_path: Path, mirror: Mirror) -> None:
    mirror.break_after = 1000
    mirror.ranges = False
    with pytest.raises(DataError):
        download("movielens-1m", tmp_path, mirror.url)
    assert (download("movielens-1m", tmp_path, mirror.url).ratings).read_text() == RATINGS


@pytest.mark.parametrize("length", [500, len(ARCHIVE), len(ARCHIVE) + 10])
def test_a_part_of_another_file_is_thrown_away(tmp_path: Path, mirror: Mirror, length: int) -> None:
    (tmp_path / ".ml-1m.zip.part").write_bytes(b"x" * length)
    assert download("movielens-1m", tmp_path, mirror.url).ratings.read_text() == RATINGS
    assert left_over(tmp_path) == ["ml-1m"]


def test_a_whole_part_is_only_unpacked(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / ".ml-1m.zip.part").write_bytes(ARCHIVE)
    assert download("movielens-1m", tmp_path, mirror.url).ratings.read_text() == RATINGS


def test_another_sum_is_refused_and_nothing_stays(tmp_path: Path, mirror: Mirror) -> None:
    mirror.files["/datasets/ml-1m.zip"] = ARCHIVE + b"!"
    with pytest.raises(DataError, match="MD5"):
        download("movielens-1m", tmp_path, mirror.url)
    assert left_over(tmp_path) == []


def test_without_a_sum_of_its_own_a_mirror_must_have_the_known_one(
    tmp_path: Path, mirror: Mirror
) -> None:
    del mirror.files["/datasets/ml-1m.zip.md5"]
    with pytest.raises(DataError, match="MD5"):
        download("movielens-1m", tmp_path, mirror.url)


def test_an_archive_without_any_sum_is_checked_by_its_content(
    tmp_path: Path, mirror: Mirror
) -> None:
    data = zipped({"ml-latest-small/ratings.csv": "userId,movieId,rating,timestamp\n1,2,3,4\n"})
    mirror.files = {"/datasets/ml-latest-small.zip": data}
    done = download("movielens-latest-small", tmp_path, mirror.url)
    assert read_interactions(done.ratings).report.events == 1


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"../evil": "x"}, "outside its folder"),
        ({"/etc/evil": "x"}, "outside its folder"),
        ({"ml-1m/..\\evil": "x"}, "outside its folder"),
        ({"other/ratings.dat": "x"}, "no ml-1m/ratings.dat"),
    ],
)
def test_an_archive_that_would_escape_or_lacks_the_log_is_refused(
    tmp_path: Path, mirror: Mirror, members: dict[str, str], words: str
) -> None:
    mirror.offer(zipped(members))
    target = tmp_path / "target"
    with pytest.raises(DataError, match=words):
        download("movielens-1m", target, mirror.url)
    assert left_over(target) == []
    assert left_over(tmp_path) == ["target"]


def test_what_is_no_zip_is_refused(tmp_path: Path, mirror: Mirror) -> None:
    mirror.offer(b"<html>sorry</html>")
    with pytest.raises(DataError, match="damaged"):
        download("movielens-1m", tmp_path, mirror.url)
    assert left_over(tmp_path) == []


def test_a_server_that_refuses_or_is_away(tmp_path: Path, mirror: Mirror) -> None:
    with pytest.raises(DataError, match=r"answered 404"):
        download("movielens-100k", tmp_path, mirror.url)
    mirror.close()
    with pytest.raises(DataError, match="cannot reach"):
        download("movielens-100k", tmp_path, mirror.url)


def test_unknown_names_and_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no download called 'netflix'") as caught:
        download("netflix", tmp_path)
    assert "movielens-1m" in caught.value.remedy
    with pytest.raises(UsageError, match="not a web address"):
        download("movielens-1m", tmp_path, "file:///etc")


def fill(folder: Path) -> None:
    (folder / ".ml-1m.zip.part").symlink_to("/dev/full")


def occupy(folder: Path) -> None:
    (folder / "ml-1m").mkdir()


def obstruct(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("a file where the folder belongs")


@pytest.mark.parametrize(
    ("trouble", "words"),
    [(fill, "the disk is full"), (occupy, "exists already"), (obstruct, "cannot write into")],
)
def test_a_disk_that_refuses(
    tmp_path: Path, mirror: Mirror, trouble: Callable[[Path], None], words: str
) -> None:
    """`/dev/full` takes the place of the file: every write to it says that the disk is full."""
    target = tmp_path / "target"
    target.mkdir()
    trouble(target)
    with pytest.raises(StorageError, match=words):
        download("movielens-1m", target, mirror.url)
    assert not (target / "ml-1m" / "ratings.dat").exists()
    assert not (target / ".ml-1m.zip.part").is_symlink()


def test_the_bar_ends_with_the_licence(tmp_path: Path, mirror: Mirror) -> None:
    screen = io.StringIO()
    download_with_bar("movielens-1m", tmp_path, mirror.url, console=Console(file=screen, width=400))
    assert "movielens-1m" in screen.getvalue()
    assert "no commercial use" in screen.getvalue()


def test_the_default_is_the_official_server() -> None:
    assert GROUPLENS == "https://files.grouplens.org/datasets/movielens"
