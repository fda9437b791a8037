// SPDX-License-Identifier: Apache-2.0

//! Bounds of chat templates, which are programs of strangers.
//!
//! The engine counts the steps of a template and the size of most of what it makes, as fuel. Some
//! of its calls do their work before they are counted, and others are not counted at all. Those
//! that write text are replaced here, and the rest has a thread with a time limit.

use minijinja::{Error, ErrorKind, Output, State, Value, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;
use std::{
    fmt::{self, Write as _},
    io,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

/// Work of a template: about 200,000 steps, or 12.8 MB of text.
pub(super) const FUEL: u64 = 200_000;
/// Text that a unit of fuel pays for, in bytes, as in the engine.
const BYTES_PER_FUEL: usize = 64;
/// Stack of the engine. Fuel pays for at most one level of nested values a unit, and the engine
/// compares, writes, and drops them by recursion.
const STACK_BYTES: usize = 512 << 20;
/// Most digits of a width or a precision of `format`, and the longest text that they make.
const FORMAT_DIGITS: usize = 3;
const FORMAT_BYTES: usize = 1_000;

/// Runner of calls of the engine, one at a time, each on a thread of its own.
pub(super) struct Watch {
    limit: Duration,
    /// Set once a call took too long. Its thread cannot be stopped, and no other follows it.
    is_stuck: Mutex<bool>,
}

impl Watch {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, is_stuck: Mutex::new(false) }
    }

    /// Returns the result of `call`, or the reason for which there is none within the limit.
    pub(super) fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let mut is_stuck = self.is_stuck.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_stuck {
            return Err("it took too long before; load another model".to_owned());
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("chat-template".to_owned());
        let started = thread.stack_size(STACK_BYTES).spawn(move || {
            // Nobody receives it after the limit.
            let _ = sender.send(call());
        });
        started.map_err(|error| format!("it has no thread: {error}"))?;
        match receiver.recv_timeout(self.limit) {
            Ok(result) => Ok(result),
            Err(RecvTimeoutError::Disconnected) => Err("it breaks the template engine".to_owned()),
            Err(RecvTimeoutError::Timeout) => {
                *is_stuck = true;
                Err(format!("it takes more than {} s", self.limit.as_secs_f32()))
            }
        }
    }
}

/// Text that takes fuel before it grows.
pub(super) struct ChargedText<'a, 't, 'e> {
    state: &'a State<'t, 'e>,
    text: Vec<u8>,
    paid: usize,
}

impl<'a, 't, 'e> ChargedText<'a, 't, 'e> {
    pub(super) fn new(state: &'a State<'t, 'e>) -> Self {
        Self { state, text: Vec::new(), paid: 0 }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let due = (self.text.len() + bytes.len()) / BYTES_PER_FUEL;
        if due > self.paid {
            self.state.consume_fuel((due - self.paid) as u64)?;
            self.paid = due;
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    /// Returns the text that `written` tells to be whole.
    pub(super) fn finish<E: fmt::Display>(self, written: Result<(), E>) -> Result<String, Error> {
        // Fuel that is spent once stays so, and is the better reason.
        self.state.consume_fuel(1)?;
        let failed = |reason: String| Error::new(ErrorKind::BadSerialization, reason);
        written.map_err(|error| failed(error.to_string()))?;
        String::from_utf8(self.text).map_err(|error| failed(error.to_string()))
    }
}

impl io::Write for ChargedText<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for ChargedText<'_, '_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Returns the text of a value, as a filter.
pub(super) fn to_text(state: &State, value: &Value) -> Result<Value, Error> {
    if value.as_str().is_some() {
        return Ok(value.clone());
    }
    let mut text = ChargedText::new(state);
    let written = write!(text, "{value}");
    text.finish(written).map(Value::from)
}

/// Writes a value that a template has between braces.
pub(super) fn write_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.as_object().is_none() {
        return escape_formatter(out, state, value);
    }
    let text = to_text(state, value)?;
    escape_formatter(out, state, &text)
}

/// Calls a method of Python's, at its price.
pub(super) fn call_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match (method, args) {
            ("join", [values]) => return join(state, text, values),
            ("format", _) => charge_format(state, text, args)?,
            ("strip" | "lstrip" | "rstrip", [letters]) => {
                // Each letter of the text is compared with each of these.
                let letters = letters.as_str().map_or(0, str::len);
                charge(state, text.len().saturating_mul(letters))?;
            }
            _ => {}
        }
    }
    unknown_method_callback(state, value, method, args)
}

fn charge(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / BYTES_PER_FUEL) as u64)
}

fn join(state: &State, separator: &str, values: &Value) -> Result<Value, Error> {
    let mut text = ChargedText::new(state);
    let mut written = Ok(());
    for (index, value) in values.try_iter()?.checked().enumerate() {
        state.consume_fuel(1)?;
        let value = value?;
        let separator = if index == 0 { "" } else { separator };
        written = write!(text, "{separator}{value}");
        if written.is_err() {
            break;
        }
    }
    text.finish(written).map(Value::from)
}

/// Charges for a text that `format` fills in, or refuses it.
fn charge_format(state: &State, format: &str, args: &[Value]) -> Result<(), Error> {
    let refused = |reason: &'static str| Err(Error::new(ErrorKind::InvalidOperation, reason));
    let fields = || format.split('{').skip(1);
    let digits = |field: &str| {
        // A brace may also be the letter that fills a field, so the last one ends it.
        let field = field.rsplit_once('}').map_or(field, |(inside, _)| inside);
        field.split(|letter: char| !letter.is_ascii_digit()).map(str::len).max().unwrap_or(0)
    };
    if fields().any(|field| digits(field) > FORMAT_DIGITS) {
        return refused("`format` has a width or a precision over 999");
    }
    let mut bytes = FORMAT_BYTES;
    for arg in args {
        let values = if arg.is_kwargs() {
            arg.try_iter()?.map(|name| arg.get_item(&name)).collect::<Result<Vec<_>, _>>()?
        } else {
            vec![arg.clone()]
        };
        for value in values {
            if value.as_object().is_some() {
                return refused("`format` has an argument that is neither a text nor a number");
            }
            bytes = bytes.saturating_add(value.as_str().map_or(0, str::len));
        }
    }
    // Each field may be any argument.
    charge(state, bytes.saturating_mul(fields().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_takes_too_long_is_the_last() {
        let watch = Watch::new(Duration::from_secs(60));
        assert_eq!(watch.call(|| 1), Ok(1));
        let broken = watch.call::<()>(|| panic!("as the engine may"));
        assert!(broken.unwrap_err().contains("breaks"));
        assert_eq!(watch.call(|| 2), Ok(2));
        let watch = Watch::new(Duration::from_millis(10));
        let slow = || thread::sleep(Duration::from_secs(2));
        assert!(watch.call(slow).unwrap_err().contains("more than"));
        assert!(watch.call(|| ()).unwrap_err().contains("before"));
    }
}
