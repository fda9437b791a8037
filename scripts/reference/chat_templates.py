#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Renders chat templates as Transformers does, and writes or compares the texts.

usage: python3 scripts/reference/chat_templates.py FOLDER > FOLDER/expected.json

FOLDER has templates (*.jinja). The result is a list of {template, messages, tools, text}; text is null
where the template refuses the conversation. Jinja2 is set up as by Transformers 4.57: in
`utils/chat_template_utils.py`, trimmed blocks, loop controls, Python's JSON, and two functions.
"""
import json
import sys
from pathlib import Path

import jinja2
import jinja2.ext
import jinja2.sandbox

BEGIN, END = "<s>", "</s>"
CALL = {"id": "abcdefgh2", "type": "function",
        "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 2, "deep": [1.5, None]}}}
TOOLS = [
    {"type": "function", "function": {
        "name": "weather", "description": "Tells the \"weather\" <here>.",
        "parameters": {"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string"}, "days": {"type": "integer", "default": 1}}}}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]


def say(role, content, **more):
    return {"role": role, "content": content, **more}


CONVERSATIONS = [
    ([say("user", "Hi, 'you' & <me>")], []),
    ([say("system", " Be brief. "), say("user", " Hi\n"), say("assistant", "Ho "), say("user", "Why?")], []),
    ([say("user", "Weather?")], TOOLS),
    ([say("system", "Be brief."), say("user", "Weather?"),
      say("assistant", "", tool_calls=[CALL]), say("tool", "{\"rain\": true}", tool_call_id=CALL["id"])], TOOLS),
    ([say("user", "Both?"), say("assistant", "Well.", tool_calls=[CALL, {**CALL, "id": "abcdefgh3"}]),
      say("tool", "wet", tool_call_id="abcdefgh2"), say("tool", "dry", tool_call_id="abcdefgh3"),
      say("assistant", "It depends."), say("user", "Thanks")], TOOLS),
    ([say("user", "1"), say("user", "2")], []),
    ([say("user", "Think"), say("assistant", "<think>a</think>\n\nb"), say("user", "And?")], []),
]


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: "26 Jul 2024"
    return env


def main():
    rendered = []
    for path in sorted(Path(sys.argv[1]).glob("*.jinja")):
        template = environment().from_string(path.read_text())
        for messages, tools in CONVERSATIONS:
            try:
                text = template.render(messages=messages, tools=tools or None, documents=None,
                                       add_generation_prompt=True, bos_token=BEGIN, eos_token=END)
            except (jinja2.exceptions.TemplateError, TypeError):
                text = None
            rendered.append({"template": path.stem, "messages": messages, "tools": tools, "text": text})
    json.dump(rendered, sys.stdout, ensure_ascii=False, indent=1)
    print()


main()
