// SPDX-License-Identifier: Apache-2.0

//! Names of rules, which records repeat.

use super::catalogue::entries;
use foldhash::fast::RandomState;
use serde::{Deserializer, de::Visitor};
use std::{borrow::Cow, collections::HashSet, fmt, sync::LazyLock};

/// Names in decisions of other steps.
const OTHERS: [&str; 10] = [
    "contamination",
    "duplicate.exact",
    "duplicate.near",
    "empty",
    "held_out.passages",
    "opt_out.hash",
    "opt_out.host",
    "opt_out.url",
    "quality",
    "repeats",
];

static KNOWN: LazyLock<HashSet<&'static str, RandomState>> =
    LazyLock::new(|| entries().map(|entry| entry.name).chain(OTHERS).collect());

/// Reads the name of a rule. One that is known is not copied.
pub(crate) fn rule_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Cow<'static, str>, D::Error> {
    struct Name;

    impl Visitor<'_> for Name {
        type Value = Cow<'static, str>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("the name of a rule")
        }

        fn visit_str<E>(self, name: &str) -> Result<Cow<'static, str>, E> {
            let known = KNOWN.get(name).copied();
            Ok(known.map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed))
        }
    }

    deserializer.deserialize_str(Name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decision;

    #[test]
    fn known_names_are_not_copied_and_others_are_read() {
        let read = |name: &str| {
            let json = format!(r#"{{"rule":"{name}","verdict":"passed"}}"#);
            let decision: Decision = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&decision).unwrap(), json);
            decision.rule
        };
        for name in entries().map(|entry| entry.name).chain(OTHERS) {
            assert!(matches!(read(name), Cow::Borrowed(read) if read == name), "{name}");
        }
        assert!(matches!(read("of.a.later.version"), Cow::Owned(_)));
    }
}
