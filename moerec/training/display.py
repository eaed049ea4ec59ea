"""What a person sees of a training: a bar on a terminal, a line an epoch elsewhere."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from moerec.training import loop
from moerec.training.state import EpochRecord


class TrainingDisplay:
    """`with TrainingDisplay(console) as display: ... watch=display.update`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("[bold]epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left at most"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._printed = 0

    def __enter__(self) -> "TrainingDisplay":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, progress: loop.Progress) -> None:
        """Show where the training is; prints a line for each epoch that has ended."""
        total = progress.epochs * progress.steps_an_epoch
        done = progress.epoch * progress.steps_an_epoch + progress.step_in_epoch
        shown = f"{min(progress.epoch + 1, progress.epochs)}/{progress.epochs}"
        if self._task is None:
            self._printed = progress.epoch
            self._task = self._bar.add_task("", total=total, completed=done, epoch=shown, loss="-")
        loss = f"{progress.loss:.3f}" if progress.step_in_epoch else "-"
        self._bar.update(self._task, completed=min(done, total), epoch=shown, loss=loss)
        while self._printed < len(progress.records):
            number = self._printed
            self._printed += 1
            best = number == progress.best_epoch
            text = line(number + 1, progress.epochs, progress.records[number], best)
            self._console.print(text, soft_wrap=True)


def line(number: int, epochs: int, record: EpochRecord, best: bool) -> str:
    """An epoch in one line."""
    validation = ""
    if record.ndcg is not None and record.hit_rate is not None:
        validation = f"  validation NDCG@10 {record.ndcg:.4f} HR@10 {record.hit_rate:.4f}"
    return (
        f"epoch {number}/{epochs}  loss {record.loss:.4f}{validation}"
        f"  experts a token {record.mean_experts:.2f}, busiest {record.largest_share:.1%} of the work"
        f"{'  (best so far)' if best else ''}"
    )
