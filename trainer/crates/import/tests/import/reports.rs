// SPDX-License-Identifier: Apache-2.0

//! Bugs of other importers, as their users reported them. `docs/import.md` lists the reports.

use crate::{ChangedFixture, distance, fixture, gguf, number, open, text_pair, whole_number};
use indicatif::ProgressBar;
use pol_import::{Checkpoint, TensorDisposition, WEIGHTS_FILE};
use pol_primitives::model::{LocalAttention, ModelSpec, PositionEncoding};
use serde_json::json;
use std::fs;
use tch::{Device, Kind, Tensor};

/// Returns the specification and the parameters of a changed fixture.
fn read(changed: &ChangedFixture) -> (ModelSpec, Vec<f32>) {
    let checkpoint = Checkpoint::open(changed.folder.path(), None).unwrap();
    (*checkpoint.spec(), checkpoint.parameters().unwrap())
}

/// candle 3410: queries and keys of all architectures were rotated as those of LLaMA.
#[test]
fn each_architecture_of_gguf_has_its_own_rotation() {
    for name in ["llama", "smollm3", "qwen3", "phi3", "gpt-neox", "falcon"] {
        let file = open(&format!("{name}.gguf"));
        let distance = distance(name, file.spec(), &file.parameters().unwrap());
        assert!(distance < 1e-4, "{name}: logits are {distance} away");
    }
}

/// llama.cpp 24823: short texts were rotated as long ones if the context was long.
#[test]
fn short_texts_have_short_factors() {
    for name in ["phi3-long", "phi3-long.gguf"] {
        let checkpoint = open(name);
        assert_eq!(checkpoint.spec().context, 32, "no text is longer than those of the training");
        let parameters = checkpoint.parameters().unwrap();
        assert!(distance("phi3-long", checkpoint.spec(), &parameters) < 1e-4, "{name}");
        let without = ModelSpec { scaling: None, ..*checkpoint.spec() };
        assert!(distance("phi3-long", &without, &parameters) > 1e-2, "{name}");
    }
}

/// llama.cpp 7709: Phi-3 lost its window, and wrote nonsense after 2,048 tokens.
#[test]
fn phi_3_has_its_window() {
    for name in ["phi3-long", "phi3-long.gguf"] {
        let checkpoint = open(name);
        let window = Some(LocalAttention { window: 7, period: 1, layers: 1 });
        assert_eq!(checkpoint.spec().local, window);
        let everything = ModelSpec { local: None, ..*checkpoint.spec() };
        let parameters = checkpoint.parameters().unwrap();
        assert!(distance("phi3-long", &everything, &parameters) > 1e-2, "{name}");
    }
}

/// llama.cpp 12567: a GPT-2 without `output.weight`, which is the embedding, was refused.
#[test]
fn a_gpt_2_from_gguf_needs_no_output_projection() {
    let names = [
        ("h.", "blk."),
        ("attn.c_attn", "attn_qkv"),
        ("attn.c_proj", "attn_output"),
        ("mlp.c_fc", "ffn_up"),
        ("mlp.c_proj", "ffn_down"),
        ("ln_1", "attn_norm"),
        ("ln_2", "ffn_norm"),
        ("ln_f", "output_norm"),
        ("wte", "token_embd"),
        ("wpe", "position_embd"),
    ];
    let tensors = Tensor::read_safetensors(fixture("gpt2").join(WEIGHTS_FILE)).unwrap();
    let tensors = tensors.into_iter().filter(|(name, _)| !name.ends_with(".attn.bias"));
    let tensors: Vec<_> = tensors
        .map(|(name, tensor)| {
            let is_projection = name.contains(".c_") && name.ends_with(".weight");
            let name = names.iter().fold(name, |name, (from, to)| name.replace(from, to));
            (name, if is_projection { tensor.tr().contiguous() } else { tensor })
        })
        .collect();
    let pairs = [
        text_pair("general.architecture", "gpt2"),
        whole_number("gpt2.block_count", 2),
        whole_number("gpt2.context_length", 32),
        whole_number("gpt2.embedding_length", 16),
        whole_number("gpt2.feed_forward_length", 64),
        whole_number("gpt2.attention.head_count", 4),
        number("gpt2.attention.layer_norm_epsilon", 1e-5),
    ];
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("gpt2.gguf");
    fs::write(&path, gguf(&pairs, &tensors)).unwrap();
    let (file, folder) = (Checkpoint::open(&path, None).unwrap(), open("gpt2"));
    assert_eq!(file.spec(), folder.spec());
    assert_eq!(file.parameters().unwrap(), folder.parameters().unwrap());
}

