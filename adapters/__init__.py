"""The outside world: chat platforms, the monitor, the servers, the model, documents."""
