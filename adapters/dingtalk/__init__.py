"""DingTalk: a stream socket for what people do, REST for what is said, cards from one template."""
