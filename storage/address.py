"""Where the database is, with the password that no configuration file holds."""

from __future__ import annotations

import sqlalchemy as sa

from adapters.words import Secret


def address(url: str, password: Secret) -> str:
    """Return the URL with its password: keep it out of logs."""
    made = sa.make_url(url)
    if password:
        made = made.set(password=password.reveal())
    return made.render_as_string(hide_password=False)
