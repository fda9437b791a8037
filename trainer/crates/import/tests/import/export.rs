// SPDX-License-Identifier: Apache-2.0

//! Exported models are read back as the same model.

use super::{ChangedFixture, Pair, fixture, gguf, open};
use indicatif::ProgressBar;
use pol_import::{
    Checkpoint, ExportFormat, ExportReport, ExportSource, ExportType, ImportError, KEPT_FILE,
    SpecialTokens, TOKENIZER_FILE, WEIGHTS_FILE, export, load,
};
use pol_model::{hash_values, initial_parameters};
use pol_primitives::model::{
    Activation, Biases, Experts, LocalAttention, ModelSpec, Norm, NormPlacement, OtherRotation,
    PositionEncoding, QueryKeyNorm, RotaryBase, RotaryScaling, ScalingRamp, SoftCaps,
};
use serde_json::{Value, json};
use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokenizers::Tokenizer;

/// Fixtures, and the family that each leaves as in either format. `None` stands for a refusal.
const FIXTURES: [(&str, &str, Option<&str>); 30] = [
    ("gpt2", "gpt2", Some("gpt2")),
    ("dialogpt", "gpt2", Some("gpt2")),
    ("gpt-neo", "gpt_neo", None),
    ("gpt-j", "gptj", None),
    ("llama", "llama", Some("llama")),
    ("llama-tied", "llama", Some("llama")),
    ("llama-biased", "llama", Some("llama")),
    ("mistral", "mistral", None),
    ("qwen2", "qwen2", None),
    ("phi", "phi", None),
    // A LLaMA in all but the names of its tensors, as Granite is in all but its factors.
    ("phi3", "llama", Some("llama")),
    // A part of each head is rotated.
    ("phi3-long", "phi3", None),
    ("stablelm", "stablelm", None),
    ("starcoder2", "starcoder2", None),
    ("gpt-bigcode", "gpt_bigcode", None),
    ("granite", "llama", Some("llama")),
    ("gemma", "gemma", Some("gemma")),
    ("llama-3.1", "llama", Some("llama")),
    ("llama-linear", "llama", Some("llama")),
    ("llama-yarn", "llama", Some("llama")),
    ("llama-longrope", "llama", Some("llama")),
    ("qwen3", "qwen3", Some("qwen3")),
    ("smollm3", "smollm3", Some("smollm3")),
    ("olmo2", "olmo2", Some("olmo2")),
    ("gemma2", "gemma2", Some("gemma2")),
    ("gemma3", "gemma3_text", Some("gemma3")),
    ("gpt-neox", "gpt_neox", Some("gptneox")),
    ("opt", "opt", None),
    ("falcon", "falcon", Some("falcon")),
    // llama.cpp knows no biases of a Falcon, and a GPT-NeoX has the same parts.
    ("falcon-apart", "falcon", Some("gptneox")),
];

/// Imports `checkpoint` into `folder`.
fn import(checkpoint: &Checkpoint, folder: &Path) -> ExportSource {
    checkpoint.save(folder, false, &ProgressBar::hidden()).unwrap();
    ExportSource::open(folder).unwrap()
}

fn write(
    source: &ExportSource,
    out: &Path,
    format: ExportFormat,
    kind: ExportType,
) -> Result<ExportReport, ImportError> {
    export(source, out, format, kind, &ProgressBar::hidden())
}

/// Returns a model in memory.
fn in_memory(spec: &ModelSpec, parameters: Vec<f32>) -> ExportSource {
    let tokenizer = fs::read(tokenizer_folder().path().join(TOKENIZER_FILE)).unwrap();
    let root = hash_values(&parameters);
    let special = SpecialTokens::default();
    ExportSource::new(spec, Arc::new(parameters), root, tokenizer, special, "memory").unwrap()
}

/// Returns a folder with a tokenizer of 38 entries, fewer than the models have rows.
fn tokenizer_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let imported = folder.path().join("imported");
    open("llama.gguf").save(&imported, false, &ProgressBar::hidden()).unwrap();
    fs::copy(imported.join(TOKENIZER_FILE), folder.path().join(TOKENIZER_FILE)).unwrap();
    folder
}

