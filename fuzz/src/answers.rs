// SPDX-License-Identifier: Apache-2.0

//! Answers of servers, written one after the other.
//!
//! Answers are separated by a line `====`. Each may begin with a status and headers, which an empty
//! line ends. Without a status all of it is the body, and the status is 200.

use http::{HeaderName, HeaderValue, Response, StatusCode};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

const SEPARATOR: &[u8] = b"\n====\n";

/// Answers that are given in turn, and then 404.
pub(crate) struct Answers(Mutex<VecDeque<Response<Vec<u8>>>>);

impl Answers {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let (mut answers, mut rest) = (VecDeque::new(), bytes);
        while let Some((part, behind)) = split(rest, SEPARATOR) {
            answers.push_back(answer(part));
            rest = behind;
        }
        answers.push_back(answer(rest));
        Self(Mutex::new(answers))
    }

    pub(crate) fn next(&self) -> Response<Vec<u8>> {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.unwrap_or_else(|| with_status(StatusCode::NOT_FOUND, Vec::new()))
    }
}

/// Writes answers of status 200.
pub(crate) fn write(bodies: &[&[u8]]) -> Vec<u8> {
    bodies.join(SEPARATOR)
}

fn answer(part: &[u8]) -> Response<Vec<u8>> {
    let plain = || with_status(StatusCode::OK, part.to_vec());
    let Some((head, body)) = split(part, b"\n\n") else { return plain() };
    let mut lines = head.split(|&byte| byte == b'\n');
    let Some(status) = lines.next().and_then(|line| StatusCode::from_bytes(line).ok()) else {
        return plain();
    };
    let mut response = with_status(status, body.to_vec());
    for line in lines {
        let Some((name, value)) = split(line, b": ") else { continue };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn with_status(status: StatusCode, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Splits bytes at the first occurrence of `mark`.
fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}
