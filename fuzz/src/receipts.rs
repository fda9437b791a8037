// SPDX-License-Identifier: Apache-2.0

//! Receipts of generated texts.

use crate::Target;
use pol_receipt::{Disclosure, Generator, Receipt, ReceiptFile, Terms};

pub(crate) const TARGETS: &[Target] =
    &[Target { name: "receipt", run: receipt, seeds: receipt_seeds }];

/// Reads bytes as the file of a receipt. What is read is written and read as itself, and no
/// signature is that of another receipt.
fn receipt(bytes: &[u8]) -> bool {
    let Ok(file) = ReceiptFile::parse(bytes) else { return false };
    let json = file.to_json().unwrap_or_default();
    if let Ok(again) = ReceiptFile::parse(json.as_bytes()) {
        assert_eq!(again.receipt.digest(), file.receipt.digest());
        assert_eq!(again.disclosed, file.disclosed);
    }
    let mut other = file.clone();
    other.receipt.tokens ^= 1;
    assert!(file.check_signature().is_err() || other.check_signature().is_err());
    true
}

fn receipt_seeds() -> Vec<Vec<u8>> {
    let file = |chain, disclosed| {
        let generator = Generator {
            chain,
            model: [1; 32],
            specification: [2; 32],
            tokenizer: [3; 32],
            decoder: "pol-generate/native/1".into(),
            profile: "exact".into(),
        };
        let terms = Terms { stop: vec!["\n".into()], ends: vec![2], ..Terms::default() };
        let receipt = Receipt::new(generator, &[5, 6], terms, "a text", 3);
        let signed = ReceiptFile::sign(receipt, [4; 32], |digest| {
            std::array::from_fn(|at| digest.get(at % 32).copied().unwrap_or_default())
        });
        let json = signed.disclosing(disclosed).to_json();
        json.expect("a receipt is JSON").into_bytes()
    };
    let open = Disclosure { prompt: Some(vec![5, 6]), output: Some("a text".into()) };
    vec![file(None, Disclosure::default()), file(Some([9; 32]), open)]
}
