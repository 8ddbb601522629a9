"""Pushes a job's files to a Hugging Face hub, as one commit."""

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils.tqdm import disable_progress_bars

from app.domain.publications import HuggingFace
from app.publishers.publication_files import Parcel


def push(destination: HuggingFace, token: str, target: str, parcel: Parcel) -> str:
    """Make the repository, if need be, and commit the files; returns the commit's address.

    All files appear with the commit. Pushing the same again changes nothing.
    """
    disable_progress_bars()  # nobody watches
    api = HfApi(destination.endpoint, token=token, library_name="secateur")
    api.create_repo(target, private=destination.private, exist_ok=True)
    commit = api.create_commit(
        target,
        [CommitOperationAdd(path, file) for path, file in parcel.files.items()],
        commit_message=f"Publish {parcel.job.id}",
    )
    return commit.commit_url