/// Returns the path for the export `name`: in the folder that POL_EXPORTS names, where
/// scripts/reference/exports.py finds it, or in `scratch`.
fn output(scratch: &Path, name: &str) -> PathBuf {
    let folder = env::var_os("POL_EXPORTS").map_or_else(|| scratch.to_owned(), PathBuf::from);
    folder.join(name)
}

/// Imports the fixture `name` with a tokenizer.
fn import_fixture(name: &str, scratch: &Path) -> (ModelSpec, ExportSource) {
    let tokenizer = tokenizer_folder();
    let tokenizer = tokenizer.path().join(TOKENIZER_FILE);
    let checkpoint = Checkpoint::open(&fixture(name), Some(&tokenizer)).unwrap();
    (*checkpoint.spec(), import(&checkpoint, &scratch.join("model")))
}

#[test]
fn every_fixture_returns_from_a_folder() {
    for (name, family, _) in FIXTURES {
        let scratch = tempfile::tempdir().unwrap();
        let (spec, source) = import_fixture(name, scratch.path());
        let out = output(scratch.path(), &format!("hf/{name}"));
        let report = write(&source, &out, ExportFormat::HuggingFace, ExportType::F32).unwrap();
        assert_eq!((report.family.as_str(), report.rounded), (family, 0), "{name}");
        let back = Checkpoint::open(&out, None).unwrap();
        assert_eq!(*back.spec(), spec, "{name}");
        assert_eq!(hash_values(&back.parameters().unwrap()), report.root, "{name}");
    }
}

#[test]
fn every_fixture_returns_from_gguf_or_is_refused() {
    for (name, _, family) in FIXTURES {
        let scratch = tempfile::tempdir().unwrap();
        let (spec, source) = import_fixture(name, scratch.path());
        let out = output(scratch.path(), &format!("gguf/{name}.gguf"));
        match (family, write(&source, &out, ExportFormat::Gguf, ExportType::F32)) {
            (None, Err(error)) => {
                assert!(error.to_string().contains("no family of llama.cpp has"), "{error}");
                assert!(!out.exists());
            }
            (Some(family), Ok(report)) => {
                assert_eq!((report.family.as_str(), report.rounded), (family, 0), "{name}");
                let back = Checkpoint::open(&out, None).unwrap();
                assert_eq!(*back.spec(), spec, "{name}");
                assert_eq!(hash_values(&back.parameters().unwrap()), report.root, "{name}");
            }
            (family, result) => panic!("{name}: {family:?} {result:?}"),
        }
    }
}

#[test]
fn models_without_a_tokenizer_are_noted() {
    let scratch = tempfile::tempdir().unwrap();
    let source = import(&open("llama"), &scratch.path().join("model"));
    for (format, name) in [(ExportFormat::HuggingFace, "hf"), (ExportFormat::Gguf, "it.gguf")] {
        let out = scratch.path().join(name);
        let report = write(&source, &out, format, ExportType::F32).unwrap();
        assert!(report.notes.iter().any(|note| note.contains("tokenizer")), "{:?}", report.notes);
        let again = scratch.path().join(format!("{name}-again"));
        let checkpoint = Checkpoint::open(&out, None).unwrap();
        let report = checkpoint.save(&again, false, &ProgressBar::hidden()).unwrap();
        assert_eq!(report.tokenizer, None);
    }
}

