# SPDX-License-Identifier: Apache-2.0
"""Writes a tiny random checkpoint of GPT-2 with a tokenizer of bytes and turns of conversations."""
import json, pathlib, random, struct, sys

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
vocabulary, width, layers, context = 259, 32, 2, 4096
(folder / "config.json").write_text(json.dumps({
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": vocabulary,
    "n_embd": width, "n_layer": layers, "n_head": 4, "n_positions": context, "n_ctx": context,
    "n_inner": 4 * width, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    "bos_token_id": 256, "eos_token_id": 256, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False,
    "tie_word_embeddings": True,
}))

shapes = {"wte.weight": (vocabulary, width), "wpe.weight": (context, width),
          "ln_f.weight": (width,), "ln_f.bias": (width,)}
for layer in range(layers):
    block = {"ln_1.weight": (width,), "ln_1.bias": (width,), "ln_2.weight": (width,),
             "ln_2.bias": (width,), "attn.c_attn.weight": (width, 3 * width),
             "attn.c_attn.bias": (3 * width,), "attn.c_proj.weight": (width, width),
             "attn.c_proj.bias": (width,), "mlp.c_fc.weight": (width, 4 * width),
             "mlp.c_fc.bias": (4 * width,), "mlp.c_proj.weight": (4 * width, width),
             "mlp.c_proj.bias": (width,)}
    shapes.update({f"h.{layer}.{name}": shape for name, shape in block.items()})
draw, header, data = random.Random(1), {}, b""
for name, shape in sorted(shapes.items()):
    size = 1
    for length in shape:
        size *= length
    norm = name.endswith("weight") and "ln_" in name
    values = [1.0 if norm else draw.gauss(0, 0.2) for _ in range(size)]
    part = struct.pack(f"<{size}f", *values)
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
    data += part
text = json.dumps(header).encode()
(folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)

letters, extra = {}, 256
for byte in range(256):
    if 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte:
        letters[chr(byte)] = byte
    else:
        letters[chr(extra)] = byte
        extra += 1
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
(folder / "tokenizer.json").write_text(json.dumps({
    "version": "1.0", "pre_tokenizer": level, "decoder": level,
    "added_tokens": [{"id": 256 + number, "content": content, "special": True, "lstrip": False,
                      "rstrip": False, "single_word": False, "normalized": False}
                     for number, content in enumerate(special)],
    "model": {"type": "BPE", "vocab": letters, "merges": []},
}))
