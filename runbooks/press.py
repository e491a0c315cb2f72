"""What is written on a button or a form of a run's card, and read back when it is pressed."""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import Run


@dataclass(frozen=True, slots=True)
class Press:
    """A verb for one line of one run, as it was drawn.

    The attempt makes a press on an old card known as one.
    """

    verb: str
    """yes and retry are the engine's; the rest a gate's own."""
    run: str
    line: str
    attempt: int

    def text(self) -> str:
        """Return the button's action."""
        return "|".join(("run", self.verb, self.run, self.line, str(self.attempt)))


def action(verb: str, run: Run) -> str:
    """Return the action of a button for the present line of a run."""
    return Press(verb, run.id, run.line, run.attempt).text()


def press(text: str) -> Press | None:
    """Return what a pressed button says; None when it is no button of a run."""
    match text.split("|"):
        case ["run", verb, run, line, attempt] if attempt.isascii() and attempt.isdecimal():
            return Press(verb, run, line, int(attempt))
    return None
