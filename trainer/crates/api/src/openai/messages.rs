// SPDX-License-Identifier: Apache-2.0

//! Messages of conversations.

use crate::error::ApiError;
use pol_generate::{ChatMessage, FunctionCall};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Message of a conversation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object with a role and content")]
pub(crate) struct Message {
    role: Role,
    /// Text. A message of the assistant with calls needs none.
    content: Option<Content>,
    /// Name of the speaker.
    name: Option<String>,
    /// Calls of functions by the assistant.
    tool_calls: Option<Vec<SentCall>>,
    /// Name of the call that a message of a tool is the result of.
    tool_call_id: Option<String>,
}

/// Speaker of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// The operator.
    System,
    /// The operator, as newer clients call it.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// A function, which tells its result.
    Tool,
}

/// Content of a message.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text, or a list of parts of the type text")]
enum Content {
    /// A text.
    Text(String),
    /// Parts of a text.
    Parts(Vec<ContentPart>),
}

/// Part of a message. Parts other than text are not supported.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ContentPart {
    /// A text.
    Text {
        /// The text.
        text: String,
    },
}

/// Call of a function, as an earlier answer had it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object with an id and a function")]
struct SentCall {
    id: String,
    function: SentFunction,
}

/// Called function.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object with a name and arguments")]
struct SentFunction {
    name: String,
    /// Arguments in JSON.
    arguments: String,
}

impl Message {
    /// Checks that the message has what its role needs.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        let has_calls = self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
        let refused = |detail: &str| Err(ApiError::parameter("messages", detail));
        if has_calls && self.role != Role::Assistant {
            return refused("only messages of the assistant have tool_calls");
        }
        if self.tool_call_id.is_some() != (self.role == Role::Tool) {
            return refused("messages of a tool have a tool_call_id, and no others");
        }
        if self.content.is_none() && !has_calls {
            return refused("a message has content, or tool_calls of the assistant");
        }
        Ok(())
    }

    /// Returns `true` if the user speaks.
    pub(crate) fn is_of_user(&self) -> bool {
        self.role == Role::User
    }
}

impl From<Message> for ChatMessage {
    fn from(message: Message) -> Self {
        let role = match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        let content = match message.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => {
                parts.into_iter().map(|ContentPart::Text { text }| text).collect::<String>()
            }
        };
        let call = |SentCall { id, function: SentFunction { name, arguments } }| {
            // Templates expect the object, and not its text.
            let object = serde_json::from_str(&arguments).ok().filter(Value::is_object);
            FunctionCall { id, name, arguments: object.unwrap_or_else(|| arguments.into()) }
        };
        Self {
            role: role.into(),
            content,
            tool_calls: message.tool_calls.unwrap_or_default().into_iter().map(call).collect(),
            tool_call_id: message.tool_call_id,
            name: message.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(message: Value) -> Result<ChatMessage, String> {
        let message: Message = serde_json::from_value(message).map_err(|e| e.to_string())?;
        message.check().map_err(|error| error.to_string())?;
        Ok(message.into())
    }

    #[test]
    fn messages_have_several_forms() {
        let brief = read(json!({"role": "developer", "content": "Be brief."})).unwrap();
        assert_eq!(brief, ChatMessage::new("system", "Be brief."));
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        let user = read(json!({"role": "user", "content": parts, "name": "x"})).unwrap();
        assert_eq!((user.content.as_str(), user.name.as_deref()), ("ab", Some("x")));
        let call = |arguments: &str| {
            let function = json!({"name": "f", "arguments": arguments});
            let calls = json!([{"id": "c", "type": "function", "function": function}]);
            read(json!({"role": "assistant", "content": null, "tool_calls": calls})).unwrap()
        };
        assert_eq!(call("{\"a\": 1}").tool_calls[0].arguments, json!({"a": 1}));
        assert_eq!(call("nonsense").tool_calls[0].arguments, json!("nonsense"));
        let tool = read(json!({"role": "tool", "content": "7", "tool_call_id": "c"})).unwrap();
        assert_eq!((tool.role.as_str(), tool.tool_call_id.as_deref()), ("tool", Some("c")));
    }

    #[test]
    fn messages_that_lack_something_are_refused() {
        let calls = json!([{"id": "c", "function": {"name": "f", "arguments": "{}"}}]);
        let picture = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
        for (message, text) in [
            (json!({"role": "user"}), "content"),
            (json!({"role": "tool", "content": "x"}), "tool_call_id"),
            (json!({"role": "user", "content": "x", "tool_call_id": "c"}), "tool_call_id"),
            (json!({"role": "user", "content": "x", "tool_calls": calls}), "tool_calls"),
            (json!({"role": "user", "content": picture}), "type text"),
            (json!({"role": "nobody", "content": "x"}), "nobody"),
            (json!("x"), "an object"),
        ] {
            let error = read(message.clone()).unwrap_err();
            assert!(error.contains(text), "{message}: {error}");
        }
    }
}
