"""/oncall: who is called for this group's customer, and when."""

from __future__ import annotations

from commands.oncall.changes import CHANGES
from commands.oncall.files import FILES
from commands.oncall.roster import ROSTER
from commands.oncall.show import SHOW, TEST

ONCALL = (*SHOW, *ROSTER, *CHANGES, *TEST, *FILES)
