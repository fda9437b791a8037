// SPDX-License-Identifier: Apache-2.0

//! A real model with its tokenizer: SmolLM2-135M-Instruct in Q4_1, downloaded by
//! `scripts/setup.sh --model`.

use indicatif::ProgressBar;
use pol_import::{Checkpoint, load};
use pol_model::{Decoder, Layout, Weights};
use pol_primitives::model::{Norm, PositionEncoding};
use std::{
    env, fs,
    path::{Path, PathBuf},
};
use tch::{Kind, Tensor};

/// Returns the path in a variable set by scripts/env.sh.
fn set(variable: &str) -> PathBuf {
    env::var_os(variable).unwrap_or_default().into()
}

/// Returns `true` if the file exists. Prints how to get it if not.
fn exists(path: &Path, option: &str) -> bool {
    if !path.is_file() {
        eprintln!(
            "skipped: {} is not there; get it with scripts/setup.sh {option}",
            path.display()
        );
    }
    path.is_file()
}

/// Public-domain English: the opening of Lincoln's Gettysburg Address.
const TEXT: &str = concat!(
    "Four score and seven years ago our fathers brought forth on this continent, a new nation, ",
    "conceived in Liberty, and dedicated to the proposition that all men are created equal. Now ",
    "we are engaged in a great civil war, testing whether that nation, or any nation so conceived ",
    "and so dedicated, can long endure. We are met on a great battle-field of that war."
);

#[test]
fn a_real_model_is_imported_and_knows_english() {
    let path = set("POL_MODEL");
    if !exists(&path, "--model") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("smollm2");
    Checkpoint::open(&path, None).unwrap().save(&out, false, &ProgressBar::hidden()).unwrap();
    let model = load(&out).unwrap();
    let spec = model.spec;
    assert_eq!(
        (spec.size(), spec.layers, spec.heads, spec.key_value_heads, spec.tied),
        (134_515_008, 30, 9, 3, true)
    );
    assert_eq!(spec.norm, Norm::Rms { epsilon: 10_000 });
    assert_eq!(
        spec.positions,
        PositionEncoding::Rotary { dimensions: 64, base: 100_000, interleaved: false }
    );
    assert_eq!(model.report.special.end, [2]);

    let tokenizer = tokenizers::Tokenizer::from_bytes(model.tokenizer.as_ref().unwrap()).unwrap();
    let ids = |text: &str| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    // Recorded with Hugging Face's tokenizer of the model.
    assert_eq!(
        ids("Hello world! In 1984, naïve"),
        [19_556, 905, 17, 533, 216, 33, 41, 40, 36, 28, 15_486, 46_494]
    );
    assert_eq!(ids("<|im_start|>user\nHi<|im_end|>\n"), [1, 4_093, 198, 26_843, 2, 198]);
    let text = "Ünïcödé 漢字 🙂\n\n  indented\tand 3.14159";
    assert_eq!(tokenizer.decode(&ids(text), false).unwrap(), text);

    let weights = Weights::new(&Layout::new(&spec).unwrap(), &model.parameters).unwrap();
    // Perplexity of `ids`, split into `sequences` rows.
    let perplexity = |ids: &[u32], sequences: usize| {
        let length = (ids.len() - 1) / sequences;
        let rows = (0..sequences)
            .flat_map(|row| &ids[row * length..=(row + 1) * length])
            .map(|&id| i64::from(id));
        let tokens = Tensor::from_slice(&rows.collect::<Vec<_>>())
            .view([sequences as i64, length as i64 + 1]);
        let loss = tch::no_grad(|| Decoder::new(&spec).unwrap().loss(&weights, &tokens).unwrap());
        loss.mean(Kind::Float).double_value(&[]).exp()
    };
    // Recorded with transformers 5.23.0 on the same file and tokens.
    let check = |name: &str, found: f64, expected: f64| {
        eprintln!("perplexity {found:.4} on {name}");
        assert!(
            (found / expected - 1.0).abs() < 1e-4,
            "{name}: {found}, transformers has {expected}"
        );
    };
    check("the Gettysburg address (75 tokens)", perplexity(&ids(TEXT), 1), 14.58235);
    let hamlet = set("POL_CORPUS").join("hamlet_gut.txt");
    if exists(&hamlet, "") {
        let text = fs::read_to_string(hamlet).unwrap();
        let start: String = text.chars().take(20_000).collect();
        check("Hamlet (tokens 1024 to 2048)", perplexity(&ids(&start)[1_024..2_049], 2), 60.6452);
    }
}
