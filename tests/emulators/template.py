"""`template.yaml` as plain data, and what the emulators need to know of it."""

import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short tags (`!Ref`) in their long form."""


def _long_form(loader, tag, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


Loader.add_multi_constructor("!", _long_form)


def read():
    """The template."""
    return yaml.load((ROOT / "template.yaml").read_text(), Loader)


def of_type(template, kind):
    """The resources of a type, by their logical names."""
    resources = template["Resources"].items()
    return {name: resource["Properties"] for name, resource in resources if resource["Type"] == kind}


def functions(template):
    """The functions, by their logical names."""
    return of_type(template, "AWS::Serverless::Function")


def binary(function):
    """The program of a function: `TrackingApi` is `tracking-api`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", function).lower()


def events(template, kind):
    """The functions' events of a type: pairs of a function's name and an event's name and properties."""
    return [
        (function, name, event.get("Properties", {}))
        for function, properties in functions(template).items()
        for name, event in properties.get("Events", {}).items()
        if event["Type"] == kind
    ]


def routes(template):
    """The routes of the API: a function's name for each route key, as in `GET /health`."""
    return {
        f"{event['Method']} {event['Path']}" if "Path" in event else "$default": function
        for function, _, event in events(template, "HttpApi")
    }


def resolved(value, known):
    """A value of the template whose references are among those known."""
    if isinstance(value, dict) and list(value) == ["Ref"]:
        return known[value["Ref"]]
    if isinstance(value, dict) and list(value) == ["Fn::Sub"]:
        return re.sub(r"\$\{([\w:]+)\}", lambda name: known[name[1]], value["Fn::Sub"])
    return str(value)
