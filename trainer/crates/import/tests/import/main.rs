// SPDX-License-Identifier: Apache-2.0

//! Checkpoints written by the reference implementation are imported to the same function.
//! Contradictory checkpoints are refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hub;
mod real;

use indicatif::ProgressBar;
use pol_import::{
    Checkpoint, ImportError, ImportReport, REPORT_FILE, TOKENIZER_FILE, TensorDisposition,
    WEIGHTS_FILE, describe, load,
};
use pol_model::{Decoder, Layout, Weights};
use pol_primitives::model::{
    Activation, Biases, LocalAttention, ModelSpec, Norm, PositionEncoding,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tch::{Kind, Tensor};

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&fixture(name), None).unwrap()
}

/// Returns the largest difference between the logits of `parameters` and the reference's for the
/// fixture `name`.
fn distance(name: &str, spec: &ModelSpec, parameters: &[f32]) -> f64 {
    let reference: BTreeMap<_, _> =
        Tensor::read_safetensors(fixture(name).join("reference.safetensors"))
            .unwrap()
            .into_iter()
            .collect();
    let weights = Weights::new(&Layout::new(spec).unwrap(), parameters).unwrap();
    let logits = Decoder::new(spec).unwrap().logits(&weights, &reference["tokens"]).unwrap();
    let difference = logits.view_as(&reference["logits"]) - &reference["logits"];
    assert!(
        reference["logits"].abs().max().double_value(&[]) > 1.0,
        "the reference has no logits above 1"
    );
    difference.abs().max().double_value(&[])
}

#[test]
fn every_family_computes_what_the_reference_does() {
    for name in ["gpt2", "dialogpt", "gpt-neo", "gpt-j", "llama", "llama-tied", "llama-biased"] {
        let checkpoint = open(name);
        let distance = distance(name, checkpoint.spec(), &checkpoint.parameters().unwrap());
        assert!(distance < 1e-4, "{name}: logits are {distance} away");
    }
}

#[test]
fn specifications_are_derived() {
    let gpt2 = ModelSpec::gpt2(61, 16, 2, 4, 64, 32);
    assert_eq!(*open("gpt2").spec(), gpt2);
    assert_eq!(*open("dialogpt").spec(), ModelSpec { feed_forward: 40, ..gpt2 });
    let biases =
        Biases { query_key_value: false, attention_output: true, feed_forward: true, head: false };
    let local = Some(LocalAttention { window: 5, period: 2, layers: 0b10 });
    let neo = ModelSpec { layers: 4, feed_forward: 32, local, scaled: false, biases, ..gpt2 };
    assert_eq!(*open("gpt-neo").spec(), neo);
    let spec = *open("gpt-j").spec();
    assert_eq!(
        spec.positions,
        PositionEncoding::Rotary { dimensions: 4, base: 10_000, interleaved: true }
    );
    assert!(spec.parallel && !spec.tied && spec.biases.head && !spec.biases.query_key_value);
    let spec = *open("llama").spec();
    assert_eq!(
        (spec.heads, spec.key_value_heads, spec.head_size, spec.gated, spec.tied),
        (4, 2, 6, true, false)
    );
    assert_eq!((spec.norm, spec.activation), (Norm::Rms { epsilon: 1_000 }, Activation::Silu));
    let rotary =
        |dimensions, base| PositionEncoding::Rotary { dimensions, base, interleaved: false };
    assert_eq!(spec.positions, rotary(6, 10_000));
    let tied = *open("llama-tied").spec();
    assert_eq!((tied.positions, tied.tied, tied.head_size), (rotary(4, 100_000), true, 4));
    let all =
        Biases { query_key_value: true, attention_output: true, feed_forward: true, head: false };
    assert_eq!(open("llama-biased").spec().biases, all);
}

#[test]
fn gguf_gives_the_same_model() {
    for name in ["llama", "gpt2"] {
        let (folder, file) = (open(name), open(&format!("{name}.gguf")));
        assert_eq!(folder.spec(), file.spec());
        assert_eq!(folder.parameters().unwrap(), file.parameters().unwrap(), "{name}");
    }
}

