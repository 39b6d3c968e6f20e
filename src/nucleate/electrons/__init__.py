"""The local density of states of a material, and the quantities calculated from it."""

from importlib.util import find_spec

from nucleate.errors import MissingDependency

_missing = [package for module, package in (("zarr", "zarr"), ("torchpme", "torch-pme")) if find_spec(module) is None]
if _missing:
    raise MissingDependency(f"the electrons module requires {' and '.join(_missing)}: pip install 'nucleate[electrons]'")
