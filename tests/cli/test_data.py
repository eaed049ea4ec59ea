"""`moerec data`: the demo's files, and a download that fails with a remedy."""

import http.server
import threading
from pathlib import Path

import pytest

from moerec.cli.main import main
from moerec.data.interactions import read_interactions


def test_the_demo_log_is_written_and_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "demo", "--out", str(tmp_path), "--viewers", "20"]) == 0
    assert "next: moerec train" in capsys.readouterr().out
    assert read_interactions(tmp_path / "log.csv").report.users == 20


def test_a_data_set_nobody_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "download", "movielens-9", "--out", str(tmp_path)]) == 2
    assert "movielens-1m" in capsys.readouterr().err


class Nothing(http.server.BaseHTTPRequestHandler):
    """A server that has nothing."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_download_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("MOEREC_DOWNLOAD_URL", address)
        assert main(["data", "download", "movielens-1m", "--out", str(tmp_path)]) == 2
        assert "404" in capsys.readouterr().err
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert list(tmp_path.iterdir()) == []
