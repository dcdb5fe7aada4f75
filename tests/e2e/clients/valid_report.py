"""Whether reports are what their schema says: valid_report.py SCHEMA REPORT... Nothing may be in them that the schema does not
name, although it lets later editions add fields."""

import json
import sys

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match


def closed(schema):
    """The same, without room for more."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: closed(part) for name, part in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


with open(sys.argv[1], encoding="utf-8") as file:
    SCHEMA = json.load(file)
Draft202012Validator.check_schema(SCHEMA)
validator = Draft202012Validator(closed(SCHEMA), format_checker=FormatChecker())
wrong = []
for path in sys.argv[2:]:
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    for error in validator.iter_errors(report):
        # Of what may be null, the reason why the other is not met.
        error = best_match([error])
        wrong.append(f"{path}: {error.json_path}: {error.message[:300]}")
sys.exit("\n".join(wrong) or None)
