// SPDX-License-Identifier: Apache-2.0

use super::*;
use proptest::prelude::*;

/// Password of the fixtures, which `scripts/reference/keystores.mjs` makes.
const PASSWORD: &str = "correct hörse";
/// Account of the fixtures.
const ADDRESS: &str = "5F7TLEEog5juEw4e442RyJGoLzSTDS9H1XQnEsfds9qZ9e59";
/// File with the cost that wallets wrote until 2025.
const OLDER: &[u8] = include_bytes!("../../tests/fixtures/older.json");
/// File with the cost of today.
const CURRENT: &[u8] = include_bytes!("../../tests/fixtures/sr25519.json");

fn cheap() -> Cost {
    Cost::new(4, 8, 1).unwrap()
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32]).unwrap()
}

fn alice() -> Keystore {
    Keystore::encrypt(&key(), PASSWORD, "Alice", cheap()).unwrap()
}

/// Returns the refusal of a keystore of which one field is another.
fn refusal(pointer: &str, value: impl Into<Value>) -> KeystoreError {
    let mut json: Value = serde_json::from_slice(&alice().to_json()).unwrap();
    *json.pointer_mut(pointer).unwrap() = value.into();
    Keystore::parse(json.to_string().as_bytes()).unwrap_err()
}

/// Returns the encoded part of a keystore, after a change of its bytes.
fn encoded(change: impl Fn(&mut Vec<u8>)) -> String {
    let json: Value = serde_json::from_slice(&alice().to_json()).unwrap();
    let mut bytes = STANDARD.decode(json["encoded"].as_str().unwrap()).unwrap();
    change(&mut bytes);
    STANDARD.encode(bytes)
}

#[test]
fn files_of_wallets_are_read() {
    let current = Keystore::parse(CURRENT).unwrap();
    assert_eq!(current.cost, Cost::STANDARD);
    assert_eq!(current.name(), Some("sr25519 of a wallet"));
    let older = Keystore::parse(OLDER).unwrap();
    let key = older.decrypt(PASSWORD).unwrap();
    assert_eq!(format_address(&key.account()), ADDRESS);
    assert_eq!((older.account(), current.account()), (key.account(), key.account()));
}

#[test]
fn a_keystore_is_read_as_written_and_decrypts_to_its_key() {
    let made = alice();
    let read = Keystore::parse(&made.to_json()).unwrap();
    assert_eq!(read, made);
    assert_eq!(read.name(), Some("Alice"));
    assert_eq!(read.decrypt(PASSWORD).unwrap().account(), made.account());
    assert_ne!(alice().salt, made.salt, "each has a salt of its own");
}

#[test]
fn a_changed_password_replaces_the_old_one_and_keeps_the_name() {
    let changed = alice().with_password(PASSWORD, "another one", cheap()).unwrap();
    assert_eq!(changed.decrypt(PASSWORD).unwrap_err(), KeystoreError::WrongPassword);
    assert_eq!(changed.decrypt("another one").unwrap().account(), alice().account());
    assert_eq!(changed.meta["name"], "Alice");
    let refused = alice().with_password("wrong", "another one", cheap());
    assert_eq!(refused.unwrap_err(), KeystoreError::WrongPassword);
}

#[test]
fn wrong_and_missing_passwords_are_refused() {
    for wrong in ["", "correct horse", "correct hörse "] {
        assert_eq!(alice().decrypt(wrong).unwrap_err(), KeystoreError::WrongPassword);
    }
    let made = Keystore::encrypt(&key(), "", "", cheap());
    assert_eq!(made.unwrap_err(), KeystoreError::NoPassword);
}

