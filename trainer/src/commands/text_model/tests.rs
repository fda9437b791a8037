// SPDX-License-Identifier: Apache-2.0

use super::*;
use pol_import::{ImportedModel, SpecialTokens, TokenizerReport};
use pol_model::initial_parameters;
use pol_primitives::model::Experts;
use serde_json::{Value, json};

/// Token that ends texts. Those below it are the bytes.
const END: u32 = 256;

/// Returns a byte-level tokenizer: token `b` is byte `b`.
fn tokenizer() -> Vec<u8> {
    let characters = pol_data::byte_characters().map(String::from);
    let vocabulary: serde_json::Map<_, Value> =
        characters.into_iter().zip((0..=u8::MAX).map(Value::from)).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let end = json!({
        "id": END, "content": "<|endoftext|>", "special": true, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false,
    });
    let json = json!({
        "version": "1.0", "added_tokens": [end], "pre_tokenizer": byte_level,
        "decoder": byte_level, "model": { "type": "BPE", "vocab": vocabulary, "merges": [] },
    });
    json.to_string().into_bytes()
}

fn spec() -> ModelSpec {
    ModelSpec::gpt2(END + 1, 32, 2, 4, 64, 96)
}

/// Writes a random model to a folder.
fn write(folder: &Path, spec: ModelSpec, tokenizer: Option<Vec<u8>>, special: SpecialTokens) {
    let report = ImportReport {
        source: "a test".into(),
        format: "none".into(),
        family: "random".into(),
        root: [0; 32],
        parameters: 0,
        tokenizer: tokenizer.as_ref().map(|json| TokenizerReport {
            from: "a test".into(),
            entries: END + 1,
            hash: blake3::hash(json).into(),
        }),
        special,
        notes: Vec::new(),
        tensors: Vec::new(),
        adapted: Vec::new(),
    };
    let parameters = initial_parameters(&spec, &[7; 32]);
    let model = ImportedModel { spec, parameters, root: [0; 32], tokenizer, report };
    model.save(folder, true).unwrap();
}

fn model(threads: usize) -> NativeTextModel {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), spec(), Some(tokenizer()), SpecialTokens::default());
    let model = NativeTextModel::load(folder.path(), threads).unwrap();
    assert_eq!(identify(folder.path()).unwrap(), model.identity());
    model
}

fn sampling_of(max_tokens: u32) -> SamplingParameters {
    SamplingParameters { max_tokens, ..SamplingParameters::default() }
}

fn requests<'a>(
    prompts: &[&'a str],
    sampling: &'a SamplingParameters,
    stop: &'a [String],
) -> Vec<TextRequest<'a>> {
    let request =
        |(prompt, stream): (&&'a str, _)| TextRequest { prompt, sampling, seed: 5, stream, stop };
    prompts.iter().zip(0..).map(request).collect()
}

#[test]
fn texts_depend_on_nothing_but_the_model_and_the_request() {
    let (one, two, sampling) = (model(1), model(2), sampling_of(40));
    let prompts = ["Once upon a time", "A", "Once upon a time", "The end of all"];
    let requests = requests(&prompts, &sampling, &[]);
    let together = one.generate(&requests).unwrap();
    assert_eq!(together, two.generate(&requests).unwrap());
    let alone: Vec<_> =
        requests.iter().map(|request| two.generate(&[*request]).unwrap().remove(0)).collect();
    assert_eq!(together, alone);
    assert_ne!(together[0], together[2], "samples of a prompt have other draws");
    let texts: String = together.iter().map(|text| text.text.as_str()).collect();
    // Pinned: the same text everywhere. A change of it needs another version of the decoder.
    assert_eq!(blake3::hash(texts.as_bytes()).to_hex()[..16], *"16885bf234295ec5");
    assert_eq!(DECODER, "pol-generate/native/1");
}

#[test]
fn texts_stop_where_they_should() {
    let model = model(1);
    let greedy = SamplingParameters { temperature: 0, ..sampling_of(30) };
    let whole = model.generate(&requests(&["abc"], &greedy, &[])).unwrap().remove(0);
    assert!(!whole.ended);
    let middle: String = whole.text.chars().skip(3).take(2).collect();
    let stop = [middle.clone()];
    let stopped = model.generate(&requests(&["abc"], &greedy, &stop)).unwrap().remove(0);
    assert!(stopped.ended);
    assert_eq!(stopped.text, whole.text.split(&middle).next().unwrap());
}

