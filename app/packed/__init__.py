"""The packed form of safetensors files: fewer bytes on the way, made while they are sent."""

PACKABLE = ".safetensors"
