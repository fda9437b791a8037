// SPDX-License-Identifier: Apache-2.0

//! Files of receipts.

use crate::{Receipt, ReceiptError, output_hash, prompt_hash};
use pol_primitives::{Hash, hex_hash};
use schnorrkel::PublicKey;
use serde::{Deserialize, Serialize};

/// Context of all signatures by accounts of chains made with Substrate.
const SIGNING_CONTEXT: &[u8] = b"substrate";
/// Largest file of a receipt, in bytes.
pub const MAX_RECEIPT_BYTES: usize = 4 << 20;
/// Most levels of nested values in a receipt, with room for later versions.
pub(crate) const MAX_DEPTH: usize = 8;
/// Version of the files that this crate writes.
const VERSION: u64 = 1;
/// Most stop strings and tokens that end the text, together.
const MAX_ENDS: usize = 256;
/// Longest name of a decoder or profile, and longest stop string, in bytes.
const MAX_NAME_BYTES: usize = 1_024;

/// Signature of an account by sr25519.
pub type Signature = [u8; 64];

/// Receipt with its signature, as people keep it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFile {
    version: u64,
    /// The receipt.
    pub receipt: Receipt,
    /// Prompt and text, as far as their owner discloses them. The receipt has their hashes.
    #[serde(default)]
    pub disclosed: Disclosure,
    /// Public key of the account that signed.
    #[serde(with = "hex_hash")]
    pub account: Hash,
    /// Signature of the [digest](Receipt::digest).
    #[serde(with = "hex_hash")]
    pub signature: Signature,
}

/// Prompt and text of a receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosure {
    /// Tokens of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Vec<u32>>,
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

impl ReceiptFile {
    /// Creates the file of a receipt that discloses nothing. `sign` returns the signature of
    /// `account` under a digest.
    pub fn sign(receipt: Receipt, account: Hash, sign: impl FnOnce(&Hash) -> Signature) -> Self {
        let signature = sign(&receipt.digest());
        Self { version: VERSION, receipt, disclosed: Disclosure::default(), account, signature }
    }

    /// Returns the file with what its owner discloses.
    #[must_use]
    pub fn disclosing(self, disclosed: Disclosure) -> Self {
        Self { disclosed, ..self }
    }

    /// Parses a file, and checks that what it discloses is what the receipt is of. The signature is
    /// not checked.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not a receipt of a known version, or disclose something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        /// Version of a file, whatever else it has.
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let unreadable = |error: serde_json::Error| ReceiptError::NotReceipt(error.to_string());
        if bytes.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::TooLarge);
        }
        if depth(bytes) > MAX_DEPTH {
            return Err(ReceiptError::TooDeep);
        }
        let Version { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if version != VERSION {
            return Err(ReceiptError::UnknownVersion(version));
        }
        let file: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        file.check_bounds()?;
        let Disclosure { prompt, output } = &file.disclosed;
        if prompt.as_ref().is_some_and(|prompt| prompt_hash(prompt) != file.receipt.prompt) {
            return Err(ReceiptError::OtherPrompt);
        }
        if output.as_ref().is_some_and(|output| output_hash(output) != file.receipt.output) {
            return Err(ReceiptError::OtherOutput);
        }
        Ok(file)
    }

    /// Returns the file as JSON.
    ///
    /// # Errors
    ///
    /// Fails if the file would not be read as it is: if it is too large, or if a number has more
    /// digits than JSON keeps.
    pub fn to_json(&self) -> Result<String, ReceiptError> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| ReceiptError::NotReceipt(error.to_string()))?;
        let read = Self::parse(json.as_bytes())?;
        if read == *self { Ok(json) } else { Err(ReceiptError::Digits) }
    }

    /// Checks that the account signed the receipt.
    ///
    /// # Errors
    ///
    /// Fails if it did not.
    pub fn check_signature(&self) -> Result<(), ReceiptError> {
        let is_signed = || {
            let account = PublicKey::from_bytes(&self.account).ok()?;
            let signature = schnorrkel::Signature::from_bytes(&self.signature).ok()?;
            account.verify_simple(SIGNING_CONTEXT, &self.receipt.digest(), &signature).ok()
        };
        is_signed().ok_or(ReceiptError::Signature)
    }

    /// Returns the prompt: the `given` one, or that of the file.
    ///
    /// # Errors
    ///
    /// Fails if there is neither, and if the given one is not that of the receipt.
    pub fn prompt(&self, given: Option<Vec<u32>>) -> Result<Vec<u32>, ReceiptError> {
        let prompt = given.or_else(|| self.disclosed.prompt.clone());
        let prompt = prompt.ok_or(ReceiptError::MissingPrompt)?;
        if prompt_hash(&prompt) != self.receipt.prompt {
            return Err(ReceiptError::OtherPrompt);
        }
        Ok(prompt)
    }

    /// Checks the numbers and lengths that a generation would pay for.
    fn check_bounds(&self) -> Result<(), ReceiptError> {
        let Receipt { generator, terms, .. } = &self.receipt;
        let names = [&generator.decoder, &generator.profile];
        let is_bounded = terms.stop.len().saturating_add(terms.ends.len()) <= MAX_ENDS
            && names.into_iter().chain(&terms.stop).all(|name| name.len() <= MAX_NAME_BYTES);
        if is_bounded {
            return Ok(());
        }
        Err(ReceiptError::NotReceipt(format!(
            "it has more than {MAX_ENDS} ends of the text, or a name or stop string of more than \
             {MAX_NAME_BYTES} bytes"
        )))
    }
}