/// vLLM 7268: LLaMA 3.1 was refused for `rope_freqs.weight`, by which its rotation is scaled.
#[test]
fn divisors_of_the_rotation_are_read() {
    let scratch = tempfile::tempdir().unwrap();
    let file = open("llama-3.1.gguf");
    let parameters = file.parameters().unwrap();
    assert!(distance("llama-3.1", file.spec(), &parameters) < 1e-4);
    let unscaled = ModelSpec { scaling: None, ..*file.spec() };
    assert!(distance("llama-3.1", &unscaled, &parameters) > 1e-4);
    let report = file.save(&scratch.path().join("m"), false, &ProgressBar::hidden()).unwrap();
    let divisors = report.tensors.iter().find(|tensor| tensor.name == "rope_freqs.weight").unwrap();
    assert_eq!(divisors.disposition, TensorDisposition::Skipped);
}

/// vLLM 6758: a file with a copy of the tied head was refused.
#[test]
fn a_copy_of_a_tied_head_is_taken_for_what_it_is() {
    let with_head = |change: fn(&Tensor) -> Tensor| {
        ChangedFixture::new("llama-tied").tensors(|tensors| {
            let head = change(&tensors["model.embed_tokens.weight"]);
            drop(tensors.insert("lm_head.weight".into(), head));
        })
    };
    let tied = open("llama-tied");
    let expected = (*tied.spec(), tied.parameters().unwrap());
    assert_eq!(read(&with_head(Tensor::copy)), expected);
    // Weights that were trained apart are not lost in silence.
    let text = with_head(|embedding| embedding + 1).refusal();
    assert!(text.contains("lm_head.weight differs from model.embed_tokens.weight"), "{text}");
    assert!(text.contains("set tie_word_embeddings to false"), "{text}");
}

/// vLLM 30405: a tied model from GGUF, which has no head, was refused.
#[test]
fn a_tied_model_from_gguf_needs_no_head() {
    let file = open("smollm3.gguf");
    assert!(file.spec().tied);
    let scratch = tempfile::tempdir().unwrap();
    let report = file.save(&scratch.path().join("m"), false, &ProgressBar::hidden()).unwrap();
    assert!(!report.tensors.iter().any(|tensor| tensor.name == "output.weight"));
}

/// vLLM 9502: the base and the context of a Phi-2 were fixed, whatever its config said.
#[test]
fn a_phi_2_with_a_longer_context_is_one() {
    let rope = json!({"rope_theta": 500_000.0, "partial_rotary_factor": 0.5});
    let longer = json!({"max_position_embeddings": 64, "rope_parameters": rope});
    let (spec, _) = read(&ChangedFixture::new("phi").config(longer));
    let positions = PositionEncoding::Rotary { dimensions: 2, base: 500_000, interleaved: false };
    assert_eq!(spec, ModelSpec { context: 64, positions, ..*open("phi").spec() });
}

/// Ollama 5255: a vocabulary without its bytes was imported, and failed when it was used.
#[test]
fn a_vocabulary_that_lacks_a_byte_is_refused_at_the_import() {
    let mut file = fs::read(fixture("tokenizers/llama.gguf")).unwrap();
    let at = file.windows(6).position(|name| name == b"<0x0A>").unwrap();
    file[at..at + 6].copy_from_slice(b"<0x0a>");
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("llama.gguf");
    fs::write(&path, file).unwrap();
    let text = Checkpoint::open(&path, None).err().unwrap().to_string();
    assert!(text.contains("has the byte \"<0x0a>\", which is not one"), "{text}");
}

/// Ollama 8598: heads of a Mistral NeMo were taken for a share of the width.
#[test]
fn heads_may_be_wider_than_their_share() {
    for name in ["mistral", "llama.gguf"] {
        let spec = *open(name).spec();
        assert_eq!((spec.width, spec.heads, spec.head_size), (16, 4, 6), "{name}");
        let PositionEncoding::Rotary { dimensions, .. } = spec.positions else { panic!("{name}") };
        assert_eq!(dimensions, 6, "{name}");
    }
}

/// transformers 38870: if only the head of a tied model was there, the embedding was left random.
#[test]
fn either_of_two_tied_tensors_is_enough() {
    let renamed = |to: Option<&str>| {
        ChangedFixture::new("gpt2").tensors(|tensors| {
            let embedding = tensors.remove("wte.weight").unwrap();
            tensors.extend(to.map(|name| (name.to_owned(), embedding)));
        })
    };
    let gpt2 = open("gpt2");
    let expected = (*gpt2.spec(), gpt2.parameters().unwrap());
    assert_eq!(read(&renamed(Some("lm_head.weight"))), expected);
    assert!(renamed(None).refusal().contains("wte.weight [61, 16] is missing"));
    let empty = renamed(None).tensors(|tensors| {
        let nothing = Tensor::zeros([0], (Kind::Float, Device::Cpu));
        drop(tensors.insert("lm_head.weight".into(), nothing));
    });
    assert!(empty.refusal().contains("is [0], without values"));
}
