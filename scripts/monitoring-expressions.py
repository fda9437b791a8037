# SPDX-License-Identifier: Apache-2.0
"""Evaluates every expression in deploy/grafana and deploy/prometheus by a running Prometheus, and
fails if one names a metric that does not exist there."""

import json
import pathlib
import re
import sys
import urllib.parse
import urllib.request

url = sys.argv[1]
# Parts of an expression that name no metrics: texts, labels in braces or lists, and durations.
NO_METRICS = re.compile(
    r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)')
WORDS = re.compile(r"\b[a-z][a-z0-9_]*\b(?!\s*\()")
OPERATORS = {"and", "or", "unless", "bool", "offset"}


def ask(path, **parameters):
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{query}", timeout=30) as answer:
        return json.load(answer)["data"]


def expressions():
    for rules in ask("rules")["groups"]:
        for rule in rules["rules"]:
            yield f"alert {rule['name']}", rule["query"]
    for path in sorted(pathlib.Path("deploy/grafana/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}, {panel['title']}", target["expr"]
        for variable in dashboard["templating"]["list"]:
            values = re.fullmatch(r"label_values\((\w+), \w+\)", variable.get("definition", ""))
            if values:
                yield f"{path.name}, ${variable['name']}", values[1]


known = set(ask("label/__name__/values"))
count, failures = 0, []
for place, text in expressions():
    count += 1
    text = text.replace("$__rate_interval", "1m").replace("$instance", ".*")
    names = set(WORDS.findall(NO_METRICS.sub(" ", text))) - OPERATORS
    missing = names - known
    if not names or missing:
        failures.append(f"{place}: no metric {', '.join(sorted(missing)) or 'at all'}: {text}")
    try:
        ask("query", query=text)
    except urllib.error.HTTPError as error:
        failures.append(f"{place}: {json.load(error)['error']}: {text}")
print(f"{count} expressions, {len(known)} metrics")
if failures:
    sys.exit("\n".join(failures))
