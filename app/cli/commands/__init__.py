"""Commands, in folders as `secateur --help` lists them."""