/// Returns the number of levels of nested arrays and objects in JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if std::mem::take(&mut is_escaped) => {}
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Terms, receipt::tests::receipt};
    use proptest::prelude::*;
    use schnorrkel::{ExpansionMode, MiniSecretKey};
    use serde_json::{Value, json};

    fn file() -> ReceiptFile {
        let disclosed = Disclosure { prompt: Some(vec![5, 6]), output: Some("a text".to_owned()) };
        signed(receipt()).disclosing(disclosed)
    }

    fn signed(receipt: Receipt) -> ReceiptFile {
        let key = MiniSecretKey::from_bytes(&[8; 32]).unwrap();
        let key = key.expand_to_keypair(ExpansionMode::Ed25519);
        let sign = |digest: &Hash| key.sign_simple(SIGNING_CONTEXT, digest).to_bytes();
        ReceiptFile::sign(receipt, key.public.to_bytes(), sign)
    }

    /// Returns the error of a file in which `change` has changed something.
    fn refusal(change: impl FnOnce(&mut Value)) -> ReceiptError {
        let mut json = serde_json::to_value(file()).unwrap();
        change(&mut json);
        ReceiptFile::parse(json.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn a_file_is_read_as_written() {
        let file = file();
        assert_eq!(ReceiptFile::parse(file.to_json().unwrap().as_bytes()), Ok(file.clone()));
        assert_eq!(file.prompt(None), Ok(vec![5, 6]));
        let closed = ReceiptFile { disclosed: Disclosure::default(), ..file };
        assert_eq!(ReceiptFile::parse(closed.to_json().unwrap().as_bytes()), Ok(closed.clone()));
        assert_eq!(closed.prompt(None), Err(ReceiptError::MissingPrompt));
        assert_eq!(closed.prompt(Some(vec![5])), Err(ReceiptError::OtherPrompt));
        assert_eq!(closed.prompt(Some(vec![5, 6])), Ok(vec![5, 6]));
    }

    #[test]
    fn a_signature_is_of_one_receipt_and_account() {
        assert_eq!(file().check_signature(), Ok(()));
        let mut other = signed(receipt());
        other.receipt.tokens += 1;
        assert_eq!(other.check_signature(), Err(ReceiptError::Signature));
        for account in [[7; 32], [0; 32], [255; 32]] {
            let other = ReceiptFile { account, ..file() };
            assert_eq!(other.check_signature(), Err(ReceiptError::Signature));
        }
        let other = ReceiptFile { signature: [255; 64], ..file() };
        assert_eq!(other.check_signature(), Err(ReceiptError::Signature));
    }

    #[test]
    fn each_defect_has_its_error() {
        assert_eq!(refusal(|json| json["version"] = json!(2)), ReceiptError::UnknownVersion(2));
        assert_eq!(
            refusal(|json| json["disclosed"]["prompt"] = json!([5])),
            ReceiptError::OtherPrompt
        );
        assert_eq!(
            refusal(|json| json["disclosed"]["output"] = json!("another text")),
            ReceiptError::OtherOutput
        );
        let is_other = |error: ReceiptError, text: &str| match error {
            ReceiptError::NotReceipt(reason) => reason.contains(text),
            _ => false,
        };
        assert!(is_other(refusal(|json| *json = json!({"a": 1})), "version"));
        assert!(is_other(refusal(|json| json["version"] = json!("one")), "expected u64"));
        assert!(is_other(refusal(|json| json["more"] = json!(1)), "unknown field `more`"));
        let seed = refusal(|json| json["receipt"]["terms"]["seed"] = json!(-1));
        assert!(is_other(seed, "expected u64"));
        let ends = refusal(|json| json["receipt"]["terms"]["ends"] = json!(vec![0; 300]));
        assert!(is_other(ends, "256 ends"));
        let name = "n".repeat(2_000);
        let decoder = refusal(|json| json["receipt"]["generator"]["decoder"] = json!(name));
        assert!(is_other(decoder, "1024 bytes"));
        for bytes in [&b""[..], b"text", b"[]", b"\xff\xfe", b"{\"version\":1}"] {
            let error = ReceiptFile::parse(bytes).unwrap_err();
            assert!(matches!(error, ReceiptError::NotReceipt(_)), "{error}");
        }
    }

    #[test]
    fn large_and_deep_files_are_refused_before_they_are_read() {
        let large = vec![b' '; MAX_RECEIPT_BYTES + 1];
        assert_eq!(ReceiptFile::parse(&large), Err(ReceiptError::TooLarge));
        let deep = "[".repeat(1_000_000);
        assert_eq!(ReceiptFile::parse(deep.as_bytes()), Err(ReceiptError::TooDeep));
        assert_eq!(depth(br#"{"a": ["[[[", "\"[[["]}"#), 2);
        assert_eq!(depth(b"]]{[]}"), 2);
        let output = Some("x".repeat(MAX_RECEIPT_BYTES));
        let disclosed = Disclosure { prompt: None, output };
        let large = ReceiptFile { disclosed, ..file() };
        assert_eq!(large.to_json(), Err(ReceiptError::TooLarge));
    }

    #[test]
    fn numbers_that_json_does_not_keep_are_not_written() {
        let mut receipt = receipt();
        receipt.terms.sensitivity = 4.0776373840106047e92;
        assert_eq!(signed(receipt.clone()).to_json(), Err(ReceiptError::Digits));
        receipt.terms.sensitivity = f64::NAN;
        assert!(matches!(signed(receipt).to_json(), Err(ReceiptError::NotReceipt(_))));
    }

    proptest! {
        #[test]
        fn numbers_of_requests_keep_their_bits(
            millionths: [u32; 4], sensitivity: u32, seed: u64, stop: Vec<String>,
            ends: Vec<u32>,
        ) {
            prop_assume!(stop.len() + ends.len() <= MAX_ENDS);
            let number = |millionths: u32| f64::from(millionths % 10_000_000) / 1e6;
            let [temperature, top_p, min_p, repetition_penalty] =
                millionths.map(|millionths| number(millionths) as f32);
            let mut receipt = receipt();
            receipt.terms = Terms {
                temperature, top_p, min_p, repetition_penalty, seed, stop, ends,
                sensitivity: number(sensitivity),
                ..Terms::default()
            };
            let file = signed(receipt);
            let read = ReceiptFile::parse(file.to_json().unwrap().as_bytes()).unwrap();
            prop_assert_eq!(read.receipt.digest(), file.receipt.digest());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            prop_assert!(ReceiptFile::parse(&bytes).is_err());
        }
    }
}
