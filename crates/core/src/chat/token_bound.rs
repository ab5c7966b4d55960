//! Upper bounds of the tokens that a provider counts for a request.

use brigade_tokens::{most_tokens, most_tokens_in_json};

use crate::{ChatRequest, Message, Part, ProviderData, Settings, ToolCall, ToolSpec};

/// The most tokens that a provider counts for a message or a request, without its images: those depend on the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TokenBound {
    pub(crate) tokens: u64,
    pub(crate) images: u64,
}

/// The preamble of a provider or a chat template. That of gpt-oss has about 70 tokens; a longer one is learned.
const PROMPT: u64 = 96;

/// What a provider adds if tools are offered. Anthropic documents up to 530 tokens, under "tool use" of its pricing.
const TOOLS: u64 = 640;

/// The delimiters and the role of a message. OpenAI and Llama take four to six tokens.
const MESSAGE: u64 = 8;

/// The delimiters and field names of a tool, a tool call, a tool result or a schema of answers.
const ITEM: u64 = 48;

impl TokenBound {
    /// The bound of a request with these settings.
    pub(crate) fn of_request(request: &ChatRequest, settings: &Settings) -> Self {
        let mut bound = Self { tokens: PROMPT, images: 0 };
        for message in request.instructions.iter().chain(request.transcript.visible()) {
            let Self { tokens, images } = Self::of_message(message);
            bound.tokens += tokens;
            bound.images += images;
        }
        bound.tokens += if request.tools.is_empty() { 0 } else { TOOLS };
        for ToolSpec { name, description, input_schema, .. } in request.tools.specs() {
            let texts = [name, description.as_str(), input_schema.get()];
            bound.tokens += ITEM + texts.into_iter().map(most_tokens_in_json).sum::<u64>();
        }
        bound.tokens += settings.output.as_ref().map_or(0, |output| ITEM + most_tokens_in_json(output.schema.get()));
        // They may be instructions or tools in the provider's own form.
        bound.tokens += settings.extra.iter().map(|(name, json)| (name.len() + json.get().len()) as u64).sum::<u64>();
        bound
    }

    pub(crate) fn of_message(message: &Message) -> Self {
        *message.0.bound.get_or_init(|| {
            let mut bound = Self { tokens: MESSAGE, images: 0 };
            message.parts().iter().for_each(|part| bound.add(part, false));
            bound
        })
    }

    /// Adds a part of a message. A template may write the text of a tool result as JSON.
    fn add(&mut self, part: &Part, is_result: bool) {
        let own_form = |data: &Option<ProviderData>| data.as_ref().map_or(0, |data| data.raw.get().len() as u64);
        self.tokens += match part {
            Part::Text(text) if is_result => most_tokens_in_json(&text.text),
            Part::Text(text) | Part::Thinking(text) => most_tokens(&text.text) + own_form(&text.data),
            Part::ToolCall(ToolCall { id, name, arguments, data }) => {
                ITEM + (id.len() + name.len()) as u64 + most_tokens_in_json(arguments.as_str()) + own_form(data)
            }
            Part::ToolResult(result) => {
                for part in &result.content {
                    self.add(part, true);
                }
                ITEM + (result.call_id.len() + result.name.len()) as u64
            }
            Part::Image(_) => {
                self.images += 1;
                ITEM
            }
            Part::Opaque(data) => data.raw.get().len() as u64,
        };
    }
}

#[cfg(test)]
mod tests;