#[test]
fn refusals_name_the_part() {
    let gpt2 = ModelSpec::gpt2(61, 16, 2, 4, 64, 32);
    let refusal = |spec: ModelSpec, format| {
        let source = in_memory(&spec, initial_parameters(&spec, &[1; 32]));
        let scratch = tempfile::tempdir().unwrap();
        let result = write(&source, &scratch.path().join("out"), format, ExportType::F32);
        result.expect_err("it was exported").to_string()
    };
    let (hf, gguf) = (ExportFormat::HuggingFace, ExportFormat::Gguf);
    let experts = ModelSpec { experts: Some(Experts::new(2, 1)), ..gpt2 };
    let text = refusal(experts, hf);
    assert!(text.contains("experts (experts)") && text.contains("pol-trainer generate"), "{text}");
    let mut mind = gpt2;
    mind.mind.introspection = true;
    assert!(refusal(mind, gguf).contains("introspection (mind.introspection)"));
    let capped = ModelSpec { caps: SoftCaps { attention: None, logits: Some(9_000) }, ..gpt2 };
    let text = refusal(capped, hf);
    assert!(text.contains("the nearest, gpt2, differs in its bounds"), "{text}");
    let local = Some(LocalAttention { window: 5, period: 2, layers: 0b10 });
    let text = refusal(ModelSpec { local, ..gpt2 }, gguf);
    assert!(text.contains("differs in its windows (local)") && text.contains("--format hf"));
    let text = refusal(ModelSpec { activation: Activation::Relu, ..gpt2 }, gguf);
    assert!(text.contains("its activation function"), "{text}");
}

/// Parts of a LLaMA with 61 tokens.
fn llama() -> ModelSpec {
    ModelSpec {
        activation: Activation::Silu,
        gated: true,
        norm: Norm::Rms { epsilon: 1_000 },
        positions: PositionEncoding::Rotary { dimensions: 4, base: 10_000, interleaved: false },
        biases: Biases::default(),
        ..ModelSpec::gpt2(61, 16, 4, 4, 24, 32)
    }
}

#[test]
fn combinations_that_networks_may_choose_return() {
    let llama = llama();
    let scaling = |ramp| Some(RotaryScaling { factor: 3_000_000, ramp, amplitude: 1_050_000_000 });
    let pairs = ScalingRamp::Pairs { first: 250_000, last: 1_700_000 };
    let local = Some(LocalAttention { window: 5, period: 2, layers: 0b01 });
    let other = |base| Some(OtherRotation { period: 2, layers: 0b01, base });
    let base = RotaryBase { base: 500, scaling: None };
    let linear = RotaryScaling {
        factor: 2_000_000,
        ramp: ScalingRamp::All,
        amplitude: RotaryScaling::AMPLITUDE_UNIT,
    };
    let around = ModelSpec {
        norms: NormPlacement::Around,
        query_key_norm: Some(QueryKeyNorm::Head),
        activation: Activation::GeluTanh,
        tied: false,
        ..llama
    };
    let scaled_base = RotaryBase { base: 500, scaling: Some(linear) };
    for (spec, family) in [
        (llama, "llama"),
        (ModelSpec { scaling: scaling(pairs), ..llama }, "llama"),
        (ModelSpec { local, ..llama }, "smollm3"),
        (ModelSpec { other_rotation: other(None), tied: false, ..llama }, "smollm3"),
        (ModelSpec { other_rotation: other(Some(base)), ..around }, "gemma3_text"),
        (ModelSpec { other_rotation: other(Some(scaled_base)), local, ..around }, "gemma3_text"),
        // A window as long as the context hides nothing.
        (
            ModelSpec { local: local.map(|it| LocalAttention { window: 32, ..it }), ..llama },
            "llama",
        ),
    ] {
        let parameters = initial_parameters(&spec, &[1; 32]);
        let source = in_memory(&spec, parameters.clone());
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("hf");
        let report = write(&source, &out, ExportFormat::HuggingFace, ExportType::F32).unwrap();
        assert_eq!(report.family, family);
        let back = Checkpoint::open(&out, None).unwrap();
        let expected = match spec.local {
            Some(local) if local.window == 32 => llama,
            _ => spec,
        };
        assert_eq!(*back.spec(), expected);
        // A Gemma's weights of norms and its embedding have other numbers in the file.
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b.abs().max(0.1);
        assert!(back.parameters().unwrap().iter().zip(&parameters).all(near), "{family}");
        assert!(report.rounded == 0 || family == "gemma3_text");
    }
}

