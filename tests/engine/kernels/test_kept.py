"""Machine code is kept, and never that of other sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moerec.engine.kernels.kept import SOURCES, digest, folder

ROOT = Path(__file__).parents[3]

SHOW = """
import numpy as np, torch
from moerec.engine.encoders import StreamedEncoder
from moerec.engine.state import Past, PastEvent, UserState
from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender
torch.manual_seed(0)
model = MoERecommender(ModelConfig(items=9, dim=8, layers=1, window=2, expert_dim=4)).eval()
with torch.inference_mode():
    encoder = StreamedEncoder(model, model.item_vectors(), 1)
    (taste,) = encoder.encode([UserState(Past.of([PastEvent(3)], 10))])
print(taste.vector.tolist())
"""


def run(package_in: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(package_in), **environment},
        cwd=package_in,
        capture_output=True,
        text=True,
        check=True,
    )


def test_every_source_of_the_kernels_counts(tmp_path: Path) -> None:
    """The constants of the model that they read are in one of its files."""
    assert {path.name for path in SOURCES} >= {"step.py", "mixture.py", "arithmetic.py", "rows.py"}
    copies = tuple(
        Path(shutil.copy(path, tmp_path / f"{place}.py")) for place, path in enumerate(SOURCES)
    )
    before = digest(copies)
    for copy in copies:
        text = copy.read_text()
        copy.write_text(text + "#")
        assert digest(copies) != before
        copy.write_text(text)
    assert digest(copies) == before


def test_this_process_has_a_folder_of_its_sources() -> None:
    own = folder()
    assert own is not None
    assert own.name.endswith(digest(SOURCES))


@pytest.mark.slow
def test_a_change_in_an_inner_file_is_compiled(tmp_path: Path) -> None:
    """numba looked at the outermost function's file alone: the machine code of the old `mixture.py` went on
    running after it had changed, in tests too."""
    shutil.copytree(
        ROOT / "moerec", tmp_path / "moerec", ignore=shutil.ignore_patterns("__pycache__")
    )
    before = run(tmp_path, SHOW).stdout
    assert run(tmp_path, SHOW).stdout == before
    file = tmp_path / "moerec" / "engine" / "kernels" / "mixture.py"
    text = file.read_text()
    assert "sums_D[column] += gate *" in text
    file.write_text(text.replace("sums_D[column] += gate *", "sums_D[column] -= gate *"))
    assert run(tmp_path, SHOW).stdout != before


@pytest.mark.slow
def test_kernels_run_where_nothing_can_be_kept(tmp_path: Path) -> None:
    """A container with a read-only root: numba has no place for machine code, and refused to go on."""
    (tmp_path / "file").touch()
    code = "import sys; from moerec.engine.compile import main; sys.exit(main())"
    done = run(ROOT, code, NUMBA_CACHE_DIR=str(tmp_path / "file" / "no-folder"))
    assert done.stdout.startswith("kernels ready after")
    assert done.stderr.count("Each start compiles the kernels anew") == 1


@pytest.mark.slow
def test_the_place_can_be_named(tmp_path: Path) -> None:
    code = "import sys; from moerec.engine.compile import main; sys.exit(main())"
    run(ROOT, code, NUMBA_CACHE_DIR=str(tmp_path / "here"))
    (own,) = (tmp_path / "here").iterdir()
    assert own.name.endswith(digest(SOURCES))
    assert list(own.rglob("*.nbc"))
