//! Who can read a part of an answer that is encrypted or signed.
//!
//! Encrypted reasoning, signatures and the ids of items mean something only to the account and the family of models that
//! made them: others refuse the request. The parts of an answer are therefore marked with their maker, and a request to
//! another one leaves them out.

use std::borrow::Cow;

use brigade_core::{Message, Part, ProviderData, TextPart};

use super::digest::digest;

/// Separates the wire format of data from the mark of its maker.
const SEPARATOR: char = '@';

/// An account, its address, and a family of its models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maker(u64);

impl Maker {
    pub(crate) fn new(account: &str, base_url: &str, model: &str) -> Self {
        Self(digest(format!("{account}\n{base_url}\n{}", family(model)).as_bytes()))
    }

    /// Marks the data of an answer for which `is_private` holds.
    pub(crate) fn mark(self, answer: Message, is_private: impl Fn(&ProviderData) -> bool) -> Message {
        if !answer.parts().iter().filter_map(data_of).any(&is_private) {
            return answer;
        }
        let mark = |data: &ProviderData| {
            let dialect = Cow::Owned(format!("{}{SEPARATOR}{:016x}", data.dialect, self.0));
            Some(if is_private(data) { ProviderData::new(dialect, data.raw.clone()) } else { data.clone() })
        };
        with_data(&answer, mark)
    }

    /// The message without the data of other makers. Data without a mark is older than the marks, and stays.
    pub(crate) fn readable(self, message: &Message) -> Cow<'_, Message> {
        if !message.parts().iter().filter_map(data_of).any(|data| self.is_foreign(data)) {
            return Cow::Borrowed(message);
        }
        Cow::Owned(with_data(message, |data| (!self.is_foreign(data)).then(|| data.clone())))
    }

    pub(crate) fn is_foreign(self, data: &ProviderData) -> bool {
        let mark = data.dialect.split_once(SEPARATOR).map(|(_, mark)| mark);
        mark.is_some_and(|mark| u64::from_str_radix(mark, 16) != Ok(self.0))
    }
}

/// The wire format of data, without the mark of its maker.
pub(crate) fn wire_format(data: &ProviderData) -> &str {
    data.dialect.split(SEPARATOR).next().unwrap_or_default()
}

fn data_of(part: &Part) -> Option<&ProviderData> {
    match part {
        Part::Text(TextPart { data, .. }) | Part::Thinking(TextPart { data, .. }) => data.as_ref(),
        Part::ToolCall(call) => call.data.as_ref(),
        Part::Opaque(data) => Some(data),
        Part::ToolResult(_) | Part::Image(_) => None,
    }
}

/// The message with the data of its parts replaced. Parts that consist of data alone go with it.
fn with_data(message: &Message, replace: impl Fn(&ProviderData) -> Option<ProviderData>) -> Message {
    let text = |part: &TextPart| TextPart::new(part.text.clone()).data(part.data.as_ref().and_then(&replace));
    let parts = message.parts().iter().filter_map(|part| {
        Some(match part {
            Part::Text(part) => Part::Text(text(part)),
            Part::Thinking(part) => Part::Thinking(text(part)),
            Part::ToolCall(call) => Part::ToolCall(call.clone().data(call.data.as_ref().and_then(&replace))),
            Part::Opaque(data) => Part::Opaque(replace(data)?),
            other @ (Part::ToolResult(_) | Part::Image(_)) => other.clone(),
        })
    });
    Message::new(message.role(), parts.collect())
}

/// The family of a model: the beginning of its name up to the version, such as `gpt-5`, `grok-4` or `claude`.
fn family(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model);
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default();
    let is_version = |word: &&str| word.len() <= 4 && word.chars().all(|digit| digit.is_ascii_digit() || digit == '.');
    match words.next().filter(is_version) {
        Some(version) if first != "claude" => format!("{first}-{version}"),
        _ => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_dates_of_a_model_belong_to_one_family() {
        for (one, other) in [("gpt-5", "openai/gpt-5-mini-2025-08-07"), ("claude-3-7-sonnet", "claude-opus-4-5")] {
            assert_eq!(family(one), family(other));
        }
        for (one, other) in [("gpt-5", "gpt-5.1"), ("o3", "o4-mini"), ("claude-opus-4-5", "deepseek-chat")] {
            assert_ne!(family(one), family(other));
        }
    }
}
