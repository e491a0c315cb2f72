"""Documents out and server lists in."""

from adapters.documents.columns import COLUMNS, MAX_BYTES, MAX_ROWS
from adapters.documents.office import OfficeDocuments
from adapters.documents.reader import read_servers
from adapters.documents.values import NEEDS

__all__ = ["COLUMNS", "MAX_BYTES", "MAX_ROWS", "NEEDS", "OfficeDocuments", "read_servers"]
