# SPDX-License-Identifier: Apache-2.0
"""Parts of a LLaMA in GGUF, as llama.cpp's converter writes them."""

import gguf
import numpy as np


def interleaved(rows, heads):
    """The order that llama.cpp wants: the two of each rotated pair side by side."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def add_sizes(writer, config, states_head_size):
    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    if states_head_size:
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def add_tensors(writer, config, tensors):
    """Writes matrices in their own precision, and vectors in single precision."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in sorted(tensors.items()):
        if ".q_proj." in name or ".k_proj." in name:
            tensor = interleaved(tensor, heads if ".q_proj." in name else groups)
        tensor = tensor if tensor.ndim == 2 else tensor.astype(np.float32)
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), np.ascontiguousarray(tensor))


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
