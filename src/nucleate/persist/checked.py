"""Validation of data that a program wrote and reads back."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from nucleate.errors import quoted

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], data: Any) -> Model:
    """Validate data with a pydantic model.

    Args:
        model: what the data must be.
        data: as `json.loads` gives it.

    Raises:
        ValueError: says in some words which entry is wrong; at most 200 characters.
    """
    try:
        # By way of JSON: its lists stand for tuples, which strict models take from nothing else.
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        problem = error.errors()[0]
        where = quoted(".".join(str(part) for part in problem["loc"]) or "the whole")
        raise ValueError(f"{where}: {quoted(problem['msg'].removeprefix('Value error, '))}") from None
