"""Bytes that the state of a method holds."""

import torch


def held(tree):
    """Return the bytes behind the tensors of nested dicts, lists and tuples, by storage: shared ones count once."""
    if isinstance(tree, torch.Tensor):
        return {tree.untyped_storage().data_ptr(): tree.untyped_storage().nbytes()}
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return {key: size for part in parts for key, size in held(part).items()}
