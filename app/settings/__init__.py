"""Everything that can be set, one model per subsystem, read from `SECATEUR_*` variables.

`SECATEUR_WORKER__LEASE_SECONDS=60` sets `settings.worker.lease_seconds`. Only composition roots
read settings; everything below them is handed values.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, TypeAdapter, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.settings.api import Api, Console
from app.settings.maintenance import Lineage, Maintenance, Publishing, Webhooks
from app.settings.oidc import Oidc
from app.settings.section import Section
from app.settings.shared import Database, Datasets, Models, Queue, Storage, Telemetry
from app.settings.worker import Checkpoints, Tasks, Worker


class Settings(BaseSettings):
    """All settings. Relative paths of the subsystems are under `data_dir`."""

    model_config = SettingsConfigDict(
        env_prefix="SECATEUR_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    data_dir: Path = Field(
        default=Path(".secateur"),
        description="directory of everything the service keeps on this machine",
    )
    umask: str = Field(
        default="077",
        pattern=r"^0?[0-7]{3}$",
        description="what others may not do with the files and directories that the processes "
        "make, in octal: by default anything; 027 lets the group read them",
    )
    database: Database = Field(default=Database(), description=Database.__doc__)
    queue: Queue = Field(default=Queue(), description=Queue.__doc__)
    models: Models = Field(default=Models(), description=Models.__doc__)
    storage: Storage = Field(default=Storage(), description=Storage.__doc__)
    datasets: Datasets = Field(default=Datasets(), description=Datasets.__doc__)
    api: Api = Field(default=Api(), description=Api.__doc__)
    console: Console = Field(default=Console(), description=Console.__doc__)
    oidc: Oidc = Field(default=Oidc(), description=Oidc.__doc__)
    checkpoints: Checkpoints = Field(default=Checkpoints(), description=Checkpoints.__doc__)
    worker: Worker = Field(default=Worker(), description=Worker.__doc__)
    tasks: Tasks = Field(default=Tasks(), description=Tasks.__doc__)
    publishing: Publishing = Field(default=Publishing(), description=Publishing.__doc__)
    webhooks: Webhooks = Field(default=Webhooks(), description=Webhooks.__doc__)
    lineage: Lineage = Field(default=Lineage(), description=Lineage.__doc__)
    telemetry: Telemetry = Field(default=Telemetry(), description=Telemetry.__doc__)
    maintenance: Maintenance = Field(default=Maintenance(), description=Maintenance.__doc__)

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("models", "storage", "checkpoints", "tasks", "console")
    @classmethod
    def _under_data_dir(cls, value: Section, info: ValidationInfo) -> Section:
        return value.under(info.data["data_dir"])

    def environment(self) -> dict[str, str]:
        """Variables that give a child process these settings."""
        variables = {"SECATEUR_DATA_DIR": str(self.data_dir), "SECATEUR_UMASK": self.umask}
        for section, values in self:
            if isinstance(values, Section):
                for name, value in values:
                    variables[f"SECATEUR_{section}__{name}".upper()] = _text(value)
        return variables


def _text(value: object) -> str:
    """A value as its variable holds it."""
    if isinstance(value, tuple):
        return (os.pathsep if all(isinstance(each, Path) for each in value) else ",").join(
            map(str, value)
        )
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return TypeAdapter(dict[str, Any]).dump_json(value).decode()
    return str(value)
