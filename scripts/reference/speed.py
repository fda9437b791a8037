#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures generation with pol-trainer, llama.cpp, candle, and transformers on the same files, threads, and machine, in turns.

usage: "$(scripts/reference/setup.sh)" scripts/reference/speed.py --out FOLDER [--small] [--shapes …] [--types …] [--check]

A LLaMA of each shape is quantised by llama.cpp. Each program gets that file (transformers the float32 folder, which it can read in
bfloat16 too). A cell reads a prompt of 64, 512, or 4,096 tokens, or of one for depth 0, and writes 64 tokens after it, for one sequence
or eight. candle has positions for 4,096 tokens, so its longest prompt has 4,032. The best of all rounds counts. Results go to
FOLDER/speed.json as they come, so that a run that ends early can be continued, and as a table to standard output. Ratios are ours over
llama.cpp's. --check fails if a ratio misses its goal, or was not measured. The first token, the peak of memory, and the share of the
bandwidth have goals for one sequence after 64 tokens.
"""

import argparse
import itertools
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SHAPES = {
    "135M": None,  # SmolLM2-135M-Instruct, which scripts/setup.sh --model fetches.
    "0.5B": dict(hidden_size=1024, intermediate_size=5120, num_hidden_layers=24, num_attention_heads=16, num_key_value_heads=4),
    "1B": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8),
}
TYPES = ["Q4_0", "Q4_1", "Q4_K_M", "Q8_0", "BF16", "F32"]
PROMPTS, TOKENS, BATCH = [0, 64, 512, 4096], 64, 8
CANDLE_POSITIONS = 4096
# Prompt of the cells with goals for the start, for memory, and for the bandwidth.
SHORT = 64
# Least ratios to llama.cpp, and the least share of the bandwidth.
GOALS = {"prompt_tokens_per_second": 1.0, "tokens_per_second": 1.1, "bandwidth": 0.85}
# Largest ratios. llama.cpp maps the file, which we read and compare with hashes.
LIMITS = {"first_token_seconds": 2.0, "peak_memory": 1.2}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of models and results; some 30 GB for all")
    parser.add_argument("--trainer", default="pol-trainer", help="binary to measure")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES)
    parser.add_argument("--prompts", nargs="+", type=int, default=PROMPTS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=5, help="least duration of a measurement")
    parser.add_argument("--small", action="store_true", help="only SmolLM2 in Q4_1 and Q4_K_M, short prompts, and llama.cpp")
    parser.add_argument("--check", action="store_true", help="fail if a ratio misses its goal, or is missing")
    parser.add_argument("--transformers", nargs=4, metavar=("FOLDER", "DTYPE", "PROMPT", "SEQUENCES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.small:
        options.shapes, options.types, options.prompts, options.rounds = ["135M"], ["Q4_1", "Q4_K_M"], [64], 1
    return options


def run(*command, **more):
    return run_with_peak(*command, **more)[0]


def run_with_peak(*command, **more):
    """Standard output of a program, and its peak memory in bytes."""
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, **more)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed with {child.returncode}")
    return output, usage.ru_maxrss * 1024


def random_model(folder, sizes):
    """Writes a LLaMA of random weights as transformers has it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=49152, max_position_embeddings=8192, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, **sizes)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


class Models:
    """Files of a shape, made when they are asked for and kept in the folder of the run."""

    def __init__(self, options, llama_cpp):
        self.options, self.llama_cpp = options, llama_cpp

    def make(self, path, build):
        if not path.exists():
            print(f"==> making {path}", file=sys.stderr)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            # A run that was interrupted leaves one.
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink(missing_ok=True)
            build(partial)
            partial.rename(path)
        return path

    def trainer(self, *command):
        run(self.options.trainer, "model", *command)

    def imported(self, source, name, *more):
        out = self.options.out / "imported" / name
        return self.make(out, lambda partial: self.trainer("import", source, "--out", partial, *more))

    def whole(self, shape):
        """The float32 model as a folder of ours."""
        smollm2 = self.imported(os.environ["POL_MODEL"], "135M", "--no-pack")
        if SHAPES[shape] is None:
            return smollm2
        source = self.make(self.options.out / "random" / shape, lambda partial: random_model(partial, SHAPES[shape]))
        return self.imported(source, shape, "--no-pack", "--tokenizer", smollm2 / "tokenizer.json")

    def folder(self, shape):
        """The same as a folder of transformers."""
        return self.make(
            self.options.out / "hf" / shape,
            lambda partial: self.trainer("export", self.whole(shape), "--out", partial, "--format", "hf"),
        )

    def gguf(self, shape, kind):
        out = self.options.out / "gguf"
        whole = self.make(
            out / f"{shape}.F32.gguf", lambda partial: self.trainer("export", self.whole(shape), "--out", partial, "--format", "gguf")
        )
        if kind == "F32":
            return whole
        return self.make(out / f"{shape}.{kind}.gguf", lambda partial: run(self.llama_cpp / "llama-quantize", whole, partial, kind))

    def ours(self, shape, kind):
        return self.imported(self.gguf(shape, kind), f"{shape}.{kind}")


