// SPDX-License-Identifier: Apache-2.0

//! Bodies of requests, within limits.

use crate::error::ApiError;
use axum::{
    Json,
    body::{Bytes, HttpBody},
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::{StatusCode, header},
};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Largest body, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Longest time in which a body has to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// Body of a request in JSON, of at most [`MAX_BODY_BYTES`].
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // Pages of other sites cannot send this type without asking first.
        let media = request.headers().get(header::CONTENT_TYPE);
        let media = media.and_then(|media| media.to_str().ok()).unwrap_or_default();
        let essence = media.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::MediaType);
        }
        if request.body().size_hint().lower() > MAX_BODY_BYTES as u64 {
            return Err(ApiError::BodySize(MAX_BODY_BYTES));
        }
        let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
        let bytes = body.map_err(|_| ApiError::Slow(BODY_TIMEOUT))?.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::BodySize(MAX_BODY_BYTES)
            } else {
                ApiError::Invalid { parameter: None, detail: rejection.body_text() }
            }
        })?;
        parse(&bytes).map(Self)
    }
}

/// Parses a body. The depth of its JSON is limited to 128.
///
/// # Errors
///
/// Fails if the bytes are not JSON of the type `T`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let describe = |rejection: JsonRejection| {
        // The part after the colon names the field and the fault.
        let text = rejection.body_text();
        let detail = match text.split_once(": ") {
            Some((_, fault)) => format!("the body is refused: {}", plain(fault)),
            None => text,
        };
        ApiError::Invalid { parameter: None, detail }
    };
    Json::from_bytes(bytes).map(|Json(value)| value).map_err(describe)
}

/// Returns a fault in words of JSON. The parser names types of the program.
fn plain(fault: &str) -> String {
    const WORDS: [(&str, &str); 12] = [
        ("usize", "a whole number of 0 or more"),
        ("u64", "a whole number of 0 or more"),
        ("u32", "a whole number from 0 to 4294967295"),
        ("u16", "a whole number from 0 to 65535"),
        ("u8", "a whole number from 0 to 255"),
        ("i64", "a whole number"),
        ("f32", "a number"),
        ("f64", "a number"),
        ("a sequence", "a list"),
        ("a map", "an object"),
        ("a boolean", "true or false"),
        ("internally tagged enum ", "an object with a type: "),
    ];
    let Some((before, expected)) = fault.split_once("expected ") else { return fault.to_owned() };
    if expected.starts_with("struct ") {
        let place = expected.find(" at line").map_or("", |at| &expected[at..]);
        return format!("{before}expected an object{place}");
    }
    let word = WORDS.iter().find(|(name, _)| expected.starts_with(name));
    word.map_or_else(
        || fault.to_owned(),
        |(name, words)| format!("{before}expected {words}{}", &expected[name.len()..]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn faults_are_told_in_words_of_json() {
        for (fault, words) in [
            (
                "top_k: invalid type: string \"x\", expected usize at line 1 column 9",
                "top_k: invalid type: string \"x\", expected a whole number of 0 or more at line 1 \
                 column 9",
            ),
            (
                "invalid type: integer `1`, expected struct ChatRequest with 21 elements at line 1",
                "invalid type: integer `1`, expected an object at line 1",
            ),
            ("expected value at line 1 column 1", "expected value at line 1 column 1"),
            ("EOF while parsing", "EOF while parsing"),
        ] {
            assert_eq!(plain(fault), words);
        }
    }

    #[test]
    fn faults_are_named() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "only the refusals count")]
        struct Sample {
            numbers: Vec<u8>,
        }
        let fail = |json: &str| parse::<Sample>(json.as_bytes()).unwrap_err().to_string();
        assert!(fail(r#"{"numbers": [1, "x"]}"#).contains("numbers[1]"));
        assert!(fail(r#"{"numbers": [300]}"#).contains("numbers[0]"));
        assert!(fail(r#"{"number": []}"#).contains("unknown field `number`"));
        assert!(fail("{").contains("EOF"));
        assert!(parse::<Value>(b"\xff").is_err());
        assert!(parse::<Value>(b"1 2").is_err());
        let deep = "[".repeat(10_000);
        let error = parse::<Value>(deep.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("recursion limit"), "{error}");
    }
}