#[test]
fn tied_gemmas_of_networks_become_two_tensors() {
    let spec =
        ModelSpec { norms: NormPlacement::Around, activation: Activation::GeluTanh, ..llama() };
    assert!(spec.tied);
    let parameters = initial_parameters(&spec, &[1; 32]);
    let source = in_memory(&spec, parameters.clone());
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("hf");
    let report = write(&source, &out, ExportFormat::HuggingFace, ExportType::F32).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("two tensors")), "{:?}", report.notes);
    let back = Checkpoint::open(&out, None).unwrap();
    assert_eq!(*back.spec(), ModelSpec { tied: false, ..spec });
    // The width is 16, whose root is exact.
    let embedding = &parameters[..61 * 16];
    let found = back.parameters().unwrap();
    assert_eq!((&found[..61 * 16], &found[found.len() - 61 * 16..]), (embedding, embedding));
}

#[test]
fn rounding_is_reported_and_overflow_is_refused() {
    let spec = llama();
    let mut parameters = initial_parameters(&spec, &[1; 32]);
    parameters[3] = 1e-30;
    let source = in_memory(&spec, parameters.clone());
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let hf = ExportFormat::HuggingFace;
    for (kind, name, near) in
        [(ExportType::F16, "float16", 1e-3), (ExportType::Bf16, "bfloat16", 1e-2)]
    {
        let report = write(&source, &folder(name), hf, kind).unwrap();
        assert!(report.rounded > 1_000 && report.largest_in.is_some(), "{report:?}");
        assert_eq!(report.zeroed > 0, kind == ExportType::F16);
        let config: Value =
            serde_json::from_slice(&fs::read(folder(name).join("config.json")).unwrap()).unwrap();
        assert_eq!(config["torch_dtype"], name);
        let back = Checkpoint::open(&folder(name), None).unwrap().parameters().unwrap();
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= near * b.abs() + 1e-7;
        assert!(back.iter().zip(&parameters).all(close));
    }
    let report = write(&source, &folder("q8.gguf"), ExportFormat::Gguf, ExportType::Q8_0).unwrap();
    // Rows of 16 and 24 are too short for its blocks.
    assert!(report.rounded > 0);
    assert!(Checkpoint::open(&folder("q8.gguf"), None).is_ok());
    let refused = write(&source, &folder("q8"), hf, ExportType::Q8_0).unwrap_err().to_string();
    assert!(refused.contains("no place for Q8_0") && !folder("q8").exists(), "{refused}");
    parameters[7] = 1e6;
    let source = in_memory(&spec, parameters.clone());
    let refused = write(&source, &folder("large"), hf, ExportType::F16).unwrap_err().to_string();
    assert!(refused.contains("tensor model.embed_tokens.weight has the value 1000000 at index 7"));
    parameters[7] = f32::NAN;
    let source = in_memory(&spec, parameters);
    let refused = write(&source, &folder("large"), hf, ExportType::F32).unwrap_err();
    assert!(matches!(refused, ImportError::NotFinite { .. }));
    assert!(!folder("large").exists());
}

#[test]
fn outputs_that_exist_are_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let source = import(&open("llama.gguf"), &scratch.path().join("model"));
    let (folder, file) = (scratch.path().join("own"), scratch.path().join("own.gguf"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("thesis.txt"), "years").unwrap();
    fs::write(&file, "years").unwrap();
    let (hf, gguf) = (ExportFormat::HuggingFace, ExportFormat::Gguf);
    for (out, format) in [(&folder, hf), (&file, gguf), (&folder, gguf), (&file, hf)] {
        let result = write(&source, out, format, ExportType::F32);
        assert!(matches!(result, Err(ImportError::OutputExists(_))), "{result:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "years");
    // What is empty may be filled.
    fs::write(&file, "").unwrap();
    fs::remove_file(folder.join("thesis.txt")).unwrap();
    write(&source, &folder, hf, ExportType::F32).unwrap();
    write(&source, &file, gguf, ExportType::F32).unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3);
}

#[test]
fn changed_weights_are_not_exported() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("model");
    open("llama.gguf").save(&folder, false, &ProgressBar::hidden()).unwrap();
    let mut weights = fs::read(folder.join(WEIGHTS_FILE)).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(folder.join(WEIGHTS_FILE), &weights).unwrap();
    let source = ExportSource::open(&folder).unwrap();
    let out = scratch.path().join("out.gguf");
    let text = write(&source, &out, ExportFormat::Gguf, ExportType::F32).unwrap_err().to_string();
    assert!(text.contains("hash to another root") && !out.exists(), "{text}");
    fs::write(folder.join(TOKENIZER_FILE), "{}").unwrap();
    let text = ExportSource::open(&folder).err().unwrap().to_string();
    assert!(text.contains("tokenizer.json hashes to something else"), "{text}");
}