#[test]
fn a_folder_is_written_and_read() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("models/llama");
    let checkpoint = open("llama.gguf").with_source("somewhere".into());
    let report = checkpoint.save(&out, false, &ProgressBar::hidden()).unwrap();
    let parameters = checkpoint.parameters().unwrap();
    let model = load(&out).unwrap();
    assert_eq!((&model.parameters, &model.spec), (&parameters, checkpoint.spec()));
    let bytes: Vec<u8> = parameters.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(model.root, *blake3::hash(&bytes).as_bytes());
    assert_eq!(
        (&model.report, report.source.as_str(), report.parameters),
        (&report, "somewhere", parameters.len() as u64)
    );
    assert_eq!(describe(&out).unwrap(), (model.spec, report.clone()));
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    assert_eq!((report.special.begin, report.special.end.as_slice()), (Some(0), [0].as_slice()));
    // libtorch's reader of safetensors reads the file too.
    let tensors: BTreeMap<_, _> =
        Tensor::read_safetensors(out.join(WEIGHTS_FILE)).unwrap().into_iter().collect();
    let embedding = Vec::<f32>::try_from(tensors["wte.weight"].reshape([-1])).unwrap();
    assert_eq!(embedding, parameters[..61 * 16]);
    // The tokenizer is of GPT-2's kind: pairs merge in the order of training, digits are separate.
    let tokenizer = tokenizers::Tokenizer::from_bytes(model.tokenizer.as_ref().unwrap()).unwrap();
    let encoded = tokenizer.encode("the an.12<|endoftext|>", true).unwrap();
    assert_eq!(encoded.get_tokens(), ["the", "Ġ", "an", ".", "1", "2", "<|endoftext|>"]);
    assert_eq!(tokenizer.decode(encoded.get_ids(), true).unwrap(), "the an.12");
    // A changed model has another root.
    let mut model = model;
    model.parameters[7] += 1.0;
    let changed = model.save(&scratch.path().join("changed"), false).unwrap();
    assert_ne!(changed.root, report.root);
    assert_eq!(load(&scratch.path().join("changed")).unwrap().parameters, model.parameters);
}

#[test]
fn a_folder_is_replaced_only_when_forced() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("model");
    let save = |name: &str, force| open(name).save(&out, force, &ProgressBar::hidden());
    save("gpt2", false).unwrap();
    assert!(matches!(save("llama", false), Err(ImportError::Exists(_))));
    assert_eq!(describe(&out).unwrap().1.family, "gpt2");
    save("llama", true).unwrap();
    assert_eq!(describe(&out).unwrap().1.family, "llama");
    // A folder that is not an import is never deleted.
    let own = scratch.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("thesis.txt"), "years").unwrap();
    assert!(matches!(
        open("gpt2").save(&own, true, &ProgressBar::hidden()),
        Err(ImportError::Exists(_))
    ));
    assert!(own.join("thesis.txt").is_file());
    let left: Vec<_> =
        fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_damaged_folder_is_not_loaded() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("model");
    let restore = || drop(open("llama.gguf").save(&out, true, &ProgressBar::hidden()).unwrap());
    restore();
    let mut weights = fs::read(out.join(WEIGHTS_FILE)).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(out.join(WEIGHTS_FILE), &weights).unwrap();
    assert!(load(&out).unwrap_err().to_string().contains("hash to another root"));
    restore();
    fs::write(out.join(TOKENIZER_FILE), "{}").unwrap();
    assert!(
        load(&out).unwrap_err().to_string().contains("tokenizer.json hashes to something else")
    );
    restore();
    fs::write(
        out.join("spec.json"),
        serde_json::to_vec(&ModelSpec::gpt2(61, 16, 2, 4, 64, 32)).unwrap(),
    )
    .unwrap();
    assert!(load(&out).unwrap_err().to_string().contains("spec.json asks for"));
    fs::remove_file(out.join(REPORT_FILE)).unwrap();
    assert!(load(&out).unwrap_err().to_string().contains("not an imported model"));
}

