// SPDX-License-Identifier: Apache-2.0

//! Checkpoints written by the reference implementation are imported to the same function.
//! Contradictory checkpoints are refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod export;
mod families;
mod hub;
mod later;
mod real;
mod reports;
mod whole;

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
    for name in [
        "gpt2",
        "dialogpt",
        "gpt-neo",
        "gpt-j",
        "llama",
        "llama-tied",
        "llama-biased",
        "mistral",
        "qwen2",
        "phi",
        "phi3",
        "stablelm",
        "starcoder2",
        "gpt-bigcode",
        "granite",
        "gemma",
        "llama-3.1",
        "llama-linear",
        "llama-yarn",
        "qwen3",
        "smollm3",
        "olmo2",
        "gemma2",
        "gemma3",
        "gpt-neox",
        "opt",
        "falcon",
        "falcon-apart",
        "mixtral",
        "qwen3-moe",
        "phi3-long",
        "llama-longrope",
    ] {
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
    let window = |window, period, layers| Some(LocalAttention { window, period, layers });
    assert_eq!(open("mistral").spec().local, window(5, 1, 1));
    let spec = *open("qwen2").spec();
    assert_eq!((spec.local, spec.tied), (window(7, 2, 0b10), true));
    assert!(spec.biases.query_key_value && !spec.biases.attention_output);
    let spec = *open("phi").spec();
    assert_eq!(spec.positions, rotary(2, 10_000));
    assert!(spec.parallel && !spec.gated && spec.biases.head);
    let spec = *open("stablelm").spec();
    assert_eq!((spec.positions, spec.norm), (rotary(2, 10_000), Norm::Layer { epsilon: 10_000 }));
    assert_eq!(open("starcoder2").spec().key_value_heads, 2);
    assert_eq!(open("gpt-bigcode").spec().key_value_heads, 1);
    // One tensor with two factors becomes two.
    assert!(!open("gemma").spec().tied && !open("granite").spec().tied);
}

#[test]
fn either_name_of_a_tied_tensor_is_enough() {
    let changed = ChangedFixture::new("dialogpt").tensors(|tensors| {
        drop(tensors.remove("transformer.wte.weight"));
    });
    let checkpoint = Checkpoint::open(changed.folder.path(), None).unwrap();
    assert_eq!(checkpoint.parameters().unwrap(), open("dialogpt").parameters().unwrap());
    // Weights of their own are not in the other's place.
    let changed = ChangedFixture::new("llama-biased").tensors(|tensors| {
        drop(tensors.remove("model.embed_tokens.weight"));
    });
    assert!(changed.refusal().contains("model.embed_tokens.weight [61, 16] is missing"));
}

#[test]
fn buffers_of_the_rotation_are_skipped() {
    let buffers = [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.layers.1.self_attn.rotary_emb.cos_cached",
        "model.layers.1.self_attn.rotary_emb.sin_cached",
        "model.rotary_emb.inv_freq",
    ];
    let changed = ChangedFixture::new("llama-biased").tensors(|tensors| {
        for buffer in buffers {
            let buffer = (buffer.to_owned(), Tensor::ones([3], (Kind::Float, tch::Device::Cpu)));
            tensors.extend([buffer]);
        }
    });
    let checkpoint = Checkpoint::open(changed.folder.path(), None).unwrap();
    assert_eq!(checkpoint.parameters().unwrap(), open("llama-biased").parameters().unwrap());
}

#[test]
fn windows_that_hide_nothing_are_no_windows() {
    let local = |name: &str, changes: Value| {
        let changed = ChangedFixture::new(name).config(changes);
        Checkpoint::open(changed.folder.path(), None).unwrap().spec().local
    };
    assert_eq!(local("mistral", json!({"sliding_window": 32})), None);
    assert_eq!(local("mistral", json!({"sliding_window": null})), None);
    assert_eq!(local("qwen2", json!({"use_sliding_window": false})), None);
    // Older configs list no types of blocks.
    let rule = json!({"layer_types": null, "max_window_layers": 0});
    let all = Some(LocalAttention { window: 7, period: 1, layers: 1 });
    assert_eq!(local("qwen2", rule), all);
}

