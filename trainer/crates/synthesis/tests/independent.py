# SPDX-License-Identifier: Apache-2.0
"""Checks the texts of tasks without any code or data of the crate.

Reads lines of JSON with `family` and `text`, parses the sentences, solves each task in its own way,
and compares the answer. Prints the number of checked tasks, or fails.
"""

import collections
import contextlib
import io
import itertools
import json
import re
import sys

ANSWER = re.compile(
    r"(?:^Answer: |The answer is: |So the answer is: |I see. It is: |Then the answer must be: "
    r"|^Result: |^The result is: |^We find: )(.*?)\.?$", re.M)
OPENING = re.compile(
    r"(?=^Q: |^Exercise \d+\. |^Student: (?!So the answer|I see|Then the answer)|^User: )", re.M)
FACTS = [
    ("is at home", "is not at home"), ("is asleep", "is awake"),
    ("likes tea", "does not like tea"), ("plays chess", "does not play chess"),
    ("owns a bicycle", "owns no bicycle"), ("speaks Greek", "speaks no Greek"),
    ("has the key", "does not have the key"), ("works today", "does not work today"),
    ("can swim", "cannot swim"), ("wears a hat", "wears no hat"),
    ("lives in town", "lives out of town"), ("sings in the choir", "does not sing in the choir"),
]


def exact(text, **names):
    text = text.replace("×", "*").replace("÷", "/").replace("²", "**2").replace("^", "**")
    text = re.sub(r"(?<=[\dxy)])(?=[xy(])", "*", text)
    assert re.fullmatch(r"[-+*/() 0-9xy]+", text), text
    return eval(text.replace("/", "//"), {}, names)


def equations(text, **names):
    """The equations of a text, with their truth."""
    sign = r"[-+*/×÷²^()0-9xy ]*"
    for found in re.findall(rf"(?:{sign}=)+{sign}", text):
        sides = [exact(side.strip(), **names) for side in found.strip().split("=")]
        yield found, all(side == sides[0] for side in sides)


def arithmetic(text, answer):
    question = text.split("\n")[0]
    body = re.sub(r"(Step \d+: |Teacher: )", "\n", text)
    found = list(equations(body))
    assert found and all(holds for _, holds in found), found
    numbers = [int(number) for number in re.findall(r"\d+", question)]
    if "remainder" in answer or "divisor" in question or "divides" in question:
        a, b = numbers
        if "How often" in question:
            a, b = b, a
        if "remainder" in answer:
            assert answer == f"{a // b} remainder {a % b}", answer
        else:
            while b:
                a, b = b, a % b
            assert answer == str(a)
    else:
        asked = re.search(r"[-+*/×÷²^() ]*\d[-+*/×÷²^()0-9 ]*(?=[.?]$)", question)[0]
        assert exact(asked.strip()) == int(answer), (asked, answer)


def algebra(text, answer):
    question = text.split("\n")[0]
    sign = r"[-+*/×÷²^()0-9xy ]*"
    asked = [found for found in re.findall(rf"{sign}={sign}", question) if "x" in found]
    solutions = [{name: int(value) for name, value in re.findall(r"(\w) = (-?\d+)", one)}
                 for one in answer.split(" or ")]
    steps = re.sub(ANSWER, "", re.sub("Step|Teacher|Student", "\n", text[len(question):]))
    for names in solutions:
        for equation in asked:
            left, right = equation.split("=")
            assert exact(left.strip(), **names) == exact(right.strip(), **names), (equation, names)
        for equation, holds in equations(re.sub(r"\d+: ", "", steps), **names):
            assert holds, (equation, names)
    if len(asked) == 1:
        near = range(-1300, 1300)
        left, right = (compile(re.sub(r"(?<=[\d)])(?=[x(])", "*", side.replace("²", "**2")
                                      .replace("^", "**").strip()), "", "eval")
                       for side in asked[0].split("="))
        roots = [x for x in near if eval(left, {"x": x}) == eval(right, {"x": x})]
        assert roots == sorted(names["x"] for names in solutions), (asked, roots)