#[test]
fn the_report_has_the_disposition_of_every_tensor() {
    let scratch = tempfile::tempdir().unwrap();
    let dispositions =
        |name: &str| -> (ImportReport, BTreeMap<String, (TensorDisposition, Option<String>)>) {
            let report =
                open(name).save(&scratch.path().join(name), false, &ProgressBar::hidden()).unwrap();
            let dispositions = report
                .tensors
                .iter()
                .map(|tensor| (tensor.name.clone(), (tensor.disposition, tensor.to.clone())));
            (report.clone(), dispositions.collect())
        };
    let (_, gpt2) = dispositions("gpt2");
    assert_eq!(gpt2["h.0.attn.bias"], (TensorDisposition::Skipped, None));
    assert_eq!(
        gpt2["h.1.attn.c_attn.weight"],
        (TensorDisposition::Mapped, Some("h.1.attn.c_attn.weight".into()))
    );
    assert_eq!(dispositions("dialogpt").1["lm_head.weight"].0, TensorDisposition::Skipped);
    let (report, llama) = dispositions("llama");
    assert_eq!(
        llama["model.layers.1.self_attn.v_proj.weight"],
        (TensorDisposition::FusedTransposed, Some("h.1.attn.c_attn.weight".into()))
    );
    assert_eq!(
        llama["model.layers.0.mlp.down_proj.weight"],
        (TensorDisposition::Transposed, Some("h.0.mlp.c_proj.weight".into()))
    );
    assert!(report.notes.iter().any(|note| note.contains("without a tokenizer")));
    assert_eq!(
        dispositions("llama-biased").1["model.layers.0.self_attn.q_proj.bias"].0,
        TensorDisposition::Fused
    );
    let (report, _) = dispositions("llama.gguf");
    let queries =
        report.tensors.iter().find(|tensor| tensor.name == "blk.0.attn_q.weight").unwrap();
    assert!(queries.note.as_ref().unwrap().contains("half-split"));
    assert_eq!(report.tensors.len(), llama.len());
}

#[test]
fn encodings_are_decoded_as_their_authors_do() {
    use pol_import::files::{DiskFile, gguf};
    let (_, table) =
        gguf::read(Box::new(DiskFile::open(&fixture("encodings.gguf")).unwrap())).unwrap();
    let expected: BTreeMap<_, _> =
        Tensor::read_safetensors(fixture("encodings.safetensors")).unwrap().into_iter().collect();
    assert_eq!(table.entries().len(), 11);
    for (name, entry) in table.entries() {
        let values = table.decode(entry).unwrap();
        let expected = Vec::<f32>::try_from(expected[name].reshape([-1])).unwrap();
        assert_eq!(values.len(), expected.len());
        for (value, expected) in values.iter().zip(&expected) {
            assert!(
                (value - expected).abs() <= 1e-6 * expected.abs().max(1e-3),
                "{name}: {value} is not {expected}"
            );
        }
    }
}

/// A changed copy of a fixture.
struct ChangedFixture {
    folder: tempfile::TempDir,
}

impl ChangedFixture {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(fixture(name)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        Self { folder }
    }

    fn config(self, changes: Value) -> Self {
        let path = self.folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        fs::write(path, serde_json::to_vec(&config).unwrap()).unwrap();
        self
    }

