"""Named versions and publications."""