def pol(options, model, prompt, sequences):
    cell = ["--prompt", prompt, "--tokens", TOKENS, "--sequences", sequences, "--seconds", options.seconds]
    return json.loads(run(options.trainer, "bench", "--model", model, *cell))


def llama_cpp(programs, file, prompt, sequences):
    """One sequence by llama-bench, several by llama-batched-bench."""
    threads, quiet = os.cpu_count(), dict(stderr=subprocess.DEVNULL)
    if sequences > 1:
        # At depth 0 all programs begin with one token.
        prompt = max(prompt, 1)
        context = sequences * (prompt + TOKENS)
        lines, peak = run_with_peak(
            programs / "llama-batched-bench", "-m", file, "-c", context, "-b", 2048, "-t", threads,
            "-npp", prompt, "-ntg", TOKENS, "-npl", sequences, "--output-format", "jsonl", **quiet,
        )  # fmt: skip
        row = next(json.loads(line) for line in reversed(lines.splitlines()) if line.startswith("{"))
        return {"prompt_tokens_per_second": row["speed_pp"], "tokens_per_second": row["speed_tg"], "peak_memory": peak}
    common, found = [programs / "llama-bench", "-m", file, "-t", threads, "-o", "json"], {}
    if prompt == SHORT:
        # The whole process, which loads the file, and writes one token to warm up and another one.
        start = time.perf_counter()
        run(*common, "-r", 1, "-p", 0, "-n", 1, **quiet)
        found["first_token_seconds"] = time.perf_counter() - start
    if prompt:
        reading = json.loads(run(*common, "-r", 2, "-p", prompt, "-n", 0, **quiet))
        found["prompt_tokens_per_second"] = max(reading[0]["samples_ts"])
    writing, peak = run_with_peak(*common, "-r", 2, "-p", 0, "-n", TOKENS, "-d", prompt, **quiet)
    return found | {"tokens_per_second": max(json.loads(writing)[0]["samples_ts"]), "peak_memory": peak}


def candle(program, file, prompt, options):
    prompt = min(max(prompt, 1), CANDLE_POSITIONS - TOKENS)
    return json.loads(run(program, file, prompt, TOKENS, options.seconds, stderr=subprocess.DEVNULL))


def transformers(options):
    """Measures transformers in this process."""
    import torch
    from transformers import AutoModelForCausalLM

    folder, dtype, prompt, sequences = options.transformers
    prompt, sequences = max(int(prompt), 1), int(sequences)
    torch.set_num_threads(os.cpu_count())
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation="sdpa").eval()
    load = time.perf_counter() - start
    torch.manual_seed(0)
    tokens = torch.randint(0, model.config.vocab_size, (sequences, prompt))
    best = {"prompt_tokens_per_second": 0.0, "tokens_per_second": 0.0}
    end = time.perf_counter() + options.seconds
    with torch.inference_mode():
        while True:
            start = time.perf_counter()
            out = model(tokens, use_cache=True, logits_to_keep=1)
            read, next_tokens = time.perf_counter() - start, out.logits[:, -1].argmax(-1, keepdim=True)
            start = time.perf_counter()
            for _ in range(TOKENS):
                out = model(next_tokens, past_key_values=out.past_key_values, use_cache=True)
                next_tokens = out.logits[:, -1].argmax(-1, keepdim=True)
            written = time.perf_counter() - start
            best["prompt_tokens_per_second"] = max(best["prompt_tokens_per_second"], sequences * prompt / read)
            best["tokens_per_second"] = max(best["tokens_per_second"], sequences * TOKENS / written)
            if time.perf_counter() > end:
                break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"load_seconds": load, "peak_memory": peak, **best}))


def better(old, new):
    """The best of each figure: less of seconds and bytes, more of speeds."""
    lower = ("seconds", "load_seconds", "first_token_seconds", "peak_memory")
    pick = lambda key: (min if key in lower else max)(old.get(key, new[key]), new[key])
    return {key: new[key] if new[key] is None else pick(key) for key in new}


