// SPDX-License-Identifier: Apache-2.0

//! Events of a provider's service: lines for people, or objects for programs.

use serde_json::{Value, json};

/// Printer of events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Events {
    json: bool,
}

impl Events {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Returns `true` if events are for programs.
    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// Prints an event: `fields` under its `name` as JSON, or `text`.
    pub(super) fn print(self, name: &str, fields: Value, text: impl FnOnce() -> String) {
        println!("{}", if self.json { object(name, fields) } else { text() });
    }

    /// Tells that the operator stopped the command.
    pub(super) fn print_stopped(self) {
        if self.json {
            self.print_json("stopped", json!({}));
        } else {
            eprintln!("stopped; the same command goes on from here");
        }
    }

    /// Prints an event for programs only.
    pub(super) fn print_json(self, name: &str, fields: Value) {
        if self.json {
            println!("{}", object(name, fields));
        }
    }
}

fn object(name: &str, fields: Value) -> String {
    let mut event = json!({ "event": name });
    if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
        event.extend(fields);
    }
    event.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_their_name() {
        let event = object("registered", json!({ "manifest": 3 }));
        let event: Value = serde_json::from_str(&event).unwrap();
        assert_eq!(event, json!({ "event": "registered", "manifest": 3 }));
    }
}
