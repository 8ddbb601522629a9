"""What PAR refuses."""


class ParError(ValueError):
    """Something PAR cannot do, in words."""


class UnsupportedModelError(ParError):
    """The model's family, or one of its settings, is not supported."""


class ArtifactError(ParError):
    """An artifact is damaged, of another format, or made for another model."""