def logic(text, answer):
    atoms = {}
    for name, yes in re.findall(r"whether ([A-Z]\w+) ([^,.]+?)(?=,| or whether|\.)", text):
        number = len(atoms) // 2
        atoms[f"{name} {yes}"] = number, True
        atoms[f"{name} {dict(FACTS)[yes]}"] = number, False
    literal = "(" + "|".join(sorted(map(re.escape, atoms), key=len, reverse=True)) + ")"
    forms = [
        (rf"if {literal} and {literal}, then {literal}", lambda a, b, c: not (a and b) or c),
        (rf"if {literal}, then {literal}", lambda a, b: not a or b),
        (rf"{literal} whenever {literal}", lambda a, b: a or not b),
        (rf"{literal}, provided that {literal}", lambda a, b: a or not b),
        (rf"at least one of these holds: {literal}, {literal} or {literal}",
         lambda *all: any(all)),
        (rf"either {literal} or {literal}, but not both", lambda a, b: a != b),
        (rf"{literal} if and only if {literal}", lambda a, b: a == b),
    ]
    premises = []
    for line in re.findall(r"^\(\d+\) (.*)\.$", text, re.M):
        for form, rule in forms:
            found = re.fullmatch(form, line) or re.fullmatch(form, line[0].lower() + line[1:])
            if found:
                premises.append((rule, [atoms[said] for said in found.groups()]))
                break
        else:
            raise AssertionError(line)
    asked = atoms[re.search(rf"{literal}\?", text)[1]]
    seen = set()
    for row in itertools.product([False, True], repeat=len(atoms) // 2):
        if all(rule(*(row[atom] == holds for atom, holds in said)) for rule, said in premises):
            seen.add(row[asked[0]] == asked[1])
    expected = {(True,): "yes, it must be true", (False,): "no, it must be false"}
    assert answer == expected.get(tuple(seen), "it cannot be decided") and seen, answer


def lists(text, answer):
    question = text.split("\n")[0]
    values = json.loads(re.search(r"\[.*?\]", question)[0])
    told = re.search(r"\]\. First (.*?)\. ", question)[1]
    for step in told.split(", then "):
        number = int((re.findall(r"\d+", step) or [0])[0])
        if re.match("sort", step):
            values = sorted(values)
        elif re.match("reverse|write the list backwards", step):
            values = values[::-1]
        elif re.match("keep only the numbers greater|remove every number", step):
            values = [value for value in values if value > number]
        elif re.match("keep only the even|remove all odd", step):
            values = [value for value in values if value % 2 == 0]
        elif re.match("remove repeated|drop duplicates", step):
            values = list(dict.fromkeys(values))
        elif re.match("add|increase", step):
            values = [value + number for value in values]
        elif re.match("multiply|replace each", step):
            values = [value * number for value in values]
        elif re.match("rotate|move", step):
            values = values[number % max(len(values), 1):] + values[:number % max(len(values), 1)]
        elif re.match("keep the first|cut", step):
            values = values[:number]
        else:
            raise AssertionError(step)
    if re.search("many elements|How long", question):
        expected = len(values)
    elif re.search("sum|Add up", question):
        expected = sum(values)
    elif re.search("By how much|difference", question):
        expected = max(values) - min(values)
    elif re.search("largest", question):
        expected = max(values)
    else:
        expected = values
    assert answer == str(expected), (answer, expected)


def programs(text, answer):
    if "```rust" in text:
        # The calling test compiles and runs these.
        print(json.dumps([re.search(r"```rust\n(.*?)```", text, re.S)[1], answer]))
        return
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(re.search(r"```python\n(.*?)```", text, re.S)[1], {})
    assert answer == ", then ".join(output.getvalue().split("\n")[:-1]), answer


def graphs(text, answer):
    if "km" in text:
        roads = {frozenset((a, b)): int(length) for a, b, length in
                 re.findall(r"^(\w+) and (\w+): (\d+) km$", text, re.M)}
        path, length = answer.rsplit(", ", 1)
        path = path.split(" - ")
        towns = {town for road in roads for town in road}
        distance = collections.defaultdict(lambda: 10**9, {path[0]: 0})
        for _ in towns:
            for road, size in roads.items():
                for a, b in itertools.permutations(road):
                    distance[b] = min(distance[b], distance[a] + size)
        walked = sum(roads[frozenset(pair)] for pair in zip(path, path[1:]))
        assert f"{walked} km" == length and distance[path[-1]] == walked, answer
    elif "colours" in text:
        borders = re.findall(r"^(\w+) - (\w+)$", text, re.M)
        number, colouring = answer.split(" colours: ")
        colours = dict(one.split(" ") for one in colouring.split(", "))
        assert all(colours[a] != colours[b] for a, b in borders)
        assert len(set(colours.values())) == int(number)
        names = sorted({name for border in borders for name in border})
        for fewer in itertools.product(range(int(number) - 1), repeat=len(names)):
            chosen = dict(zip(names, fewer))
            assert any(chosen[a] == chosen[b] for a, b in borders), "fewer colours suffice"
    else:
        jobs = re.findall(r"[A-Z]\d\d", re.search(r"The jobs (.*?) are to be done", text)[1])
        question = text.split("?")[0].split("\n")[0]
        waits = set(re.findall(r"(\w+) must be done before (\w+)\.", question))
        waits |= {(b, a) for a, b in
                  re.findall(r"(\w+) (?:can start only after|waits for) (\w+)\.", question)}
        order = []
        while True:
            ready = [job for job in jobs if job not in order
                     and all(a in order for a, b in waits if b == job)]
            if not ready:
                break
            order.append(ready[0])
        expected = ", ".join(order) if len(order) == len(jobs) else "there is no such order"
        assert answer == expected, (answer, expected)


def planning(text, answer):
    if "ferryman" in text:
        things = re.findall(r"[A-Z]\d\d", re.search(r"the barrels (.*?) over", text)[1])
        places = int(re.search(r"most (\d+) of", text)[1])
        rule = re.search(r"of them\. (.*?)\. ", text)[1]
        danger = re.findall(r"(\w+) with (\w+)", rule)
        banks = [set(things), set()]
        for at, crossing in enumerate(re.split(", then ", answer)):
            here, there = banks[at % 2], banks[1 - at % 2]
            board = set(re.findall(r"[A-Z]\d\d", crossing))
            assert crossing.endswith(["over", "back"][at % 2])
            assert board <= here and len(board) <= places
            here -= board
            there |= board
            assert not any({a, b} <= here for a, b in danger)
        assert not banks[0]
        return

    def stacks(said):
        return sorted(re.findall(r"[A-Z]\d\d", stack) for stack in said.split(";"))
    start = stacks(re.search(r"(?:these stacks|as follows): (.*?)\. ", text)[1])
    goal = stacks(re.search(r"(?:to these stacks|to this state): (.*?)\.$", text, re.M)[1])
    for move in answer.split(", then "):
        thing, *onto = re.findall(r"[A-Z]\d\d", move)
        source = next(stack for stack in start if stack[-1] == thing)
        target = next((stack for stack in start if onto and stack[-1] == onto[0]), None)
        assert bool(onto) == (target is not None)
        source.pop()
        (target.append(thing) if target else start.append([thing]))
        start = [stack for stack in start if stack]
    assert sorted(start) == goal, (start, goal)


def told(question):
    """The number after each event of a story."""
    number = int(re.search(r"\d+", question)[0])
    events = re.split(r"(?:Then|After that,|Next,|Later) ", question)[1:]
    for event in events:
        numbers = [int(found) for found in re.findall(r"\d+", event)]
        if len(numbers) == 2:
            number += numbers[0] * numbers[1]
        elif "times as many" in event:
            number *= numbers[0]
        elif re.search("shared|splits", event):
            assert number % numbers[0] == 0
            number //= numbers[0]
        elif re.search("gives away|lost|sells|used up", event):
            number -= numbers[0]
        else:
            number += numbers[0]
        yield number


def reasoning(text, answer):
    question = re.sub(r"^(Exercise \d+\. |\w+: )", "", text.split("\n")[0])
    pairs = re.findall(r"(\w+) ((?:is (?:tall|short|old|young)er|ran (?:fast|slow)er) than"
                       r"|arrived (?:before|after)) (\w+)\.", question)
    if not pairs:
        assert str(list(told(question))[-1]) == answer
        steps = re.sub(r"Step \d+: ", "", text.split("\n", 1)[1])
        assert all(holds for _, holds in equations(steps))
        return
    below = {(b, a) if re.search("shorter|younger|after|slower", how) else (a, b)
             for a, how, b in pairs}
    names = sorted({name for pair in below for name in pair})
    orders = [[]]
    for _ in names:
        orders = [order + [name] for order in orders for name in names if name not in order
                  and all(a in order for a, b in below if b == name)]
    assert len(orders) == 1
    place = int(re.search(r"(?:number|place) (\d+)", question)[1])
    assert orders[0][place - 1] == answer


def mistakes(text, answer):
    question = re.sub(r"^(Exercise \d+\. |\w+: )", "", text.split("\n")[0])
    lines = re.findall(r"^\(\d+\) (.*)$", text, re.M)
    lines = lines[:len(list(told(question)))]
    wrong = [at for at, line in enumerate(lines, 1) if not all(h for _, h in equations(line))]
    assert len(wrong) == 1 and len(lines) > 1, lines
    assert answer == f"step {wrong[0]} is wrong, and the right result is {list(told(question))[-1]}"


def tasks(text):
    """The tasks of a document: each ends with the part that the layout puts last."""
    parts = [part for part in OPENING.split(text) if part.strip()]
    if len(parts) > 1 or OPENING.match(text):
        # In a conversation the second speaker belongs to the same task.
        return parts
    pieces, current = [], ""
    for block in re.split(r"(?<=\n)\n", text):
        current += block + "\n"
        done = re.search(r"^Answer: ", current, re.M)
        if done and (re.search(r"^Step 1: .*\n(.*\n)*Answer: ", current, re.M)
                     or re.search(r"^(Reason:|Because:|This is why:|Working:) ", current, re.M)):
            pieces.append(current)
            current = ""
    assert not current.strip(), current
    return pieces


def main():
    count = 0
    for line in sys.stdin:
        document = json.loads(line)
        for text in tasks(document["text"]):
            answers = ANSWER.findall(text)
            assert len(answers) == 1, (answers, text)
            bare = re.sub(r"^(Q|Student|User): |^Exercise \d+\. ", "", text)
            try:
                globals()[document["family"]](bare, answers[0])
            except Exception:
                print(text, file=sys.stderr)
                raise
            count += 1
    print(count)


main()
