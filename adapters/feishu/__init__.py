"""Feishu: pure `wire` and `draw`, the SDK's socket in our loop, all REST on one client."""
