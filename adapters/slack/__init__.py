"""Slack: slash commands, mentions and modals in; Block Kit, files and private channels out."""