    fn tensors(self, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> Self {
        let path = self.folder.path().join(WEIGHTS_FILE);
        let mut tensors = Tensor::read_safetensors(&path).unwrap().into_iter().collect();
        change(&mut tensors);
        Tensor::write_safetensors(&tensors.into_iter().collect::<Vec<_>>(), path).unwrap();
        self
    }

    fn refusal(self) -> String {
        let decoded = Checkpoint::open(self.folder.path(), None)
            .and_then(|checkpoint| checkpoint.parameters());
        decoded.expect_err("it was accepted").to_string()
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let refusal = |change: fn(&mut BTreeMap<String, Tensor>)| {
        ChangedFixture::new("llama-biased").tensors(change).refusal()
    };
    let text = refusal(|tensors| drop(tensors.remove("model.layers.1.mlp.up_proj.weight")));
    assert!(text.contains("model.layers.1.mlp.up_proj.weight [24, 16] is missing"), "{text}");
    let text =
        refusal(|tensors| {
            drop(tensors.insert(
                "score.weight".into(),
                Tensor::zeros([2, 16], (Kind::Float, tch::Device::Cpu)),
            ))
        });
    assert!(text.contains("tensor score.weight that the llama family has no place for"), "{text}");
    let text = refusal(|tensors| {
        drop(tensors.insert(
            "model.norm.weight".into(),
            Tensor::zeros([17], (Kind::Float, tch::Device::Cpu)),
        ))
    });
    assert!(
        text.contains("model.norm.weight is [17] where") && text.contains("asks for [16]"),
        "{text}"
    );
    let text = refusal(|tensors| {
        let _ =
            tensors.get_mut("model.layers.0.self_attn.k_proj.bias").unwrap().get(3).fill_(f64::NAN);
    });
    assert!(
        text.contains("model.layers.0.self_attn.k_proj.bias has the value NaN at index 3"),
        "{text}"
    );
    let text = refusal(|tensors| {
        drop(tensors.insert(
            "model.norm.weight".into(),
            Tensor::ones([16], (Kind::Int64, tch::Device::Cpu)),
        ))
    });
    assert!(text.contains("model.norm.weight is of type I64"), "{text}");
    // A truncated file.
    let changed = ChangedFixture::new("gpt2");
    let path = changed.folder.path().join(WEIGHTS_FILE);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let text = changed.refusal();
    assert!(text.contains("cut short"), "{text}");
    // A head that differs from the embedding it is tied to.
    let text = ChangedFixture::new("dialogpt")
        .tensors(|tensors| drop(tensors.get_mut("lm_head.weight").unwrap().get(0).fill_(9.0)))
        .refusal();
    assert!(text.contains("lm_head.weight differs from transformer.wte.weight"), "{text}");
}

#[test]
fn configs_that_do_not_fit_are_explained() {
    let refusal = |name: &str, changes: Value| ChangedFixture::new(name).config(changes).refusal();
    for (name, changes, says) in [
        ("gpt2", json!({"n_embd": 20}), "wte.weight is [61, 16] where"),
        ("gpt2", json!({"n_layer": 3}), "h.2.ln_1.weight [16] is missing"),
        ("gpt2", json!({"n_layer": 1}), "h.1.attn.c_attn.bias"),
        ("gpt2", json!({"n_head": 3}), "not a multiple of the 3 heads"),
        ("gpt2", json!({"n_layer": 70_000}), "beyond what a model can have"),
        ("gpt2", json!({"n_layer": 60_000}), "cannot be built"),
        ("gpt2", json!({"n_layer": -1}), "n_layer is -1, not a size"),
        ("gpt2", json!({"vocab_size": 62}), "asks for [62, 16]"),
        ("gpt2", json!({"tie_word_embeddings": false}), "lm_head.weight [61, 16] is missing"),
        ("gpt2", json!({"activation_function": "relu"}), "the activation 'relu'"),
        (
            "gpt2",
            json!({"scale_attn_by_inverse_layer_idx": true}),
            "scale_attn_by_inverse_layer_idx",
        ),
        ("gpt2", json!({"layer_norm_epsilon": 1e-12}), "not a multiple of a billionth"),
        ("gpt2", json!({"model_type": "bert"}), "the architecture 'bert'"),
        ("gpt2", json!({"model_type": null}), "no model_type"),
        ("gpt-neo", json!({"attention_layers": ["global"]}), "names 1 blocks, num_layers 4"),
        ("gpt-neo", json!({"attention_layers": ["global", "local", "global", "flash"]}), "flash"),
        (
            "gpt-neo",
            json!({"attention_layers": null, "attention_types": [[["global"], 1_000_000_000]]}),
            "attention_types",
        ),
        (
            "gpt-neo",
            json!({
                "num_layers": u32::MAX,
                "attention_layers": null,
                "attention_types": [[["global"], u32::MAX]],
            }),
            "beyond what",
        ),
        ("gpt-j", json!({"rotary_dim": null}), "rotary_dim null"),
        ("gpt-j", json!({"rotary_dim": 5}), "rotary dimensions must be even"),
        ("llama-biased", json!({"attention_bias": false}), "k_proj.bias"),
        ("llama-biased", json!({"num_key_value_heads": 3}), "must divide the heads"),
        ("llama-biased", json!({"num_key_value_heads": 4}), "k_proj.weight is [8, 16] where"),
        (
            "llama-biased",
            json!({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}),
            "rope scaling of type 'llama3'",
        ),
        (
            "llama-biased",
            json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
            "rope scaling of type 'linear'",
        ),
        (
            "llama-biased",
            json!({"rope_parameters": {"rope_theta": 10_000.5}}),
            "not a whole number",
        ),
        (
            "llama-biased",
            json!({"rope_scaling": {"rope_type": null, "type": "linear", "factor": 4.0}}),
            "rope scaling of type 'linear'",
        ),
        ("llama-biased", json!({"rope_scaling": {"factor": 4.0}}), "factor without a type"),
        ("llama-biased", json!({"rope_scaling": {"type": 7}}), "the type 7, not a string"),
        (
            "llama-biased",
            json!({"rope_parameters": null, "rope_theta": "1000000"}),
            "rope_theta is \"1000000\", not a whole number",
        ),
        ("llama-biased", json!({"sliding_window": 4096}), "sliding window"),
        ("llama-biased", json!({"quantization_config": {"bits": 4}}), "quantization_config"),
    ] {
        let text = refusal(name, changes.clone());
        assert!(text.contains(says), "{name} with {changes}: {text}");
    }
}

#[test]
fn names_of_wrapped_modules_are_known() {
    for wrapper in ["_orig_mod.", "module.", "module._orig_mod.", "_fsdp_wrapped_module."] {
        let changed = ChangedFixture::new("gpt2").tensors(|tensors| {
            *tensors = std::mem::take(tensors)
                .into_iter()
                .map(|(name, tensor)| (format!("{wrapper}{name}"), tensor))
                .collect();
        });
        let checkpoint = Checkpoint::open(changed.folder.path(), None).unwrap();
        assert_eq!(checkpoint.parameters().unwrap(), open("gpt2").parameters().unwrap());
    }
}

#[test]
fn tensors_without_values_are_explained() {
    let text = ChangedFixture::new("gpt2")
        .tensors(|tensors| {
            for tensor in tensors.values_mut().filter(|tensor| tensor.dim() == 2) {
                *tensor = Tensor::zeros([0], (Kind::Float, tch::Device::Cpu));
            }
        })
        .refusal();
    assert!(text.contains("is [0], without values") && text.contains("gather them"), "{text}");
}

#[test]
fn special_tokens_outside_the_vocabulary_are_left_out() {
    let ids = json!({"bos_token_id": 50_256, "eos_token_id": [3, 50_256]});
    let changed = ChangedFixture::new("gpt2").config(ids);
    let scratch = tempfile::tempdir().unwrap();
    let report = Checkpoint::open(changed.folder.path(), None)
        .unwrap()
        .save(&scratch.path().join("model"), false, &ProgressBar::hidden())
        .unwrap();
    assert_eq!((report.special.begin, report.special.end.as_slice()), (None, [3].as_slice()));
    assert!(report.notes.iter().any(|note| note.contains("[50256]")), "{:?}", report.notes);
}

#[test]
fn shards_and_tokenizers_that_do_not_fit_are_named() {
    let changed = ChangedFixture::new("llama");
    fs::remove_file(changed.folder.path().join("model-00002-of-00003.safetensors")).unwrap();
    let text = changed.refusal();
    assert!(text.contains("names model-00002-of-00003.safetensors, which is not there"), "{text}");
    for file in ["../model.safetensors", "/etc/passwd", "weights.bin", ""] {
        let changed = ChangedFixture::new("llama");
        let index = json!({"weight_map": {"model.norm.weight": file}});
        fs::write(
            changed.folder.path().join("model.safetensors.index.json"),
            serde_json::to_vec(&index).unwrap(),
        )
        .unwrap();
        let text = changed.refusal();
        assert!(text.contains("not a .safetensors file beside it"), "{text}");
    }
    let changed = ChangedFixture::new("llama");
    let index = changed.folder.path().join("model.safetensors.index.json");
    let text =
        fs::read_to_string(&index).unwrap().replacen("model.norm.weight", "model.norm.scale", 1);
    fs::write(index, text).unwrap();
    let text = changed.refusal();
    assert!(text.contains("model.norm.scale is not in"), "{text}");

    let changed = ChangedFixture::new("gpt2");
    let vocab: BTreeMap<String, u32> = (0..70).map(|i| (format!("w{i}"), i)).collect();
    fs::write(changed.folder.path().join("vocab.json"), serde_json::to_vec(&vocab).unwrap())
        .unwrap();
    fs::write(changed.folder.path().join("merges.txt"), "#version: 0.2\n").unwrap();
    let text = changed.refusal();
    assert!(text.contains("has 70 entries, more than the 61 of the model's vocabulary"), "{text}");
}

#[test]
fn paths_without_a_checkpoint_are_refused() {
    let refusal =
        |path: &Path| Checkpoint::open(path, None).err().expect("it was accepted").to_string();
    assert!(refusal(Path::new("/nowhere")).contains("does not exist"));
    assert!(refusal(&fixture("encodings.gguf")).contains("'encodings'"));
    assert!(refusal(&fixture("encodings.safetensors")).contains("give the folder"));
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path()).contains("has no config.json"));
    fs::copy(fixture("gpt2/config.json"), folder.path().join("config.json")).unwrap();
    assert!(refusal(folder.path()).contains("copy the whole checkpoint"));
    fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    assert!(refusal(folder.path()).contains("safe_serialization"));
    let empty = folder.path().join("empty.gguf");
    fs::write(&empty, "").unwrap();
    assert!(refusal(&empty).contains("not a valid GGUF file"));
}
