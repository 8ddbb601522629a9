"""What artifacts cost: packing, downloading, publishing."""
