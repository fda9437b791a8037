// SPDX-License-Identifier: Apache-2.0

//! Texts of requests, as strings or as tokens.

use crate::error::ApiError;
use pol_generate::{Error, TextTokenizer};
use serde::Deserialize;
use utoipa::ToSchema;

/// One text or several, as strings or as the ids of their tokens.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a string, a list of strings, a list of ids of tokens, or a list of such \
                 lists"
)]
pub(crate) enum Inputs {
    /// One string.
    Text(String),
    /// Several strings.
    Texts(Vec<String>),
    /// Tokens of one text.
    Tokens(Vec<u32>),
    /// Tokens of several texts.
    TokenLists(Vec<Vec<u32>>),
}

/// One text of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// String.
    Text(String),
    /// Tokens.
    Tokens(Vec<u32>),
}

impl Inputs {
    /// Returns the number of texts.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Text(_) | Self::Tokens(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::TokenLists(lists) => lists.len(),
        }
    }

    /// Returns all texts.
    pub(crate) fn into_vec(self) -> Vec<Input> {
        match self {
            Self::Text(text) => vec![Input::Text(text)],
            Self::Texts(texts) => texts.into_iter().map(Input::Text).collect(),
            Self::Tokens(tokens) => vec![Input::Tokens(tokens)],
            Self::TokenLists(lists) => lists.into_iter().map(Input::Tokens).collect(),
        }
    }

    /// Checks that a model with `vocabulary` tokens has all that the parameter `parameter` names.
    /// One that it lacks would fail the step of all texts that are generated at once.
    pub(crate) fn check(&self, vocabulary: usize, parameter: &'static str) -> Result<(), ApiError> {
        let lists: &[Vec<u32>] = match self {
            Self::Text(_) | Self::Texts(_) => return Ok(()),
            Self::Tokens(tokens) => std::slice::from_ref(tokens),
            Self::TokenLists(lists) => lists,
        };
        match lists.iter().flatten().find(|&&token| token as usize >= vocabulary) {
            Some(token) => {
                let detail = format!(
                    "the model has tokens below {vocabulary}, and {parameter} has {token}; use the \
                     tokenizer of this model, or send text"
                );
                Err(ApiError::parameter(parameter, detail))
            }
            None => Ok(()),
        }
    }
}

impl Input {
    /// Returns the tokens. Those of a string come after `begin`, and others are as they are given.
    pub(crate) fn encode(
        self,
        text: &TextTokenizer,
        begin: Option<u32>,
    ) -> Result<Vec<u32>, Error> {
        match self {
            Self::Text(string) => Ok(begin.into_iter().chain(text.encode(&string)?).collect()),
            Self::Tokens(tokens) => Ok(tokens),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_strings_or_tokens() {
        let read = |json: &str| serde_json::from_str::<Inputs>(json);
        let text = |text: &str| Input::Text(text.into());
        for (json, expected) in [
            (r#""a""#, vec![text("a")]),
            (r#"["a", "b"]"#, vec![text("a"), text("b")]),
            ("[1, 2]", vec![Input::Tokens(vec![1, 2])]),
            ("[[1], [2, 3]]", vec![Input::Tokens(vec![1]), Input::Tokens(vec![2, 3])]),
            ("[]", vec![]),
        ] {
            let inputs = read(json).unwrap();
            assert_eq!(inputs.count(), expected.len(), "{json}");
            assert_eq!(inputs.into_vec(), expected, "{json}");
        }
        for wrong in ["1", "[-1]", "[1.5]", r#"[1, "a"]"#, "[[[1]]]", "[4294967296]", "null"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("ids of tokens"), "{wrong}: {error}");
        }
    }

    #[test]
    fn tokens_are_those_of_the_model() {
        let check = |json: &str| serde_json::from_str::<Inputs>(json).unwrap().check(7, "prompt");
        for fine in [r#""text""#, r#"["a"]"#, "[6, 0]", "[[6], []]"] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        for wrong in ["[0, 7]", "[[6], [4294967295]]"] {
            match check(wrong) {
                Err(ApiError::Invalid { parameter: Some("prompt"), .. }) => {}
                other => panic!("{wrong}: {other:?}"),
            }
        }
    }
}
