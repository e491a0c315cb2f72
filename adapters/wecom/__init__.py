"""WeCom (企业微信): the AI bot's long connection, and what a self-built app may add to it."""