/// Writes a GGUF file whose weights are in blocks of Q8_0.
fn write_quantised(file: &Path) {
    let positions = PositionEncoding::Rotary { dimensions: 16, base: 10_000, interleaved: false };
    // Rows are multiples of the blocks.
    let spec = ModelSpec {
        width: 64,
        feed_forward: 96,
        key_value_heads: 2,
        head_size: 16,
        positions,
        ..llama()
    };
    let source = in_memory(&spec, initial_parameters(&spec, &[5; 32]));
    write(&source, file, ExportFormat::Gguf, ExportType::Q8_0).unwrap();
}

#[test]
fn a_quantised_file_is_kept_as_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let [file, kept, decoded, again] =
        ["q8.gguf", "kept", "decoded", "again.gguf"].map(|name| scratch.path().join(name));
    write_quantised(&file);
    let checkpoint = Checkpoint::open(&file, None).unwrap();
    let report = checkpoint.save(&kept, false, &ProgressBar::hidden()).unwrap();
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    assert_eq!(size(&kept.join(KEPT_FILE)), size(&file));
    assert!(!kept.join(WEIGHTS_FILE).exists());
    let parameters = checkpoint.parameters().unwrap();
    assert_eq!(hash_values(&parameters), report.root);
    // The original is not needed, and parts may be of any length.
    fs::remove_file(&file).unwrap();
    let loaded = load(&kept).unwrap();
    assert_eq!((&loaded.parameters, loaded.spec), (&parameters, *checkpoint.spec()));
    let mut model = pol_import::open(&kept).unwrap();
    let mut parts = vec![0.0; model.remaining()];
    for part in parts.chunks_mut(1_237) {
        model.read(part).unwrap();
    }
    assert_eq!((parts, model.remaining()), (parameters.clone(), 0));
    let source = ExportSource::open(&kept).unwrap();
    let copy = write(&source, &again, ExportFormat::Gguf, ExportType::F32).unwrap();
    assert_eq!(copy.root, report.root);
    // Without the file the same values take more.
    let checkpoint = Checkpoint::open(&kept.join(KEPT_FILE), None).unwrap().decoded();
    let other = checkpoint.save(&decoded, false, &ProgressBar::hidden()).unwrap();
    assert_eq!(other.root, report.root);
    assert!(size(&decoded.join(WEIGHTS_FILE)) > 2 * size(&kept.join(KEPT_FILE)));
    assert_eq!(load(&decoded).unwrap().parameters, parameters);
    // A file that changed is found out.
    let mut bytes = fs::read(kept.join(KEPT_FILE)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(kept.join(KEPT_FILE), bytes).unwrap();
    let error = load(&kept).unwrap_err().to_string();
    assert!(error.contains("hash to another root"), "{error}");
}

#[test]
fn quantised_weights_in_several_files_are_written_with_a_note() {
    let scratch = tempfile::tempdir().unwrap();
    let [file, kept, out] = ["q8.gguf", "kept", "out"].map(|name| scratch.path().join(name));
    let [first, second] =
        [1, 2].map(|part| scratch.path().join(format!("m-0000{part}-of-00002.gguf")));
    write_quantised(&file);
    let place = |number: u16| -> [Pair; 2] {
        [
            ("split.no", 2, number.to_le_bytes().to_vec()),
            ("split.count", 2, 2u16.to_le_bytes().to_vec()),
        ]
    };
    // The first part has all tensors. With a third pair, 64 bytes come before the others, so that
    // tensors are aligned as before. The number of pairs is in the last 8 of the first 24 bytes.
    let bytes = fs::read(&file).unwrap();
    let pairs = gguf(&[place(0).to_vec(), vec![("fill", 0, vec![0])]].concat(), &[]);
    let count = (u64::from_le_bytes(bytes[16..24].try_into().unwrap()) + 3).to_le_bytes();
    let changed = [&bytes[..16], &count[..], &pairs[24..88], &bytes[24..]].concat();
    fs::write(&first, changed).unwrap();
    fs::write(&second, gguf(&place(1), &[])).unwrap();

    let (whole, parts) =
        (Checkpoint::open(&file, None).unwrap(), Checkpoint::open(&first, None).unwrap());
    assert_eq!(parts.parameters().unwrap(), whole.parameters().unwrap());
    for (checkpoint, out, is_kept) in [(whole, kept, true), (parts, out, false)] {
        let report = checkpoint.save(&out, false, &ProgressBar::hidden()).unwrap();
        assert_eq!(out.join(KEPT_FILE).exists(), is_kept);
        let is_noted = report.notes.iter().any(|note| note.contains("llama-gguf-split --merge"));
        assert_eq!(is_noted, !is_kept, "{:?}", report.notes);
    }
}

