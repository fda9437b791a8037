// SPDX-License-Identifier: Apache-2.0

//! Files of wallets, and secrets that people type.

use crate::Target;
use pol_keystore::{Cost, Keystore, SecretKey};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "keystore", run: keystore, seeds: keystore_seeds },
    Target { name: "secret", run: secret, seeds: secret_seeds },
];

/// Password of the seeds.
const PASSWORD: &str = "correct horse";

/// Returns a cost at which passwords are checked in no time.
fn cheap() -> Option<Cost> {
    Cost::new(4, 8, 1)
}

/// Reads bytes as a keystore. One that is read is written and read again as the same, and a key
/// that its password gives is that of its account.
fn keystore(bytes: &[u8]) -> bool {
    let Ok(keystore) = Keystore::parse(bytes) else { return false };
    let facts = |read: &Keystore| (read.account(), read.cost(), read.name().map(str::to_owned));
    let again = Keystore::parse(&keystore.to_json());
    assert_eq!(again.as_ref().map(facts), Ok(facts(&keystore)));
    if Some(keystore.cost()) != cheap() {
        return true;
    }
    match keystore.decrypt(PASSWORD) {
        Ok(key) => {
            assert_eq!(key.account(), keystore.account());
            true
        }
        Err(_) => false,
    }
}

fn keystore_seeds() -> Vec<Vec<u8>> {
    let seed = |(number, cost): (u8, Option<Cost>)| {
        let key = SecretKey::from_seed(&[number; 32]).ok()?;
        Some(Keystore::encrypt(&key, PASSWORD, "seed", cost?).ok()?.to_json())
    };
    [(1, cheap()), (2, cheap()), (3, Cost::new(5, 8, 1))].into_iter().filter_map(seed).collect()
}

/// Reads bytes as a secret, which is the same with spaces around it.
fn secret(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let account = |text: &str| SecretKey::from_uri(text).map(|key| key.account());
    let read = account(text);
    assert_eq!(account(&format!(" {text}\n")), read);
    read.is_ok()
}

fn secret_seeds() -> Vec<Vec<u8>> {
    let phrase = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
    let seed = format!("0x{}", "07".repeat(32));
    let uris = ["//Alice".to_owned(), phrase.to_owned(), format!("{phrase}//a/b///word"), seed];
    uris.map(String::into_bytes).into()
}