#[test]
fn other_files_of_wallets_are_refused_with_the_reason() {
    let parse = |json: &str| Keystore::parse(json.as_bytes()).unwrap_err();
    macro_rules! fixture {
        ($name:literal) => {
            parse(include_str!(concat!("../../tests/fixtures/", $name, ".json")))
        };
    }
    assert_eq!(fixture!("ed25519"), KeystoreError::OtherKeyType("ed25519"));
    assert_eq!(fixture!("ecdsa"), KeystoreError::OtherKeyType("ecdsa"));
    assert_eq!(fixture!("ethereum"), KeystoreError::OtherKeyType("ethereum"));
    assert_eq!(fixture!("batch"), KeystoreError::SeveralAccounts);
    assert_eq!(fixture!("plain"), KeystoreError::NotEncrypted);
}

#[test]
fn other_encodings_are_refused() {
    assert_eq!(refusal("/encoding/version", "2"), KeystoreError::OtherVersion);
    assert_eq!(refusal("/encoding/type/0", "argon2"), KeystoreError::OtherEncryption);
    assert_eq!(refusal("/encoding/type", "xsalsa20-poly1305"), KeystoreError::OtherEncryption);
    let unknown = refusal("/encoding/content/1", "bls");
    assert!(matches!(unknown, KeystoreError::OtherKeyType(_)));
    for json in ["", "{}", "[]", "null", "{\"account\":\"\",\"seed\":\"\"}"] {
        assert_eq!(Keystore::parse(json.as_bytes()), Err(KeystoreError::NotKeystore), "{json}");
    }
}

#[test]
fn damaged_files_are_refused() {
    let is_damaged = |error| matches!(error, KeystoreError::Damaged(_));
    assert!(is_damaged(refusal("/address", "")));
    assert!(is_damaged(refusal("/address", &ADDRESS[1..])));
    assert!(is_damaged(refusal("/address", "1".repeat(50_000))));
    assert!(is_damaged(refusal("/encoded", "?")));
    assert!(is_damaged(refusal("/encoded", "AAAA")));
    assert!(is_damaged(refusal("/encoded", encoded(|bytes| bytes.truncate(200)))));
    assert!(is_damaged(refusal("/encoded", encoded(|bytes| bytes.push(0)))));
}

#[test]
fn a_file_that_asks_for_gigabytes_is_refused_before_its_password() {
    // N = 2^24 and r = 8 are 16 GiB.
    let costly = encoded(|bytes| bytes[32..36].copy_from_slice(&(1_u32 << 24).to_le_bytes()));
    let error = refusal("/encoded", costly);
    assert_eq!(error, KeystoreError::TooCostly { n: 1 << 24, r: 8, p: 1 });
    assert!(error.to_string().contains("256 MiB"), "{error}");
}

#[test]
fn a_key_of_another_account_is_refused() {
    let mut json: Value = serde_json::from_slice(&alice().to_json()).unwrap();
    json["address"] = ADDRESS.into();
    let swapped = Keystore::parse(json.to_string().as_bytes()).unwrap();
    assert_eq!(swapped.decrypt(PASSWORD).unwrap_err(), KeystoreError::OtherAccount);
}

proptest! {
    #[test]
    fn every_key_is_decrypted_by_its_password_alone(seed: [u8; 32], password in ".{1,20}") {
        let key = SecretKey::from_seed(&seed).unwrap();
        let made = Keystore::encrypt(&key, &password, "name", cheap()).unwrap();
        let read = Keystore::parse(&made.to_json()).unwrap();
        prop_assert_eq!(read.decrypt(&password).unwrap().account(), key.account());
        prop_assert!(read.decrypt(&(password + "x")).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = Keystore::parse(&bytes);
    }

    #[test]
    fn a_damaged_secret_never_gives_a_key(at in 44..ENCODED_BYTES, mask in 1_u8..) {
        let mut json: Value = serde_json::from_slice(&alice().to_json()).unwrap();
        let mut bytes = STANDARD.decode(json["encoded"].as_str().unwrap()).unwrap();
        bytes[at] ^= mask;
        json["encoded"] = STANDARD.encode(bytes).into();
        let read = Keystore::parse(json.to_string().as_bytes()).unwrap();
        prop_assert_eq!(read.decrypt(PASSWORD).unwrap_err(), KeystoreError::WrongPassword);
    }
}
