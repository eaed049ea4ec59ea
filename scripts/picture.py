"""Draws docs/images/demo.svg from a real run of the demo: `.venv/bin/python scripts/picture.py`."""

import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from moerec.process.demo.prepare import DemoOptions
from moerec.process.demo.run import run_demo

PICTURE = Path(__file__).parents[1] / "docs/images/demo.svg"

if __name__ == "__main__":
    screen = Console(
        record=True, width=100, force_terminal=True, color_system="truecolor", file=io.StringIO()
    )
    run_demo(DemoOptions(), screen, io.StringIO("heat\nquit\n"))
    svg = screen.export_svg(title="make demo", theme=MONOKAI)
    # Rich names a font on a foreign host; any monospaced one will do.
    PICTURE.write_text(re.sub(r"@font-face {.*?}\s*", "", svg, flags=re.DOTALL))
