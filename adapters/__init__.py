"""The outside world: chat platforms, the monitor, the servers, the model, documents."""

import logging

# At INFO it logs every address, and those may hold tokens: webhooks', hooks', one-time links'.
logging.getLogger("httpx").setLevel(logging.WARNING)
