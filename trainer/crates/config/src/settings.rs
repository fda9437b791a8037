// SPDX-License-Identifier: Apache-2.0

//! Values of settings, and their sources.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Source of a value, the first one first that gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Command line.
    Flag,
    /// Environment variable.
    Environment,
    /// Configuration file.
    File,
    /// The program.
    Default,
}

impl Source {
    /// Returns the name of the source.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// Value of a key, and its source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Value; `null` if there is none.
    pub value: Value,
    /// Source of the value.
    pub source: Source,
}

/// Values by their keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, Setting>);

impl Settings {
    /// Sets `slot` to the value of the file, unless the flag or the variable of the key was `given`
    /// and is there already. Notes the value with its source.
    pub fn merge<T: Serialize>(
        &mut self,
        key: &str,
        given: Option<Source>,
        slot: &mut T,
        file: Option<T>,
    ) {
        let source = match (given, file) {
            (Some(given), _) => given,
            (None, Some(value)) => {
                *slot = value;
                Source::File
            }
            (None, None) => Source::Default,
        };
        self.note(key, &*slot, source);
    }

    /// Notes a value, without the passwords of the URLs in it.
    pub fn note<T: Serialize>(&mut self, key: &str, value: &T, source: Source) {
        // A path that is no Unicode has no form in JSON.
        let value = hide_passwords(serde_json::to_value(value).unwrap_or(Value::Null));
        self.0.insert(key.to_owned(), Setting { value, source });
    }

    /// Returns the settings in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(key, setting)| (key.as_str(), setting))
    }
}

/// Returns a value without the passwords of the URLs in it.
fn hide_passwords(value: Value) -> Value {
    match value {
        Value::String(text) => without_password(&text).unwrap_or(text).into(),
        Value::Array(items) => Value::Array(items.into_iter().map(hide_passwords).collect()),
        Value::Object(fields) => {
            let hidden = fields.into_iter().map(|(name, value)| (name, hide_passwords(value)));
            Value::Object(hidden.collect())
        }
        value => value,
    }
}

/// Returns a URL without its password, or `None` if it has none. A password may have letters that
/// no URL should have, since people forget to encode them.
pub(crate) fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let mut hidden = rest.to_owned();
    if let Some((place, query)) = rest.split_once('?') {
        let hide = |pair| if is_password(pair) { "password=…" } else { pair };
        let pairs: Vec<&str> = query.split('&').map(hide).collect();
        hidden = format!("{place}?{}", pairs.join("&"));
    }
    if let Some((user, host)) = hidden.rsplit_once('@')
        && let Some((name, _)) = user.split_once(':')
    {
        hidden = format!("{name}:…@{host}");
    }
    (hidden != rest).then(|| format!("{scheme}://{hidden}"))
}

/// Returns `true` for a pair of a query that gives a password.
fn is_password(pair: &str) -> bool {
    pair.starts_with("password=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn passwords_are_noted_nowhere() {
        let mut settings = Settings::default();
        let urls = json!({
            "index": "postgres://pol:secret@localhost/pol",
            "all": ["postgres://pol:sec/ret?@[", "postgres://h/p?user=pol&password=secret&x=1"],
            "none": ["ws://127.0.0.1:9944", "postgres://pol@localhost/pol", "a:b@c", "index.db"],
        });
        settings.note("a", &urls, Source::File);
        let expected = json!({
            "index": "postgres://pol:…@localhost/pol",
            "all": ["postgres://pol:…@[", "postgres://h/p?user=pol&password=…&x=1"],
            "none": ["ws://127.0.0.1:9944", "postgres://pol@localhost/pol", "a:b@c", "index.db"],
        });
        assert_eq!(settings.iter().next().unwrap().1.value, expected);
    }

    #[test]
    fn flags_come_before_the_environment_the_file_and_defaults() {
        let mut settings = Settings::default();
        let mut merge = |given, file| {
            let mut slot = 1;
            settings.merge("a.b", given, &mut slot, file);
            let (key, setting) = settings.iter().next().unwrap();
            assert_eq!((key, &setting.value), ("a.b", &slot.into()));
            (slot, setting.source)
        };
        assert_eq!(merge(Some(Source::Flag), Some(2)), (1, Source::Flag));
        assert_eq!(merge(Some(Source::Environment), Some(2)), (1, Source::Environment));
        assert_eq!(merge(None, Some(2)), (2, Source::File));
        assert_eq!(merge(None, None), (1, Source::Default));
    }
}
