"""One family, one file; every file here is registered by being here.

To add one: a subclass of Adapter with its `architectures` and `tower_specs` (which stacks and
projectors there are, what they serve, which batch entry marks their padding), `prompt` or `encode`
where the model's processor wants something special, and one row in tests/families.py. A class whose
images become tokens among those of its text is a row in `image_tokens`.
"""