#[test]
fn gguf_gives_the_same_model() {
    for name in [
        "llama",
        "gpt2",
        "llama-3.1",
        "llama-yarn",
        "qwen3",
        "smollm3",
        "olmo2",
        "gemma",
        "gemma2",
        "gemma3",
        "gpt-neox",
        "falcon",
        "falcon-apart",
        "mixtral",
        "qwen3-moe",
        "phi3",
        "phi3-long",
    ] {
        let scale = match name {
            // The converter leaves it out, since it is the size of a head in all but two models.
            "gemma2" | "gemma3" => json!({"query_pre_attn_scalar": 6}),
            _ => json!({}),
        };
        let changed = ChangedFixture::new(name).config(scale);
        let folder = Checkpoint::open(changed.folder.path(), None).unwrap();
        let file = open(&format!("{name}.gguf"));
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
    assert_eq!(report.notes, ["the last 23 rows of the embedding stand for no token"]);
    // Its tokenizer puts no token before a text.
    assert_eq!((report.special.begin, report.special.end.as_slice()), (None, [0].as_slice()));
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
fn a_folder_is_read_part_by_part() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("model");
    open("llama.gguf").save(&out, false, &ProgressBar::hidden()).unwrap();
    let whole = load(&out).unwrap();
    let mut model = pol_import::open(&out).unwrap();
    assert_eq!((model.spec, &model.tokenizer), (whole.spec, &whole.tokenizer));
    // Parts end within tensors and span several of them.
    let mut parameters = Vec::new();
    for part in [1, 500, 3, 5_000].into_iter().cycle() {
        let start = parameters.len();
        parameters.resize(start + model.remaining().min(part), 0.0);
        model.read(&mut parameters[start..]).unwrap();
        assert_eq!(model.remaining(), whole.parameters.len() - parameters.len());
        if model.remaining() == 0 {
            break;
        }
    }
    assert_eq!(parameters, whole.parameters);
    model.read(&mut []).unwrap();
    let error = model.read(&mut [0.0]).unwrap_err().to_string();
    assert!(error.contains("expected 0 parameters, got 1"), "{error}");
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
    // The first parameters are those of the model. The last one gives the change away.
    let mut model = pol_import::open(&out).unwrap();
    let mut parameters = vec![0.0; model.remaining()];
    let (first, last) = parameters.split_at_mut(100);
    model.read(first).unwrap();
    assert!(model.read(last).unwrap_err().to_string().contains("hash to another root"));
    restore();
    // Cut short before it is opened, and while it is open.
    let mut model = pol_import::open(&out).unwrap();
    let file = fs::OpenOptions::new().write(true).open(out.join(WEIGHTS_FILE)).unwrap();
    file.set_len(weights.len() as u64 - 8).unwrap();
    let error = model.read(&mut parameters).unwrap_err().to_string();
    assert!(error.contains("has become shorter since it was opened"), "{error}");
    assert!(load(&out).unwrap_err().to_string().contains("it was cut short"));
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
    let expected: BTreeMap<_, _> =
        Tensor::read_safetensors(fixture("encodings.safetensors")).unwrap().into_iter().collect();
    // Those of GGUF without F64, and without the seven with grids.
    for (file, count) in [("encodings.gguf", 29), ("encodings-big-endian.gguf", 22)] {
        let file = DiskFile::open(&fixture(file)).unwrap();
        let (_, table) = gguf::read(Box::new(file)).unwrap();
        assert_eq!(table.entries().len(), count);
        for (name, entry) in table.entries() {
            assert_eq!(entry.encoding.to_string(), *name);
            let values = table.decode(entry).unwrap();
            let expected = Vec::<f32>::try_from(expected[name].reshape([-1])).unwrap();
            assert_eq!(values.len(), expected.len());
            for (i, (value, expected)) in values.iter().zip(&expected).enumerate() {
                // Processors differ in the bits of numbers that are none.
                assert!(
                    value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(),
                    "{name}: value {i} is {value:e}, not {expected:e}"
                );
            }
        }
    }
}

#[test]
fn the_order_of_bytes_changes_nothing() {
    let (little, big) = (open("llama.gguf"), open("llama-big-endian.gguf"));
    assert_eq!(little.spec(), big.spec());
    assert_eq!(little.parameters().unwrap(), big.parameters().unwrap());
}

/// Metadata entry of a GGUF file: a key with the type and the bytes of its value.
type Pair = (&'static str, u32, Vec<u8>);

/// Returns a GGUF file with these metadata and tensors of float32.
fn gguf(pairs: &[Pair], tensors: &[(String, Tensor)]) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut file = [b"GGUF".to_vec(), 3u32.to_le_bytes().to_vec()].concat();
    for count in [tensors.len(), pairs.len()] {
        file.extend((count as u64).to_le_bytes());
    }
    for (key, kind, value) in pairs {
        file.extend([text(key), kind.to_le_bytes().to_vec(), value.clone()].concat());
    }
    let mut data: Vec<u8> = Vec::new();
    for (name, tensor) in tensors {
        let sizes = tensor.size();
        file.extend([text(name), (sizes.len() as u32).to_le_bytes().to_vec()].concat());
        file.extend(sizes.iter().rev().flat_map(|&size| (size as u64).to_le_bytes()));
        file.extend([&[0u8; 4][..], &(data.len() as u64).to_le_bytes()[..]].concat());
        let values = Vec::<f32>::try_from(tensor.reshape([-1])).unwrap();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    [file, data].concat()
}

/// Returns the text of a metadata entry, with its type.
fn text_pair(key: &'static str, text: &str) -> Pair {
    (key, 8, [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat())
}

/// Returns the floating-point number of a metadata entry, with its type.
fn number(key: &'static str, value: f32) -> Pair {
    (key, 6, value.to_le_bytes().to_vec())
}

/// Returns the whole number of a metadata entry, with its type.
fn whole_number(key: &'static str, value: u32) -> Pair {
    (key, 4, value.to_le_bytes().to_vec())
}

/// Returns the metadata and tensors of the Qwen2 fixture without its window, as llama.cpp's
/// converter has them.
fn qwen2_gguf() -> (Vec<Pair>, Vec<(String, Tensor)>) {
    let mut pairs = vec![text_pair("general.architecture", "qwen2")];
    for (key, size) in [
        ("qwen2.block_count", 2u32),
        ("qwen2.context_length", 32),
        ("qwen2.embedding_length", 16),
        ("qwen2.feed_forward_length", 24),
        ("qwen2.attention.head_count", 4),
        ("qwen2.attention.head_count_kv", 2),
    ] {
        pairs.push(whole_number(key, size));
    }
    for (key, value) in
        [("qwen2.attention.layer_norm_rms_epsilon", 1e-6f32), ("qwen2.rope.freq_base", 1e4)]
    {
        pairs.push(number(key, value));
    }
    let tensors = Tensor::read_safetensors(fixture("qwen2").join(WEIGHTS_FILE)).unwrap();
    let names = [
        ("model.layers.", "blk."),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("post_attention_layernorm", "ffn_norm"),
        ("input_layernorm", "attn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
    ];
    let renamed = |name: String| names.iter().fold(name, |name, (from, to)| name.replace(from, to));
    let tensors = tensors.into_iter().map(|(name, tensor)| (renamed(name), tensor)).collect();
    (pairs, tensors)
}

/// Returns the Qwen2 fixture without its window.
pub(crate) fn qwen2() -> Checkpoint {
    let changed = ChangedFixture::new("qwen2").config(json!({"use_sliding_window": false}));
    Checkpoint::open(changed.folder.path(), None).unwrap()
}

#[test]
fn a_qwen2_from_gguf_is_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qwen2.gguf");
    let (pairs, tensors) = qwen2_gguf();
    fs::write(&path, gguf(&pairs, &tensors)).unwrap();
    let (file, expected) = (Checkpoint::open(&path, None).unwrap(), qwen2());
    assert_eq!(file.spec(), expected.spec());
    assert_eq!(file.parameters().unwrap(), expected.parameters().unwrap());
}

/// Returns the two parts of the Qwen2 fixture as GGUF. The second has nothing but its place and
/// its tensors.
pub(crate) fn gguf_parts() -> [Vec<u8>; 2] {
    let (pairs, mut tensors) = qwen2_gguf();
    let place = |number: u16| {
        let total = tensors.len() as i32;
        [
            ("split.no", 2, number.to_le_bytes().to_vec()),
            ("split.count", 2, 2u16.to_le_bytes().to_vec()),
            ("split.tensors.count", 5, total.to_le_bytes().to_vec()),
        ]
    };
    let (first, second) = ([pairs, place(0).to_vec()].concat(), place(1));
    let rest = tensors.split_off(9);
    [gguf(&first, &tensors), gguf(&second, &rest)]
}

#[test]
fn all_parts_of_a_gguf_model_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let parts = [path("m-00001-of-00002.gguf"), path("m-00002-of-00002.gguf")];
    let [first, second] = gguf_parts();
    let refusal =
        |path: &Path| Checkpoint::open(path, None).err().expect("it was accepted").to_string();
    fs::write(&parts[1], &second).unwrap();
    let text = refusal(&parts[1]);
    assert!(text.contains("part 2 of 2") && text.contains("m-00001-of-00002.gguf"), "{text}");
    fs::write(&parts[0], &first).unwrap();
    let expected = qwen2().parameters().unwrap();
    for part in &parts {
        assert_eq!(Checkpoint::open(part, None).unwrap().parameters().unwrap(), expected);
    }
    fs::write(path("renamed.gguf"), &first).unwrap();
    assert!(refusal(&path("renamed.gguf")).contains("give it its name back"));
    fs::write(&parts[1], &first).unwrap();
    assert!(refusal(&parts[0]).contains("part 2 of 2 is another one"));
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

/// Checks that fixtures with changes of their configs are refused with these words.
fn are_refused(cases: &[(&str, Value, &str)]) {
    for (name, changes, says) in cases {
        let text = ChangedFixture::new(name).config(changes.clone()).refusal();
        assert!(text.contains(says), "{name} with {changes}: {text}");
    }
}

#[test]
fn configs_that_do_not_fit_are_explained() {
    are_refused(&[
        ("gpt2", json!({"n_embd": 20}), "wte.weight is [61, 16] where"),
        ("gpt2", json!({"n_layer": 3}), "h.2.ln_1.weight [16] is missing"),
        ("gpt2", json!({"n_layer": 1}), "h.1.attn.c_attn.bias"),
        ("gpt2", json!({"n_head": 3}), "not a multiple of the 3 heads"),
        ("gpt2", json!({"n_layer": 70_000}), "beyond what a model can have"),
        ("gpt2", json!({"n_layer": 60_000}), "cannot be built"),
        ("gpt2", json!({"n_layer": -1}), "n_layer is -1, not a size"),
        ("gpt2", json!({"vocab_size": 62}), "asks for [62, 16]"),
        ("gpt2", json!({"tie_word_embeddings": false}), "lm_head.weight [61, 16] is missing"),
        ("gpt2", json!({"activation_function": "relu2"}), "the activation 'relu2'"),
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
        ("llama-biased", json!({"sliding_window": 4096}), "sliding window"),
        ("llama-biased", json!({"quantization_config": {"bits": 4}}), "quantization_config"),
    ]);
}

#[test]
fn configs_of_unusual_rotations_are_explained() {
    are_refused(&[
        (
            "llama-biased",
            json!({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}),
            "does not say high_freq_factor",
        ),
        (
            "llama-biased",
            json!({"rope_scaling": {"type": "linear", "factor": 0.5}}),
            "factors are at least 1",
        ),
        (
            "llama-biased",
            json!({"rope_scaling": {"type": "linear", "factor": "2"}}),
            "factor is \"2\", not a number",
        ),
        (
            "llama-biased",
            json!({"rope_scaling": {"type": "longrope", "short_factor": [1.0], "factor": 2.0}}),
            "short_factor does not list a number for each of the 2 rotated pairs",
        ),
        (
            "llama-biased",
            json!({"rope_parameters": {"rope_theta": 10_000.5}}),
            "not a whole number",
        ),
        ("llama-biased", json!({"rope_scaling": {"factor": 4.0}}), "factor without a type"),
        ("llama-biased", json!({"rope_scaling": {"type": 7}}), "the type 7, not a string"),
        (
            "llama-biased",
            json!({"rope_parameters": null, "rope_theta": "1000000"}),
            "rope_theta is \"1000000\", not a whole number",
        ),
    ]);
}

#[test]
fn configs_of_later_families_are_explained() {
    are_refused(&[
        (
            "llama-biased",
            json!({"partial_rotary_factor": 0.5}),
            "rotation of a part of each head (partial_rotary_factor)",
        ),
        ("phi", json!({"rope_parameters": {"partial_rotary_factor": 7}}), "not a share of a head"),
        ("phi", json!({"qk_layernorm": true}), "qk_layernorm"),
        ("granite", json!({"residual_multiplier": 0}), "residual_multiplier is 0, not a factor"),
        ("phi3", json!({"intermediate_size": 20}), "gate_up_proj.weight is [48, 16] where"),
        ("qwen2", json!({"layer_types": ["full_attention"]}), "each of the 2 blocks"),
        ("qwen2", json!({"max_window_layers": "all"}), "max_window_layers is \"all\""),
        ("gpt-bigcode", json!({"multi_query": false}), "multi_query false"),
    ]);
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
fn only_the_tokenizer_says_what_begins_a_text() {
    let (pairs, tensors) = qwen2_gguf();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qwen2.gguf");
    let special = |begins: Option<bool>| {
        let mut pairs = pairs.clone();
        pairs.push(text_pair("tokenizer.ggml.model", "gpt2"));
        pairs.push(text_pair("tokenizer.ggml.pre", "qwen2"));
        let texts = |texts: &[&str]| {
            let mut bytes =
                [8u32.to_le_bytes().to_vec(), (texts.len() as u64).to_le_bytes().to_vec()].concat();
            texts.iter().for_each(|text| bytes.extend(text_pair("", text).2));
            bytes
        };
        pairs.push(("tokenizer.ggml.tokens", 9, texts(&["<s>", "a", "b", "ab"])));
        pairs.push(("tokenizer.ggml.merges", 9, texts(&["a b"])));
        pairs.push(("tokenizer.ggml.bos_token_id", 4, 0u32.to_le_bytes().to_vec()));
        if let Some(begins) = begins {
            pairs.push(("tokenizer.ggml.add_bos_token", 7, vec![begins.into()]));
        }
        fs::write(&path, gguf(&pairs, &tensors)).unwrap();
        let out = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::open(&path, None).unwrap();
        let saved = checkpoint.save(&out.path().join("m"), false, &ProgressBar::hidden());
        let special = saved.unwrap().special;
        (special.begin, special.begin_name)
    };
    let name = Some("<s>".to_owned());
    assert_eq!(special(None), (None, name.clone()), "templates know it, texts do not begin so");
    assert_eq!(special(Some(false)), (None, name.clone()));
    assert_eq!(special(Some(true)), (Some(0), name));
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
