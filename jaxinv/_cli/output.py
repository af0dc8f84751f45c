"""Progress bars, tables and plots by the optional extra `demo` (rich, matplotlib), plain lines without it."""

from collections.abc import Iterable, Sequence

INSTALL_EXTRA = 'install "jaxinv[demo]"'

Row = Sequence[str]


class PlainOutput:
    """Plain lines: what every terminal and every log can show."""

    def line(self, text: str = "") -> None:
        """Prints one line."""
        print(text, flush=True)

    def table(self, columns: Row, groups: Sequence[Sequence[Row]]) -> None:
        """Prints rows in aligned columns, the first column to the left; groups are set apart."""
        rows = [row for group in groups for row in group]
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            first, *others = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            self.line("  ".join((f"{first.strip():<{widths[0]}}", *others)).rstrip())

    def track(self, steps: Sequence, description: str) -> Iterable:
        """Yields the steps and says, up to five times, how far it is."""
        every = -(-len(steps) // 5)
        for done, step in enumerate(steps):
            if done % every == 0:
                self.line(f"{description}: {done} of {len(steps)}")
            yield step


class RichOutput(PlainOutput):
    """The same by rich."""

    def __init__(self):
        from rich.console import Console

        # A log has no width of its own: the widest table fits into this one.
        console = Console(highlight=False)
        self._console = console if console.is_terminal else Console(highlight=False, width=120)

    def line(self, text: str = "") -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def table(self, columns: Row, groups: Sequence[Sequence[Row]]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table()
        for i, column in enumerate(columns):
            table.add_column(Text(column), justify="left" if i == 0 else "right", no_wrap=True)
        for group in groups:
            for row in group:
                table.add_row(*map(Text, row))
            table.add_section()
        self._console.print(table)

    def track(self, steps: Sequence, description: str) -> Iterable:
        from rich.progress import track

        if not self._console.is_terminal:
            return super().track(steps, description)
        return track(steps, description, console=self._console, transient=True)


def make_output() -> PlainOutput:
    """Rich output where rich is installed."""
    try:
        return RichOutput()
    except ImportError:
        return PlainOutput()


def make_figure(**keywords):
    """A matplotlib Figure, or None where matplotlib is not installed."""
    try:
        # Without pyplot: no window system is asked for, no global state is left behind.
        from matplotlib.figure import Figure
    except ImportError:
        return None
    return Figure(**keywords)