def contestants(options, models, programs, candle_program, shape, kind, prompt, sequences):
    yield "pol", lambda: pol(options, models.ours(shape, kind), prompt, sequences)
    yield "llama.cpp", lambda: llama_cpp(programs, models.gguf(shape, kind), prompt, sequences)
    if options.small:
        return
    if sequences == 1:
        yield "candle", lambda: candle(candle_program, models.gguf(shape, kind), prompt, options)
    if kind in ("F32", "BF16"):
        dtype = "float32" if kind == "F32" else "bfloat16"
        own = [sys.executable, __file__, "--out", options.out, "--seconds", options.seconds, "--transformers"]
        yield "transformers", lambda: json.loads(run(*own, models.folder(shape), dtype, prompt, sequences))


def figures(cell):
    """Key, name, divisor, and decimals of each figure of a cell, and True if it has a goal."""
    _, _, prompt, sequences = cell.split()
    if prompt != "0":
        yield "prompt_tokens_per_second", "reading", 1, 1, True
    yield "tokens_per_second", "writing", 1, 1, True
    if sequences == "x1":
        is_short = prompt == str(SHORT)
        yield "load_seconds", "loading, s", 1, 2, False
        yield "first_token_seconds", "first token, s", 1, 2, is_short
        yield "peak_memory", "peak memory, MB", 1e6, 0, is_short


def print_table(results):
    """A row a figure. Returns the figures that miss a goal, and those that lack a measurement."""
    print("| cell | figure | ours | llama.cpp | candle | transformers | over llama.cpp |\n|---|---|---|---|---|---|---|")
    missed = []
    for cell, all in results.items():
        for figure, name, divisor, decimals, has_goal in figures(cell):
            values = [all.get(other, {}).get(figure) for other in ("pol", "llama.cpp", "candle", "transformers")]
            ratio = values[0] / values[1] if values[0] and values[1] else None
            if has_goal and ratio is None:
                missed.append(f"{cell} {name}: not measured")
            elif has_goal and not GOALS.get(figure, 0) <= ratio <= LIMITS.get(figure, math.inf):
                missed.append(f"{cell} {name}: {ratio:.2f}")
            shown = ["–" if value is None else f"{value / divisor:.{decimals}f}" for value in values]
            print(f"| {cell} | {name} | {' | '.join(shown)} | {'–' if ratio is None else f'{ratio:.2f}'} |")
        ours = all.get("pol", {})
        if not cell.endswith(f" {SHORT} x1"):
            continue
        if ours.get("bytes_per_token") and ours.get("memory_bandwidth"):
            share = ours["bytes_per_token"] * ours["tokens_per_second"] / ours["memory_bandwidth"]
            print(f"| {cell} | share of the bandwidth | {share:.0%} | | | | |")
            if share < GOALS["bandwidth"]:
                missed.append(f"{cell}: {share:.0%} of the bandwidth")
        else:
            missed.append(f"{cell}: bandwidth not measured")
    return missed


def main():
    options = arguments()
    if options.transformers:
        return transformers(options)
    if not Path(os.environ.get("POL_MODEL", "")).is_file():
        sys.exit("speed.py: there is no SmolLM2; run scripts/setup.sh --model and . scripts/env.sh")
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    programs = Path(run(HERE / "llama_cpp.sh").strip())
    candle_program = options.out / "candle" / "release" / "candle-speed"
    if not options.small:
        # A copy, so that nothing is written beside the sources.
        shutil.copytree(HERE / "candle", options.out / "candle-sources", dirs_exist_ok=True)
        flags = os.environ | {"RUSTFLAGS": "-C target-cpu=native", "CARGO_TARGET_DIR": str(options.out / "candle")}
        run("cargo", "build", "--release", "--manifest-path", options.out / "candle-sources" / "Cargo.toml", env=flags)
    models, path = Models(options, programs), options.out / "speed.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for shape in options.shapes:
        for kind in options.types:
            for prompt, sequences in itertools.product(options.prompts, (1, BATCH)):
                all = results.setdefault(f"{shape} {kind} {prompt} x{sequences}", {})
                for _ in range(options.rounds):
                    for name, measure in contestants(options, models, programs, candle_program, shape, kind, prompt, sequences):
                        try:
                            all[name] = better(all.get(name, {}), measure())
                        except (RuntimeError, ValueError, KeyError, StopIteration) as error:
                            print(f"speed.py: {shape} {kind} {prompt} x{sequences}: {name}: {error}", file=sys.stderr)
                path.write_text(json.dumps(results, indent=1))
    missed = print_table(results)
    for cell in missed:
        print(f"misses its goal: {cell}", file=sys.stderr)
    if options.check and missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
