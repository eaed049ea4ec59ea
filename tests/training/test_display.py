"""What a training shows: a bar on a terminal, a line an epoch in a file."""

import io

from rich.console import Console

from moerec.training.display import TrainingDisplay, line
from moerec.training.loop import Progress
from moerec.training.state import EpochRecord

RECORD = EpochRecord(loss=3.5, ndcg=0.1, hit_rate=0.2, largest_share=0.15, mean_experts=2.25)


def shown(terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=160)
    with TrainingDisplay(console) as display:
        display.update(Progress(0, 2, 1, 3, 4.0, 60, [], -1))
        display.update(Progress(1, 2, 0, 3, 0.0, 0, [RECORD], 0))
        display.update(Progress(2, 2, 0, 3, 0.0, 0, [RECORD, RECORD], 0))
    return file.getvalue()


def test_a_file_gets_one_line_an_epoch() -> None:
    lines = shown(terminal=False).strip().splitlines()
    assert lines == [line(1, 2, RECORD, True), line(2, 2, RECORD, False)]
    assert "NDCG@10 0.1000" in lines[0]
    assert "best so far" in lines[0]
    assert "best so far" not in lines[1]


def test_a_terminal_gets_a_bar_too() -> None:
    text = shown(terminal=True)
    assert "epoch 2/2" in text
    assert "6/6" in text


def test_a_resumed_training_does_not_repeat_its_epochs() -> None:
    file = io.StringIO()
    with TrainingDisplay(Console(file=file, width=160)) as display:
        display.update(Progress(1, 3, 1, 3, 4.0, 60, [RECORD], 0))
        display.update(Progress(2, 3, 0, 3, 0.0, 0, [RECORD, RECORD], 1))
    assert file.getvalue().count("epoch") == 1


def test_without_validation_there_is_none_to_show() -> None:
    blind = EpochRecord(loss=1.0, ndcg=None, hit_rate=None, largest_share=0.2, mean_experts=2.0)
    assert "NDCG" not in line(1, 1, blind, False)