#[test]
fn tokenizers_return_from_gguf() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("model");
    let source = import(&open("llama.gguf"), &folder);
    let out = scratch.path().join("model.gguf");
    write(&source, &out, ExportFormat::Gguf, ExportType::F32).unwrap();
    let again = scratch.path().join("again");
    let report =
        Checkpoint::open(&out, None).unwrap().save(&again, false, &ProgressBar::hidden()).unwrap();
    assert_eq!(report.special.end, [0]);
    let [first, second] = [folder, again].map(|folder| load(&folder).unwrap().tokenizer.unwrap());
    let encode = |json: &[u8]| {
        let tokenizer = Tokenizer::from_bytes(json).unwrap();
        tokenizer.encode("the an.12<|endoftext|> in", true).unwrap().get_ids().to_vec()
    };
    assert_eq!(encode(&first), encode(&second));
    // A tokenizer that GGUF cannot say is refused, and a folder has it as it is.
    let mut json: Value = serde_json::from_slice(&first).unwrap();
    json["pre_tokenizer"] = json!({"type": "Whitespace"});
    let spec = *source.spec();
    let parameters = initial_parameters(&spec, &[1; 32]);
    let source = ExportSource::new(
        &spec,
        Arc::new(parameters.clone()),
        hash_values(&parameters),
        json.to_string().into_bytes(),
        SpecialTokens::default(),
        "memory",
    )
    .unwrap();
    let out = scratch.path().join("other.gguf");
    let text = write(&source, &out, ExportFormat::Gguf, ExportType::F32).unwrap_err().to_string();
    assert!(text.contains("has no name in GGUF") && text.contains("--format hf"), "{text}");
    write(&source, &scratch.path().join("hf"), ExportFormat::HuggingFace, ExportType::F32).unwrap();
}

#[test]
fn special_tokens_return() {
    let template = "{{ messages }}";
    let changed = ChangedFixture::new("llama-biased");
    let folder = changed.folder.path();
    fs::copy(tokenizer_folder().path().join(TOKENIZER_FILE), folder.join(TOKENIZER_FILE)).unwrap();
    let config = json!({"eos_token": "<|endoftext|>", "chat_template": template});
    fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
    let generation = json!({"eos_token_id": [0, 5]});
    fs::write(folder.join("generation_config.json"), generation.to_string()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let source = import(&Checkpoint::open(folder, None).unwrap(), &scratch.path().join("model"));
    let expected = load(&scratch.path().join("model")).unwrap().report.special;
    assert_eq!(
        (expected.end.as_slice(), expected.template.as_deref()),
        (&[0, 5][..], Some(template))
    );
    for (format, name) in [(ExportFormat::HuggingFace, "hf"), (ExportFormat::Gguf, "it.gguf")] {
        let out = scratch.path().join(name);
        write(&source, &out, format, ExportType::F32).unwrap();
        let again = scratch.path().join(format!("{name}-again"));
        let checkpoint = Checkpoint::open(&out, None).unwrap();
        let found = checkpoint.save(&again, false, &ProgressBar::hidden()).unwrap().special;
        assert_eq!((found.begin, &found.template), (expected.begin, &expected.template));
        let mut ends = found.end.clone();
        ends.sort_unstable();
        assert_eq!(ends, expected.end);
    }
}
