"""The contents page: every command, one word each."""

from __future__ import annotations

from commands.bind import bind
from commands.cancel import cancel
from commands.declare import Book
from commands.onboard import onboard
from commands.retry import retry
from commands.skip import skip
from commands.status import status
from commands.whoami import whoami

BOOK = Book(onboard, status, retry, skip, cancel, bind, whoami)
