"""What the hub's client raises, in our words."""

from collections.abc import Iterator
from contextlib import contextmanager

from httpx2 import HTTPError
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from app.errors import (
    HubUnavailableError,
    ModelFilesError,
    ModelGatedError,
    ModelLoadError,
    ModelNotFoundError,
    ModelRevisionError,
    ModelSourceError,
)
from app.planning.model_files.source import HubModel


@contextmanager
def hub_errors(source: HubModel) -> Iterator[None]:
    """Turn what is raised inside into errors of ours; subclasses come before their bases.

    Raises:
        UserError: the model does not exist or may not be had.
        HubUnavailableError: the hub does not answer.
    """
    name = f"hf:{source.repo_id}"
    try:
        yield
    except GatedRepoError as error:
        raise ModelGatedError(
            f"{name} is gated: accept its terms on the hub with the account whose token (HF_TOKEN) "
            "the service has, if its operator lets jobs use it (SECATEUR_MODELS__SHARED_HUB_TOKEN)"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"the hub has no model {name}, or shows it to other accounts only"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelRevisionError(f"{name} has no revision {source.revision!r}") from error
    except HFValidationError as error:
        raise ModelSourceError(f"{name} is no valid hub id: {error}") from error
    except (ModelFilesError, ModelLoadError) as error:
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error
    except (HfHubHTTPError, HTTPError, LocalEntryNotFoundError) as error:
        raise HubUnavailableError(f"{name} cannot be read now: {error}") from error
