"""What is measured about Secateur, and the small models it is measured on."""
