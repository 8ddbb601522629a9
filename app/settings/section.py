"""What sections of the settings have in common."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

PositiveSeconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Settings of one subsystem; a misspelt name is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def under(self, data_dir: Path) -> Self:
        """A copy whose relative paths are resolved under `data_dir`."""
        return self.model_copy(
            update={
                name: (data_dir / value.expanduser()).resolve()
                for name, value in self
                if isinstance(value, Path)
            }
        )