#[test]
fn prompts_fit_if_a_token_more_does() {
    let model = model(1);
    for (prompt, fits) in
        [("", false), ("a", true), (&"a".repeat(95), true), (&"a".repeat(96), false)]
    {
        assert_eq!(model.fits(prompt).unwrap(), fits, "{} bytes", prompt.len());
        let sampling = sampling_of(4);
        let written = model.generate(&requests(&[prompt], &sampling, &[]));
        assert_eq!(written.is_ok(), fits, "{written:?}");
    }
}

#[test]
fn log_probabilities_are_those_of_the_tokens() {
    let (one, two) = (model(1), model(2));
    let logs = one.log_probabilities("Question: 1 + 1?\nAnswer:", " 2 or 3").unwrap();
    assert_eq!(logs, two.log_probabilities("Question: 1 + 1?\nAnswer:", " 2 or 3").unwrap());
    assert_eq!(logs.len(), 7);
    // A random model finds all tokens about equally likely.
    let even = -(f64::from(END + 1).ln() * 1e6) as i64;
    assert!(logs.iter().all(|log| (log - even).abs() < 1_500_000 && *log < 0), "{logs:?}");
    // Each token counts those before it as its prompt.
    let first = one.log_probabilities("Question: 1 + 1?\nAnswer:", " 2").unwrap();
    let rest = one.log_probabilities("Question: 1 + 1?\nAnswer: 2", " or 3").unwrap();
    assert_eq!([first, rest].concat(), logs);
    // Pinned: the same on every machine.
    assert_eq!(logs[..2], [-5_468_455, -5_554_152]);
    assert_eq!(one.log_probabilities("a", "").unwrap(), [0; 0]);
    // The context has room for 96 tokens, and one more is predicted.
    assert_eq!(one.log_probabilities(&"a".repeat(95), "bcdef").unwrap().len(), 2);
    assert!(one.log_probabilities("", "a").is_err());
}

#[test]
fn logarithms_are_rounded_towards_zero() {
    assert_eq!(millionths(-1.234_567_9).unwrap(), -1_234_567);
    assert_eq!(millionths(f64::NEG_INFINITY).unwrap(), i64::MIN);
    assert!(millionths(f64::NAN).is_err());
}

#[test]
fn whatever_changes_a_text_changes_the_identity() {
    let folder = tempfile::tempdir().unwrap();
    let identity = |spec, special| {
        write(folder.path(), spec, Some(tokenizer()), special);
        identify(folder.path()).unwrap()
    };
    let usual = identity(spec(), SpecialTokens::default());
    assert_eq!(usual.tokenizer, *blake3::hash(&tokenizer()).as_bytes());
    // The same parameters, read in another way.
    let heads = identity(
        ModelSpec { heads: 2, key_value_heads: 2, head_size: 16, ..spec() },
        SpecialTokens::default(),
    );
    assert_eq!((heads.root, heads.tokenizer), (usual.root, usual.tokenizer));
    assert_ne!(heads.spec, usual.spec);
    let begins = SpecialTokens { begin: Some(END), ..SpecialTokens::default() };
    assert_ne!(identity(spec(), begins).spec, usual.spec);
    let ends = SpecialTokens { end: vec![65], ..SpecialTokens::default() };
    assert_ne!(identity(spec(), ends).spec, usual.spec);
}

#[test]
fn a_model_with_a_beginning_continues_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let special = SpecialTokens { begin: Some(END), end: vec![END], ..SpecialTokens::default() };
    write(folder.path(), spec(), Some(tokenizer()), special);
    let model = NativeTextModel::load(folder.path(), 1).unwrap();
    assert!(model.fits("").unwrap());
    let sampling = sampling_of(5);
    assert_eq!(model.generate(&requests(&[""], &sampling, &[])).unwrap().len(), 1);
}

#[test]
fn models_that_others_cannot_run_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |spec: ModelSpec, tokenizer| {
        write(folder.path(), spec, tokenizer, SpecialTokens::default());
        let error = format!("{:#}", identify(folder.path()).unwrap_err());
        let loaded = NativeTextModel::load(folder.path(), 1).err().unwrap();
        assert_eq!(format!("{loaded:#}"), error);
        error
    };
    let error = refusal(spec(), None);
    assert!(error.contains("it has no tokenizer; import it again with --tokenizer"), "{error}");
    let experts = Some(Experts::new(2, 1));
    let error = refusal(ModelSpec { experts, ..spec() }, Some(tokenizer()));
    assert!(error.contains("texts differ between machines"), "{error}");
    assert!(identify(Path::new("/nowhere")).is_err());
}

#[test]
fn a_changed_model_is_found_when_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), spec(), Some(tokenizer()), SpecialTokens::default());
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = NativeTextModel::load(folder.path(), 1).err().unwrap().to_string();
    assert!(error.contains("hash to another root"), "{error}");
}
