"""How to call an operation, ready to be copied: for curl and for the official SDKs for Python."""

import json
import pprint
from typing import Any

from gateway.api.description.operation import Example, Operation

HOST = "http://gateway.invalid"
"""Stands for the address under which the reader sees this gateway."""

_SDK = {
    "openai": ("openai", "OpenAI", f'base_url="{HOST}/v1"'),
    "anthropic": ("anthropic", "Anthropic", f'base_url="{HOST}"'),
}


def samples(operation: Operation) -> list[dict[str, str]]:
    if operation.request_media != "application/json":
        return []
    found = []
    for example in operation.examples or (Example("", {}),):
        label = f": {example.summary}" if example.summary else ""
        found.append({"lang": "Shell", "label": f"curl{label}", "source": _curl(operation, example)})
        if example.call:
            found.append({"lang": "Python", "label": f"Python{label}", "source": _python(operation, example)})
    return found


def _curl(operation: Operation, example: Example) -> str:
    lines = [f"curl {HOST}{operation.path}"]
    if operation.shape == "anthropic":
        lines += ['-H "x-api-key: $WEIGHBRIDGE_KEY"', '-H "anthropic-version: 2023-06-01"']
    elif not operation.is_open:
        lines.append('-H "authorization: Bearer $WEIGHBRIDGE_KEY"')
    if operation.method == "delete":
        lines.append("-X DELETE")
    if operation.request is not None:
        body = json.dumps(example.body, indent=2, ensure_ascii=False).replace("'", "'\\''")
        lines += ['-H "content-type: application/json"', f"-d '{body}'"]
    elif operation.method == "post":
        lines.append("-X POST")
    return " \\\n  ".join(lines)


def _python(operation: Operation, example: Example) -> str:
    module, client, base = _SDK[operation.shape]
    is_stream = example.body.get("stream") is True
    call = f"client.{example.call}(\n{_arguments(example.body)})"
    use = f"for event in {call}:\n    print(event)" if is_stream else f"reply = {call}\nprint(reply)"
    key = 'api_key=os.environ["WEIGHBRIDGE_KEY"]'
    return f"import os\n\nfrom {module} import {client}\n\nclient = {client}({base}, {key})\n{use}"


def _arguments(body: dict[str, Any]) -> str:
    made = ""
    for name, value in body.items():
        text = pprint.pformat(value, width=90, sort_dicts=False).replace("\n", "\n    ")
        made += f"    {name}={text},\n"
    return made
