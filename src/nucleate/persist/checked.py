"""Validation of data that nucleate wrote and reads back."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from nucleate.errors import quoted

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], data: Any) -> Model:
    """Validate data with a pydantic model.

    Args:
        model: the pydantic model that the data must match.
        data: plain data as returned by `json.loads`.

    Raises:
        ValueError: the data do not match; the message names the wrong entry in at most 200 characters.
    """
    try:
        # Strict models accept a list in place of a tuple only when they validate JSON text.
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        problem = error.errors()[0]
        where = quoted(".".join(str(part) for part in problem["loc"]) or "the whole")
        raise ValueError(f"{where}: {quoted(problem['msg'].removeprefix('Value error, '))}") from None
