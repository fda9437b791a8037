// SPDX-License-Identifier: Apache-2.0

//! Prompts with the instructions that go before them.

use crate::{
    Error,
    chat::ChatMessage,
    reason::{REASONING_INSTRUCTION, TOOL_INSTRUCTION},
    text::TextTokenizer,
};

/// Text to continue, or message to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prompt<'a> {
    /// Text or message.
    pub text: &'a str,
    /// Set if the text is a user's message in a conversation.
    pub chat: bool,
    /// System message before the conversation.
    pub system: Option<&'a str>,
    /// Earlier messages of the conversation.
    pub history: &'a [ChatMessage],
    /// Set if the model is told to reason in steps.
    pub reason: bool,
    /// Set if the model is told about tools.
    pub tools: bool,
}

impl Prompt<'_> {
    /// Returns the tokens of the prompt. A text that is no conversation begins with `begin`.
    ///
    /// # Errors
    ///
    /// Fails if the tokenizer cannot encode the text, or has no turns for a conversation.
    pub fn encode(&self, text: &TextTokenizer, begin: Option<u32>) -> Result<Vec<u32>, Error> {
        let instructions =
            [self.reason.then_some(REASONING_INSTRUCTION), self.tools.then_some(TOOL_INSTRUCTION)];
        let instructions = instructions.into_iter().flatten();
        if self.chat {
            let system = self.system.map(|system| ChatMessage::new("system", system));
            let message = std::iter::once(self.text).chain(instructions);
            let message = ChatMessage::new("user", message.collect::<Vec<_>>().join("\n"));
            let history = self.history.iter().cloned();
            let messages: Vec<_> = system.into_iter().chain(history).chain([message]).collect();
            return text.encode_chat(&messages, &[]);
        }
        let mut whole = instructions.chain([self.text]).collect::<Vec<_>>().join("\n\n");
        if self.reason && !whole.ends_with('\n') {
            whole.push('\n');
        }
        Ok(begin.into_iter().chain(text.encode(&whole)?).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::BYTES;

    #[test]
    fn instructions_go_before_a_text_and_after_a_message() {
        let text = |prompt: Prompt<'_>| {
            let tokens = prompt.encode(&BYTES, Some(257)).unwrap();
            let bytes = tokens.iter().flat_map(|&token| BYTES.bytes(token).to_vec());
            (tokens[0], String::from_utf8(bytes.collect()).unwrap())
        };
        let plain = Prompt { text: "x", ..Prompt::default() };
        assert_eq!(text(plain), (257, "x".into()));
        let (_, told) = text(Prompt { reason: true, tools: true, ..plain });
        assert_eq!(told, format!("{REASONING_INSTRUCTION}\n\n{TOOL_INSTRUCTION}\n\nx\n"));
        let (first, chat) = text(Prompt { chat: true, system: Some("s"), tools: true, ..plain });
        assert_eq!(first, 258);
        assert_eq!(chat, format!("system\ns\nuser\nx\n{TOOL_INSTRUCTION}\nassistant\n"));
        let history = [ChatMessage::new("user", "a"), ChatMessage::new("assistant", "b")];
        let (_, chat) = text(Prompt { chat: true, history: &history, ..plain });
        assert_eq!(chat, "user\na\nassistant\nb\nuser\nx\nassistant\n");
    }
}
