"""What is seen of the demo: headings, progress, and short tables."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


class Show:
    """Writes for a person; on a pipe the same lines come without colours and bars."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self._act = 0

    def act(self, title: str) -> None:
        """Begin a new part."""
        self._act += 1
        self.console.print(f"\n[bold]{self._act}. {title}[/bold]")

    def say(self, text: str) -> None:
        """Say a sentence."""
        self.console.print(f"   {text}", markup=True)

    def quote(self, lines: Sequence[str]) -> None:
        """Show what another program says."""
        for line in lines:
            self.console.print(f"     {line}", style="dim", markup=False)

    def verdict(self, what: str, *, holds: bool, found: str = "") -> None:
        """Say whether something that must be true is."""
        mark = "[green]✓[/green]" if holds else "[bold red]✗[/bold red]"
        self.console.print(f"   {mark} {what}" + (f" [dim]({found})[/dim]" if found else ""))

    @contextmanager
    def waiting(self, what: str) -> Generator[None]:
        """Show that something takes its time, and how long it took."""
        began = time.monotonic()
        with self.console.status(f"{what} …"):
            yield
        self.say(f"{what} [dim]{time.monotonic() - began:.1f} s[/dim]")

    @contextmanager
    def counting(self, what: str, total: int) -> Generator[Progress]:
        """Show how many of so many are done; advance the only task."""
        columns = (
            TextColumn("   {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            progress.add_task(what, total=total)
            yield progress

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a small table."""
        table = Table(*headings, box=None, padding=(0, 2), header_style="dim")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)
