"""The schema of option files as JSON schema, which editors check and complete by; and what a file becomes with all defaults.

The JSON schema knows single keys, not what they have to do with each other (`vapsr_arch.options.checks`), nor the arguments of
classes.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from vapsr_arch.options.keys import Section
from vapsr_arch.options.reading import load_options
from vapsr_arch.options.schema import OWN_DATASETS, OWN_MODELS, Options, Paths, Train
from vapsr_arch.options.yaml_files import override, read_yaml

_TYPED = {'$ref': '#/$defs/Typed'}


class _Generator(GenerateJsonSchema):
    """Chooses a section's form by its `type` alone, as reading does; closes sections that third-party models do not extend."""

    def tagged_union_schema(self, schema: Any) -> JsonSchemaValue:
        forms = {tag: self.generate_inner(form) for tag, form in schema['choices'].items()}
        result = forms.pop('foreign')
        for form in reversed(list(forms.values())):
            types = self.get_schema_from_definitions(form['$ref'])['properties']['type']
            known = types.get('enum') or ([types['const']] if 'const' in types else list(OWN_DATASETS))
            result = {'if': {'properties': {'type': {'enum': known}}}, 'then': form, 'else': result}
        return result

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        result = super().model_schema(schema)
        section = schema['cls']
        result.pop('title', None)
        for value in result.get('properties', {}).values():
            value.pop('title', None)
            if 'description' in value:
                value['description'] = ' '.join(value['description'].split())
        if issubclass(section, Section) and not section.for_models:
            result['additionalProperties'] = False
        return result


def _closed(section: type[Section]) -> JsonSchemaValue:
    """Allows the keys alone that a section knows."""
    patterns = [{'pattern': f'{suffix}$'} for suffix in section.suffixes]
    return {'propertyNames': {'anyOf': [{'enum': list(section.model_fields)}, *patterns]}}


def json_schema() -> dict[str, Any]:
    """The JSON schema of option files (draft 2020-12)."""
    result = Options.model_json_schema(schema_generator=_Generator)
    result['$schema'] = GenerateJsonSchema.schema_dialect
    result['title'] = 'Option file of vapsr'
    result['patternProperties'] = {'^network_': _TYPED}
    result['properties']['datasets']['additionalProperties'] = False
    result['$defs']['Train']['patternProperties'] = {'_opt$': _TYPED, '^optim_': _TYPED}
    amp = result['$defs']['Train']['properties']['amp']
    amp['anyOf'].append({'const': False})  # what YAML 1.1 reads `off` as
    result['if'] = {'properties': {'model_type': {'enum': list(OWN_MODELS)}}}
    result['then'] = _closed(Options) | {'properties': {'train': _closed(Train), 'path': _closed(Paths)}}
    return result


def json_text() -> str:
    """The JSON schema as text, one way to write it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + '\n'


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    return value


def resolved(path: str | os.PathLike, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """An option file with the defaults of all keys that it leaves out.

    Args:
        path: The YAML file; one with `datasets.train` is for training.
        overrides: `SECTION:KEY=VALUE` entries that are set first.

    Raises:
        OptionsError: The file has faults.
    """
    raw = read_yaml(path)
    override(raw, overrides)
    datasets = raw.get('datasets')
    is_train = isinstance(datasets, dict) and 'train' in datasets
    options = load_options(path, is_train, overrides)
    model = Options.model_validate(options, context={'open': options['model_type'] not in OWN_MODELS})
    return _without_none(model.model_dump())
