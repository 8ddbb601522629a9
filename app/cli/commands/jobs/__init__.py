"""Jobs: ask for them, follow them, take what comes of them."""
